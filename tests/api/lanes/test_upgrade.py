"""A client that asks for another protocol is answered in this one, and its next request in its turn
(RFC 9110 7.8)."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.serving import Served, read_reply

UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: h2c\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    "two lines": b"Connection: upgrade\r\nconnection: HTTP2-Settings\r\nupgrade: h2c, x/2\r\n",
}


def request(method: str, target: str, more: bytes = b"", body: bytes = b"") -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n%s\r\n%s" % (
        method.encode(),
        target.encode(),
        len(body),
        more,
        body,
    )


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("base", ["/kv/", "/v1/kv/"])
@pytest.mark.parametrize("body", [b"", b"first"])
async def test_the_request_behind_one_that_asks_for_another_protocol_is_answered_in_its_turn(
    base: str, upgrade: bytes, body: bytes, served: Served
) -> None:
    reader, writer = await served.connect()
    first = request("PUT", f"{base}a", upgrade, body)
    writer.write(first + request("PUT", f"{base}b", body=b"second"))
    async with asyncio.timeout(30):
        replies = [await read_reply(reader), await read_reply(reader)]
        writer.write(request("GET", "/kv/b"))
        last = await read_reply(reader)
    assert [reply.status for reply in replies] == [200, 200]
    assert (served.node.get("a"), last.body) == (body, b"second")
    writer.close()


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("body", [b"", b"first"])
async def test_on_a_connection_of_the_general_lane_it_is_the_last_one_and_nothing_behind_it_is_done(
    upgrade: bytes, body: bytes, served: Served
) -> None:
    """What the parser passed over is not known: so the client learns that it was not answered."""
    reader, writer = await served.connect()
    writer.write(request("GET", "/healthz"))
    assert (await read_reply(reader)).status == 200
    first = request("PUT", "/kv/a?wait=1", upgrade, body)
    writer.write(first[:-2])
    await asyncio.sleep(0)
    writer.write(first[-2:] + request("PUT", "/kv/b", body=b"second"))
    async with asyncio.timeout(30):
        reply = await read_reply(reader)
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await reader.read() == b""
    assert (served.node.get("a"), served.node.get("b")) == (body, None)
    writer.close()
