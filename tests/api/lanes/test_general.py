"""The general lane, where it has to do what the express lane does: the same words to strangers,
headers that arrive in pieces, and clients that end, or go, at any moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import HttpVersion11, StreamReader
from aiohttp.base_protocol import BaseProtocol

from kvgossip.api.http.body import read_body
from kvgossip.api.lanes.aiohttp_lane import GeneralConnection
from tests.api.access.tokens_file import KINDS, make_tokens
from tests.api.serving import Serve, Served, read_reply

OTHER_LANE = b"X-Other-Lane: 1\r\n"
PATIENCE_S = 60.0


async def answers(served: Served, *heads: bytes) -> list[tuple[int, bytes]]:
    """Of each of these requests by either lane: what it was answered."""
    found = []
    for head in heads:
        for more in (b"", OTHER_LANE):
            reply = await served.raw(head + b"Host: n\r\n" + more + b"\r\n")
            found.append((reply.status, reply.body))
    return found


async def test_who_may_not_do_it_learns_nothing_else_and_the_same_words_by_either_lane(
    serve: Serve, tmp_path: Path
) -> None:
    secrets = make_tokens(tmp_path / "tokens", *KINDS.values()) | {"unknown": "kvgossip_x"}
    served = await serve(tokens=str(tmp_path / "tokens"))
    for kind, secret in {**secrets, "none": ""}.items():
        for method, key, more in (
            (b"GET", b"a", b""),
            (b"GET", b"app/a", b"If-Match: bare\r\n"),
            (b"PUT", b"a", b"If-Match: bare\r\n"),
            (b"PUT", b"%C3", b""),
            (b"DELETE", b"%C3", b"If-None-Match: bare\r\n"),
        ):
            head = b"%s /kv/%s HTTP/1.1\r\n%s" % (method, key, more)
            if secret:
                head += f"Authorization: Bearer {secret}\r\n".encode()
            express, general = await answers(served, head)
            assert express == general, (kind, head)
            if kind in ("none", "unknown"):
                assert express[0] == 401
                right = "read" if method == b"GET" else "write"
                assert f"the right '{right}' is needed".encode() in express[1]
            elif kind != "admin" and (kind, method, key) != ("reader", b"GET", b"app/a"):
                assert express[0] == (400 if key == b"%C3" else 403)


async def test_of_two_mistakes_both_lanes_name_the_one_in_the_key(served: Served) -> None:
    express, general = await answers(served, b"PUT /kv/%C3 HTTP/1.1\r\nIf-Match: bare\r\n")
    assert express == general
    assert b"not valid UTF-8" in express[1]


@pytest.mark.parametrize("line", [b"Content-Type: \xc3\xa9\r\n", b"X-Any: \xc3\xa9\r\n"])
async def test_a_header_is_the_same_whether_or_not_it_arrives_with_its_request_line(
    line: bytes, serve: Serve
) -> None:
    statuses = []
    for pieces in ((b"", line), (line, b"")):
        served = await serve()
        reader, writer = await served.connect()
        writer.write(b"GET /kv/a HTTP/1.1\r\nHost: n\r\n" + OTHER_LANE + b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            await read_reply(reader)
            writer.write(b"PUT /kv/\xc3\xa7 HTTP/1.1\r\nHost: n\r\n" + pieces[0])
            (connection,) = served.server._connections._open
            assert isinstance(connection, GeneralConnection)
            if not pieces[0]:
                while connection._in_line:  # noqa: ASYNC110 - nobody sets an event
                    await asyncio.sleep(0.001)
            writer.write(pieces[1] + b"Content-Length: 1\r\n\r\n1")
            statuses.append((await read_reply(reader)).status)
        writer.close()
        stored = served.node.entry("\u00e7")
        assert (stored is not None) == (statuses[-1] == 200)
    assert statuses[0] == statuses[1] == (400 if line.startswith(b"Content") else 200)


async def test_a_client_that_ends_while_its_answer_is_on_its_way_does_not_wait_for_the_end(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_last = GeneralConnection.is_last

    def and_then_ends(connection: GeneralConnection) -> bool:
        last = is_last(connection)
        assert connection.eof_received()
        return last

    monkeypatch.setattr(GeneralConnection, "is_last", and_then_ends)
    reader, writer = await served.connect()
    writer.write(b"GET /kv?prefix=a HTTP/1.1\r\nHost: n\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert (await read_reply(reader)).status == 200
        assert await reader.read() == b""
    writer.close()
    assert served.server.statistics().get("connections_overdue", 0) == 0


async def test_a_client_that_goes_before_the_turn_of_its_upload_is_no_error() -> None:
    loop = asyncio.get_running_loop()
    request = SimpleNamespace(
        content=StreamReader(BaseProtocol(loop), 2**16, loop=loop),
        content_length=3,
        headers={},
        version=HttpVersion11,
        transport=None,
    )
    with pytest.raises(ConnectionResetError):
        await read_body(cast(Any, request), 10, PATIENCE_S)
