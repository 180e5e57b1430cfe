"""A stream of /watch is cut into its events, and nonsense is an error."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cache.decoding import decode
from kvgossip.cache.event_stream import Block, EventStream, document_of, record_of
from kvgossip.cache.line import LineError
from kvgossip.cache.source import Record

STREAM = (
    b"retry: 1000\nid: 0\n\n"
    b"id: 1-2\nevent: put\n"
    b'data: {"key":"a","version":"v1","content_type":"text/plain","bytes":1,"value":"MQ=="}\n\n'
    b":\nid: 1-3\n\n"
    b'event: delete\ndata: {"key":"a","version":"v2","more":true}\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    stream = EventStream()
    parts = [STREAM[place : place + size] for place in range(0, len(STREAM), size)]
    blocks = [block for part in parts for block in stream.feed(part)]
    assert [(block.event, block.cursor) for block in blocks] == [
        ("", "0"), ("put", "1-2"), ("", "1-3"), ("delete", ""),
    ]  # fmt: skip
    put, delete = (document_of(blocks[place]) for place in (1, 3))
    assert record_of(blocks[1], put) == Record("a", b"1", "v1", "text/plain")
    assert record_of(blocks[3], delete) == Record("a", None, "v2")
    assert (put.more, delete.more) == (False, True)


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        ("set", b'["a","b"]', frozenset("ab")),
        ("map", b'{"on":true,"tags":["a"]}', {"on": True, "tags": frozenset("a")}),
        ("counter", b"3", 3),
        ("siblings", b'["a","b"]', ["a", "b"]),
    ],
)
def test_the_type_of_what_nodes_merge_is_read(type_: str, value: bytes, read: object) -> None:
    fields = {"key": "k", "version": "v1", "content_type": "application/json", "type": type_}
    fields["value"] = b64encode(value).decode()
    block = Block("put", "", json.dumps(fields).encode())
    assert decode(record_of(block, document_of(block))) == read


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b'{"key":1}', b'{"key":"a"}', b'{"key":"a","version":"v","value":"="}', b"\xff"],
)
def test_an_event_that_makes_no_sense_is_an_error(data: bytes) -> None:
    block = Block("put", "", data)
    with pytest.raises(LineError):
        record_of(block, document_of(block))


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_an_error(data: bytes) -> None:
    try:
        for block in EventStream().feed(data + b"\n\n"):
            record_of(block, document_of(block))
    except LineError:
        pass
