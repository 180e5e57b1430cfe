"""/events: what happens to the cluster comes as a stream; a slow reader is told what it missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kvgossip.api.routes.onlookers import Audience
from kvgossip.protocol.model.now import Now
from kvgossip.runtime.changes.events import EVENTS_MAX, Events
from tests.api.event_stream import TIMEOUT_S, Stream
from tests.api.serving import Serve, Served

NOW = Now(0.0, 1_700_000_000_000)


@asynccontextmanager
async def looking_on(
    server: Served, query: str = "", last_event_id: str = ""
) -> AsyncIterator[Stream]:
    reader, writer = await server.connect(limit=2**18)
    header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
    writer.write(f"GET /events{query} HTTP/1.1\r\nHost: n\r\n{header}\r\n".encode())
    stream = Stream(reader, writer)
    assert "text/event-stream" in await stream.head()
    await stream.block()
    try:
        yield stream
    finally:
        writer.close()


async def next_of(stream: Stream, kind: str) -> Any:
    """The data of the next event of this kind."""
    while (block := await stream.block()) is not None:
        if block.kind == kind:
            return block.data
    raise AssertionError("the stream ended")


async def test_members_and_exchanges_come_and_who_comes_back_goes_on(serve: Serve) -> None:
    a = await serve("a", inputs={"found": True})
    async with looking_on(a) as stream:
        first = stream.cursor
        b = await serve("b", join=(str(a.node.address),))
        await b.node.wait_settled(TIMEOUT_S)
        joined = await next_of(stream, "member")
        assert (joined["name"], joined["state"], joined["was"]) == ("b", "alive", None)
        assert joined["address"] == str(b.node.address)
    # the node that joined began the exchange
    async with looking_on(b, "?since=0") as other:
        exchanged = await next_of(other, "exchange")
    assert (exchanged["peer"], exchanged["outcome"]) == ("a", "completed")
    assert exchanged["trips"] >= 1
    async with looking_on(a, f"?since={first}", last_event_id=stream.cursor) as again:
        a.node.events.publish("member", NOW, name="c")
        assert (await next_of(again, "member"))["name"] == "c", "b is not told again"
        async with looking_on(a, "?since=0123456789abcdef-7") as stranger:
            assert await next_of(stranger, "missed") == {"missed": None}
            assert (await next_of(stranger, "member"))["name"] == "b"
        await a.server.stop()
        assert (await next_of(again, "cut"))["hint"]


class SlowTransport(asyncio.Transport):
    """Of a client that takes nothing while it is told to pause."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return len(self.written)


async def test_a_slow_reader_is_told_how_many_it_missed_and_one_that_reads_nothing_is_cut() -> None:
    events, transport = Events(site=1), SlowTransport()
    audience = Audience(lambda: None)
    events.publish("member", NOW, name="first")
    audience.admit(events, None, transport, None)
    onlooker: Any = transport.protocol
    onlooker.pause_writing()
    for number in range(EVENTS_MAX + 7):
        events.publish("member", NOW, name=f"m{number}")
    await asyncio.sleep(0)
    assert b"event:" not in transport.written
    onlooker.resume_writing()
    async with asyncio.timeout(TIMEOUT_S):
        while f'"m{EVENTS_MAX + 6}"'.encode() not in transport.written:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert b'event: missed\ndata: {"missed":7}\n\n' in transport.written
    assert transport.written.count(b"event: member") == EVENTS_MAX
    onlooker.pause_writing()
    onlooker.beat()
    assert not transport.closed
    onlooker.beat()
    assert transport.closed
    assert b"event: cut" in transport.written


async def test_the_end_of_a_life_ends_its_onlookers() -> None:
    events, transport = Events(site=1), SlowTransport()
    Audience(lambda: None).admit(events, "0", transport, None)
    events.close()
    await asyncio.sleep(0)
    assert transport.closed


def test_an_id_of_another_life_or_of_nobody_is_not_gone_on_from() -> None:
    events = Events(site=1)
    for number in range(3):
        events.publish("member", NOW, name=str(number))
    assert events.number_in(events.cursor(2)) == 2
    assert [each.number for each in events.after(2)] == [3]
    assert events.number_in(events.cursor(99)) == 3
    for cursor in (
        "0",
        "",
        "x-1",
        "0000000000000002-1",
        "0000000000000001--1",
        "0000000000000001-٣",
    ):
        assert events.number_in(cursor) is None
