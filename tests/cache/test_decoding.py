"""What was written is read as what it was."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cache.decoding import JSON, decode, encode
from kvgossip.cache.source import Record
from kvgossip.errors import LocalError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def read(value: bytes, content_type: str = "") -> Any:
    return decode(Record("k", value, "1", content_type))


@given(JSON_VALUES)
def test_what_is_put_is_read_as_the_same(value: Any) -> None:
    octets, content_type = encode(value)
    assert read(octets, content_type) == value
    assert type(read(octets, content_type)) is type(value)


@given(st.text(), st.text(max_size=20))
def test_text_stays_text_whatever_it_looks_like(text: str, content_type: str) -> None:
    assert read(encode(text)[0]) == text


@pytest.mark.parametrize(
    ("value", "content_type", "meant"),
    [
        (b"10", "", 10),
        (b"10", "text/plain", 10),
        (b'{"a": [1, 2.5, null]}', "", {"a": [1, 2.5, None]}),
        (b"dark", "", "dark"),
        (b"", "", ""),
        (b"{no json", "application/octet-stream", "{no json"),
        (b"\xff\xfe", "", b"\xff\xfe"),
        (b"[1]", "application/json; charset=utf-8", [1]),
        (b"[1]", "application/vnd.shop+json", [1]),
        (b"[" * 100_000, "", "[" * 100_000),
    ],
)
def test_a_value_is_json_else_text_else_bytes(
    value: bytes, content_type: str, meant: object
) -> None:
    assert read(value, content_type) == meant


@pytest.mark.parametrize("content_type", [JSON, "APPLICATION/JSON", "application/x+json;v=1"])
@pytest.mark.parametrize("value", [b"dark", b"", b"\xff", b"[" * 100_000])
def test_what_declares_json_must_be_json(value: bytes, content_type: str) -> None:
    with pytest.raises(ValueError, match="it is no JSON"):
        read(value, content_type)


def test_readable_text_is_written_as_it_is() -> None:
    assert encode("dark") == (b"dark", "text/plain; charset=utf-8")
    assert encode("10") == (b'"10"', JSON)
    assert encode(b"\x00") == (b"\x00", "")


@pytest.mark.parametrize("value", [object(), "\ud800", {1, (object(),)}, math])
def test_what_json_cannot_say_is_refused_in_words(value: object) -> None:
    with pytest.raises(LocalError, match="cannot be written"):
        encode(value)
