"""The express lane: both lanes give the same answers, requests come in any pieces, answers leave in
order, and nobody waits for ever.

Whatever a connection may do is tried on both event loops, whose transports differ.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.api.http.body import BODY_BYTES_PER_S_MIN
from kvgossip.api.lanes.answer_queue import PIPELINE_MAX
from kvgossip.api.lanes.connections import REFUSALS_MAX, Connections, Outflow
from kvgossip.errors import LocalError, OverloadedError
from kvgossip.protocol.model.now import Now
from kvgossip.runtime import driver as driver_module
from kvgossip.runtime.disk import group_commit as commits_module
from kvgossip.runtime.network.link_table import LinkTable
from kvgossip.runtime.node import Node
from kvgossip.runtime.writes import Written
from tests.api.serving import Reply, Serve, Served, read_reply, serving
from tests.runtime.test_node import configured

# The lane does not know it, so it hands over; aiohttp's side does not look at it.
OTHER_LANE = b"X-Other-Lane: 1\r\n"
Play = Callable[[Serve], Awaitable[None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Play], None]:
    """Runs a test's play with nodes and servers on an event loop of its kind."""

    def run(scenes: Play) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), serving() as serve:
                await scenes(serve)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return run


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def put(key: str, body: bytes, more: bytes = b"") -> bytes:
    return b"PUT /kv/%s HTTP/1.1\r\nHost: n\r\n%sContent-Length: %d\r\n\r\n%s" % (
        key.encode(),
        more,
        len(body),
        body,
    )


def get(key: str, more: bytes = b"") -> bytes:
    return b"GET /kv/%s HTTP/1.1\r\nHost: n\r\n%s\r\n" % (key.encode(), more)


async def replies(reader: asyncio.StreamReader, count: int) -> list[Reply]:
    return [await read_reply(reader) for _ in range(count)]


async def rest_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """All that is still to come until the server closes."""
    try:
        return await reader.read()
    finally:
        writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Go away as a process does that was killed: the server gets no end of the stream, but a
    reset."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


# -- one request, two lanes ----------------------------------------------------------------------

KEYS = ["a", "b/c", "%C3%A7", "ç", "..", "", "/x", "a%2Fb", "100%", "x" * 1025]
TAGS = ["*", "CURRENT", "W/CURRENT", '"other"', '"other", CURRENT', "bare", '"', "", "*, *"]
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(
            ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PATCH", "get"]
        ),
        "key": st.sampled_from(KEYS),
        "version": st.sampled_from(["1.1"] * 8 + ["1.0"]),
        "query": st.sampled_from([""] * 6 + ["?", "?x=1", "#f"]),
        "headers": st.lists(
            st.tuples(st.sampled_from(["If-Match", "If-None-Match"]), st.sampled_from(TAGS))
            | st.sampled_from(
                [
                    ("Content-Type", "text/plain"),
                    ("Content-Type", ""),
                    ("content-type", "é"),
                    ("Accept", "*/*"),
                    ("User-Agent", ""),
                    ("Connection", "close"),
                    ("Connection", "Keep-Alive"),
                    ("Connection", "TE, close"),
                    ("Content-Encoding", "gzip"),
                    ("Content-Range", "bytes 0-0/1"),
                    ("If-Unmodified-Since", "now"),
                    ("Range", "bytes=0-0"),
                    ("TE", "trailers"),
                    ("Upgrade", "websocket"),
                    ("X-Any", "thing"),
                    ("Host", "twice"),
                ]
            ),
            max_size=3,
        ),
        "body": st.sampled_from(
            [None, None, b"", b"1", b"\x00\xff\r\n\r\n", b"x" * 2000, b"x" * 2001]
        ),
    }
)


def rendered(request: dict[str, Any], version: str, more: bytes) -> bytes:
    lines = [
        f"{request['method']} /kv/{request['key']}{request['query']} HTTP/{request['version']}",
        "Host: n",
    ]
    lines += [
        f"{name}: {value}".replace("CURRENT", f'"{version}"') for name, value in request["headers"]
    ]
    lines += [] if request["body"] is None else [f"Content-Length: {len(request['body'])}"]
    return "\r\n".join([*lines, ""]).encode() + more + b"\r\n" + (request["body"] or b"")


async def answer_to(
    served: Served, data: bytes, head_only: bool
) -> tuple[int, dict[str, str], bytes]:
    reply = await served.raw(data, head_only)
    return (
        reply.status,
        {name: value for name, value in reply.headers.items() if name != "date"},
        reply.body,
    )


def twin() -> dict[str, Any]:
    """Nodes with these inputs have the same site and the same clock, so that the same writes get
    the same versions."""
    return {
        "_rng": Random(1),
        "_clocks": lambda: Now(asyncio.get_running_loop().time(), 1_700_000_000_000),
    }


def test_both_lanes_give_the_same_answer_to_the_same_request() -> None:
    with asyncio.Runner() as runner:

        async def compare(requests: list[dict[str, Any]]) -> None:
            async with serving() as serve:
                express, general = await serve(inputs=twin()), await serve(inputs=twin())
                for request in requests:
                    entry = express.node.entry("a")
                    version = str(entry.version) if entry is not None else "none"
                    head_only = request["method"] == "HEAD"
                    one = await answer_to(express, rendered(request, version, b""), head_only)
                    two = await answer_to(
                        general, rendered(request, version, OTHER_LANE), head_only
                    )
                    assert one == two, request
                assert express.node.records() == general.node.records()
                assert "express" not in general.server.statistics()

        @settings(max_examples=25)
        @given(st.lists(REQUESTS, min_size=8, max_size=16))
        def property_holds(requests: list[dict[str, Any]]) -> None:
            runner.run(
                compare(
                    [
                        {
                            **requests[0],
                            "method": "PUT",
                            "key": "a",
                            "headers": [],
                            "body": b"1",
                            "version": "1.1",
                        },
                        *requests,
                    ]
                )
            )

        property_holds()


def test_plain_requests_for_a_key_go_by_the_express_lane_and_all_others_do_not(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        plain = [
            put("a", b"1"),
            get("a"),
            get("a", b'If-None-Match: "x"\r\n'),
            get("a", b"Connection: Keep-Alive\r\nAccept: */*\r\n"),
        ]
        plain += [
            put("a", b""),
            put("a", b"x" * 2000),
            b"PUT /kv/a HTTP/1.1\r\nHost: n\r\n\r\n",
            b"DELETE /kv/a HTTP/1.1\r\nHost: n\r\n\r\n",
        ]
        for data in plain:
            await served.raw(data)
        assert served.server.statistics()["express"] == len(plain)
        others = [
            get("a?"),
            get("a", b"Range: bytes=0-0\r\n"),
            get("a", b"TE: trailers\r\n"),
            get("a", b"Host: n\r\n"),
            get("a", b"KV-TTL: 1\r\n"),
        ]
        others += [
            b"GET /kv HTTP/1.1\r\nHost: n\r\n\r\n",
            b"GET /kv/a HTTP/1.0\r\n\r\n",
            b"GET /kv/a HTTP/1.1\r\n\r\n",
            put("a", b"x" * 2001),
        ]
        others += [
            get("a", b"Content-Length: 1\r\n") + b"x",
            get("a", b"Connection: Upgrade\r\nUpgrade: x\r\n"),
            put("a", b"1", b"Expect: 100-continue\r\n"),
        ]
        others += [
            b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /kv/a HTTP/1.1\r\nHost: n\r\n\r\n",
        ]
        for data in others:
            await served.raw(data)
        assert served.server.statistics()["express"] == len(plain)
        assert served.server.statistics()["handed_over"] == len(others)

    play(scenes)


# -- hand-over -----------------------------------------------------------------------------------


def test_a_connection_is_handed_over_with_all_that_follows_and_stays_there(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        reader, writer = await served.connect()
        writer.write(
            put("a", b"GET /kv/b HTTP/1.1\r\n\r\n")
            + put("b", b"\xff2", OTHER_LANE)
            + get("a")
            + put("c", b"3")
            + get("b")
        )
        answers = await replies(reader, 5)
        assert [answer.status for answer in answers] == [200] * 5
        assert (answers[2].body, answers[4].body) == (b"GET /kv/b HTTP/1.1\r\n\r\n", b"\xff2")
        assert served.server.statistics()["express"] == 1
        writer.close()

    play(scenes)


@pytest.mark.parametrize(
    "hidden",
    [
        b"GET /kv/a HTTP/1.1\nHost: n\n\nGET /kv/b HTTP/1.1\r\nHost: n\r\n\r\n",
        b"POST /kv/a HTTP/1.1\nHost: n\nContent-Length: 40\n\nGET /kv/b HTTP/1.1\r\nHost: "
        b"n\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\nTransfer-Encoding: "
        b"chunked\r\n\r\n0\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length: +3\r\n\r\nabc",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length: 3_0\r\n\r\nabc",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length : 3\r\n\r\nabc",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nX: y\r\n Content-Length: 3\r\n\r\nabc",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked, "
        b"identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /kv/a HTTP/1.1\r\nHost: n\rContent-Length: 3\r\n\r\nabc",
        b"PUT /kv/a\x00 HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_a_request_that_hides_in_another_is_refused_and_the_connection_closed(
    hidden: bytes, play: Callable[[Play], None]
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        reader, writer = await served.connect()
        writer.write(hidden + get("smuggled"))
        answer = await rest_of(reader, writer)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert served.node.list() == []

    play(scenes)


# -- in pieces and at once -----------------------------------------------------------------------


def test_requests_come_in_any_pieces(play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        data = (
            put("a", b"12\r\n\r\n3")
            + b"\r\n"
            + get("a")
            + "GET /kv/ç HTTP/1.1\r\nHost: n\r\n\r\n".encode()
            + put("ç", b"")
            + get("a")
        )
        for size in (1, 2, 3, 7, 50):
            reader, writer = await served.connect()
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await asyncio.sleep(0)
            answers = await replies(reader, 5)
            assert [answer.status for answer in answers] == [200, 200, 404, 200, 200]
            assert answers[1].body == answers[4].body == b"12\r\n\r\n3"
            writer.close()
            await served.node.delete("ç")

    play(scenes)


def test_a_large_body_comes_in_pieces_and_leaves_in_pieces(play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(value_bytes_max=2**24)
        value = bytes(range(256)) * (2**24 // 256)
        reader, writer = await served.connect()
        writer.write(put("a", value) + get("a"))
        stored, got = await replies(reader, 2)
        assert (stored.status, got.body == value) == (200, True)
        assert served.server.statistics()["express"] == 2
        writer.close()

    play(scenes)


def test_thousands_of_requests_at_once_are_answered_in_order_to_a_client_that_reads_late(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        count = 3000
        reader, writer = await served.connect()
        writer.write(b"".join(put(str(n % 50), b"%d" % n) + get(str(n % 50)) for n in range(count)))
        answers = await replies(reader, 2 * count)
        assert [answer.body for answer in answers[1::2]] == [b"%d" % n for n in range(count)]
        writer.close()

    play(scenes)


def test_a_client_that_sends_no_more_still_gets_its_answers(play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        for more in (b"", OTHER_LANE):
            reader, writer = await served.connect()
            writer.write(b"".join(put(str(n), b"1", more) for n in range(100)))
            writer.write_eof()
            assert (await rest_of(reader, writer)).count(b"HTTP/1.1 200 OK") == 100
        await until(lambda: served.server.statistics()["connections_open"] == 0)

    play(scenes)


def test_a_client_that_goes_away_in_the_middle_of_a_put_has_changed_nothing(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        await served.node.put("a", b"old")
        whole = put("a", b"new")
        for length in range(len(whole)):
            reader, writer = await served.connect()
            writer.write(whole[:length])
            await writer.drain()
            if length % 2:
                writer.write_eof()
                assert b" 200 " not in await rest_of(reader, writer)
            else:
                writer.transport.abort()
        await until(lambda: served.server.statistics()["connections_open"] == 0)
        assert served.node.get("a") == b"old"

    play(scenes)


# -- writes that wait for the disk ---------------------------------------------------------------


class SlowDisk:
    """Stands in for a disk: writes of the node are done at once, and durable when the test says
    so."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun = 0
        begin_put = node.begin_put

        def slow_put(*arguments: Any, **options: Any) -> Written:
            self.begun += 1
            return Written(begin_put(*arguments, **options).record, self.commit)

        monkeypatch.setattr(node, "begin_put", slow_put)


def test_many_writes_wait_for_one_commit_and_their_answers_leave_in_order(
    play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        disk = SlowDisk(served.node, monkeypatch)
        connections = [await served.connect() for _ in range(3)]
        for number, (_, writer) in enumerate(connections):
            writer.write(
                put(f"{number}/1", b"1")
                + get(f"{number}/1")
                + put(f"{number}/2", b"2")
                + get("absent", OTHER_LANE)
                + get(f"{number}/2")
            )
        await until(lambda: disk.begun == 6)
        assert all(not reader._buffer for reader, _ in connections)  # type: ignore[attr-defined]
        assert "handed_over" not in served.server.statistics()
        disk.commit.set_result(None)
        for number, (reader, writer) in enumerate(connections):
            answers = await replies(reader, 5)
            assert [answer.status for answer in answers] == [200, 200, 200, 404, 200]
            assert [answers[0].json["key"], answers[2].json["key"]] == [
                f"{number}/1",
                f"{number}/2",
            ]
            assert (answers[1].body, answers[4].body) == (b"1", b"2")
            writer.close()

    play(scenes)


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_write_that_did_not_reach_the_disk_is_not_said_to_have(
    more: bytes, play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        disk = SlowDisk(served.node, monkeypatch)
        reader, writer = await served.connect()
        writer.write(put("a", b"1", more))
        await until(lambda: disk.begun == 1)
        disk.commit.set_exception(LocalError("the disk is full", "make room"))
        answer = await read_reply(reader)
        assert (answer.status, answer.json) == (
            503,
            {"error": "the disk is full", "hint": "make room"},
        )
        writer.close()

    play(scenes)


def test_what_waits_for_the_disk_on_one_connection_is_bounded(
    play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        disk = SlowDisk(served.node, monkeypatch)
        reader, writer = await served.connect()
        count = 3 * PIPELINE_MAX
        writer.write(b"".join(put(str(n), b"1") for n in range(count)))
        writer.write_eof()
        await until(lambda: disk.begun == PIPELINE_MAX)
        for _ in range(20):
            await asyncio.sleep(0)
        assert disk.begun == PIPELINE_MAX
        disk.commit.set_result(None)
        assert [answer.json["key"] for answer in await replies(reader, count)] == [
            str(n) for n in range(count)
        ]
        assert await rest_of(reader, writer) == b""

    play(scenes)


def test_a_client_that_does_not_wait_for_the_disk_harms_nobody(
    play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        disk = SlowDisk(served.node, monkeypatch)
        for more in (b"", OTHER_LANE):
            begun = disk.begun
            _, writer = await served.connect()
            writer.write(put("a", b"1", more))
            await until(lambda begun=begun: disk.begun > begun)  # type: ignore[misc]
            reset(writer)
        await until(lambda: served.server.statistics()["connections_open"] == 0)
        disk.commit.set_result(None)
        assert (await served.call("GET", "/kv/a")).body == b"1"

    play(scenes)


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_write_is_503_with_retry_after_while_too_much_waits_for_the_disk(
    more: bytes, play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(data_dir=str(tmp_path))
        reader, writer = await served.connect()
        writer.write(put("a", b"1", more))
        assert (await read_reply(reader)).status == 200
        monkeypatch.setattr(commits_module, "WAITING_BYTES_MAX", 0)
        writer.write(put("a", b"2", more) + b"DELETE /kv/a HTTP/1.1\r\nHost: n\r\n\r\n" + get("a"))
        *refused, got = await replies(reader, 3)
        assert [(answer.status, answer.headers["retry-after"]) for answer in refused] == [
            (503, "1")
        ] * 2
        assert (got.status, got.body) == (200, b"1")
        writer.close()

    play(scenes)


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_write_is_503_with_retry_after_while_too_much_waits_for_peers(
    more: bytes, play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        monkeypatch.setattr(driver_module, "LOAD_LOOK_S", 0.0)
        monkeypatch.setattr(LinkTable, "waiting_bytes", driver_module.LINK_BYTES_WAITING_MAX + 1)
        reader, writer = await served.connect()
        writer.write(put("a", b"1", more))
        refused = await read_reply(reader)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await served.call("GET", "/status")).json["overload"] == refused.json["error"]
        with pytest.raises(OverloadedError, match="wait for peers"):
            await served.node.put("a", b"1")
        assert served.node.get("a") is None
        monkeypatch.setattr(LinkTable, "waiting_bytes", driver_module.LINK_BYTES_WAITING_MAX)
        writer.write(put("a", b"1", more))
        assert (await read_reply(reader)).status == 200
        assert (await served.call("GET", "/status")).json["overload"] is None
        writer.close()

    play(scenes)


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_connection_that_asks_nothing_is_closed(
    more: bytes, play: Callable[[Play], None]
) -> None:
    async def scenes(serve: Serve) -> None:
        # time enough for the request itself, however late uvloop, whose timers come first, is on a
        # busy machine
        served = await serve(http_idle_timeout_s=1.0)
        reader, writer = await served.connect()
        writer.write(get("a", more))
        assert (await read_reply(reader)).status == 404
        assert await rest_of(reader, writer) == b""

    play(scenes)


def test_a_head_that_drips_is_408_however_steadily_it_does(play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        # time enough for the first request, as above
        served = await serve(http_head_timeout_s=1.0)
        for first in (b"", get("a")):
            reader, writer = await served.connect()
            writer.write(first)
            if first:
                await read_reply(reader)
            answer = asyncio.ensure_future(read_reply(reader))
            while not answer.done():
                writer.write(b"G" if not first else b"GET /"[:1])
                await asyncio.sleep(0.01)
            assert (answer.result().status, answer.result().headers["connection"]) == (408, "close")
            assert await rest_of(reader, writer) == b""

    play(scenes)


def test_a_connection_that_never_asks_is_closed(play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_head_timeout_s=0.1)
        assert await rest_of(*await served.connect()) == b""

    play(scenes)


def test_a_body_that_drips_is_408_and_changes_nothing(play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_body_timeout_s=0.2)
        for more in (b"", OTHER_LANE):
            reader, writer = await served.connect()
            writer.write(put("a", b"x" * 2000, more)[:-2000])
            answer = asyncio.ensure_future(read_reply(reader))
            while not answer.done():
                writer.write(b"x")
                await asyncio.sleep(0.01)
            assert (answer.result().status, answer.result().headers["connection"]) == (408, "close")
            writer.close()
        assert served.node.get("a") is None

    play(scenes)


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_head_that_is_too_long_is_431(more: bytes, play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_head_bytes_max=4096)
        for data in (get("a", b"Accept: " + b"x" * 5000 + b"\r\n"), b"GET /" + b"x" * 5000):
            reader, writer = await served.connect()
            if more:
                writer.write(get("a", more))
                await read_reply(reader)
            writer.write(data)
            answer = await read_reply(reader)
            assert (answer.status, answer.headers["connection"]) == (431, "close")
            assert "4096" in answer.json["hint"]
            writer.close()

    play(scenes)


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_client_that_reads_nothing_is_cut_off(more: bytes, play: Callable[[Play], None]) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(value_bytes_max=2**24, http_body_timeout_s=0.3)
        await served.node.put("a", b"x" * 2**24)
        reader, writer = await served.connect()
        writer.write(get("a", more))
        # StreamReader stops reading once its own buffer is full
        await until(lambda: served.server.statistics().get("connections_overdue") == 1)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_reply(reader)
        writer.transport.abort()

    play(scenes)


def test_a_client_that_reads_slowly_is_patiently_served() -> None:
    class Transport(asyncio.WriteTransport):
        waiting = 10**6

        def get_write_buffer_size(self) -> int:
            return self.waiting

    async def scene() -> None:
        connections = Connections(configured("n", http_body_timeout_s=10.0))
        outflow, transport = Outflow(connections), Transport()
        assert outflow.choked(transport, 5.0) == 15.0
        assert connections.room.held == transport.waiting
        assert not outflow.moves(transport)
        transport.waiting -= 10 * BODY_BYTES_PER_S_MIN - 1
        assert not outflow.moves(transport)
        transport.waiting -= 1
        assert outflow.moves(transport)
        outflow.freed()
        assert connections.room.held == 0

    asyncio.run(scene())


async def busy(served: Served) -> asyncio.StreamWriter:
    """A connection that is asking for something."""
    before = served.server.statistics()["connections_open"]
    _, writer = await served.connect()
    writer.write(b"GET /kv/a HT")
    await until(lambda: served.server.statistics()["connections_open"] > before)
    open_ = served.server._connections._open
    await until(lambda: not any(each.is_idle() for each in list(open_)[before:]))
    return writer


@pytest.mark.parametrize("limit", ["http_connections_max", "http_client_connections_max"])
def test_one_connection_too_many_is_refused_and_another_may_come_when_one_has_gone(
    limit: str, play: Callable[[Play], None]
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(**{limit: 2})
        kept = [await busy(served) for _ in range(2)]
        reader, writer = await served.connect()
        writer.write(put("a", b"1"))
        refusal = await read_reply(reader)
        assert (refusal.status, refusal.headers["connection"], refusal.headers["retry-after"]) == (
            503,
            "close",
            "1",
        )
        writer.close()
        await until(lambda: served.server.statistics()["connections_open"] == 2)
        kept[1].close()
        await until(lambda: served.server.statistics()["connections_open"] == 1)
        assert (await served.call("GET", "/kv/a")).status == 404
        assert served.node.get("a") is None
        kept[0].close()

    play(scenes)


@pytest.mark.parametrize("limit", ["http_connections_max", "http_client_connections_max"])
@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_a_connection_that_asks_for_nothing_makes_room_for_one_that_does(
    more: bytes, limit: str, play: Callable[[Play], None]
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(**{limit: 3})
        asking, (reader, writer) = await busy(served), await served.connect()
        writer.write(get("a", more))
        assert (await read_reply(reader)).status == 404
        again = await busy(served)
        assert (await served.call("GET", "/kv/a")).status == 404
        assert await reader.read() == b""
        counts = served.server.statistics()
        assert counts["connections_made_room"] == 1
        assert turned_away(served) == 0
        for each in (writer, asking, again):
            each.close()

    play(scenes)


def test_a_client_with_too_many_connections_is_refused_and_another_client_is_not(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_client_connections_max=1)
        kept = await busy(served)
        assert (await served.call("GET", "/kv/a")).status == 503
        host, port = served.server.address
        reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
        writer.write(get("a"))
        assert (await read_reply(reader)).status == 404
        assert served.server.statistics()["connections_of_one_client_refused"] == 1
        for each in (kept, writer):
            each.close()

    play(scenes)


@pytest.mark.parametrize("more", [b"", OTHER_LANE])
def test_one_client_that_reads_nothing_takes_a_share_of_the_room_and_leaves_the_rest(
    more: bytes, play: Callable[[Play], None]
) -> None:
    async def scenes(serve: Serve) -> None:
        value = b"x" * 2**24
        served = await serve(value_bytes_max=2**24, http_answers_bytes_max=2**24)
        await served.node.put("a", value)
        reader, writer = await served.connect()
        writer.write(get("a", more))
        room = served.server._connections.room
        await until(lambda: room.held > 2**22)
        refused = await served.call("GET", "/kv/a")
        assert refused.status == 503
        assert "http_answers_bytes_max" in refused.json["hint"]
        assert (await read_reply(reader)).body == value
        writer.close()
        await until(lambda: room.held == 0)
        assert (await served.call("GET", "/kv/a")).body == value

    play(scenes)


def turned_away(served: Served) -> int:
    counts = served.server.statistics()
    return (
        counts.get("connections_turned_away", 0)
        + counts.get("connections_refused", 0)
        + counts.get("connections_cut_off", 0)
    )


def test_a_flood_of_connections_is_turned_away_and_leaves_nothing_behind(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_connections_max=1)
        kept = await busy(served)
        connections = [await served.connect() for _ in range(100)]
        await until(lambda: turned_away(served) == 100)
        assert served.server.statistics()["connections_open"] <= 1 + REFUSALS_MAX
        for writer in (kept, *(writer for _, writer in connections)):
            writer.transport.abort()
        await until(lambda: served.server.statistics()["connections_open"] == 0)
        assert (await served.call("GET", "/kv/a")).status == 404

    play(scenes)


def queued(served: Served, request: bytes) -> socket.socket:
    """A connection that the server has not accepted yet, with a request that is there when it
    does."""
    client = socket.create_connection(served.server.address)
    client.sendall(request)
    client.setblocking(False)
    return client


def test_who_stands_before_a_full_server_with_a_request_is_refused_at_once_and_closed(
    play: Callable[[Play], None],
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_connections_max=1)
        kept = await busy(served)
        for _ in range(2 * REFUSALS_MAX):
            reader, writer = await asyncio.open_connection(sock=queued(served, put("a", b"1")))
            reply = await read_reply(reader)
            writer.close()
            assert (reply.status, reply.headers["connection"], reply.headers["retry-after"]) == (
                503,
                "close",
                "1",
            )
        counts = served.server.statistics()
        assert (counts["connections_turned_away"], counts.get("connections_refused", 0)) == (
            2 * REFUSALS_MAX,
            0,
        )
        assert served.node.get("a") is None
        kept.close()

    play(scenes)


@pytest.mark.parametrize("early", [True, False])
def test_a_full_server_says_that_it_lives_whether_it_is_asked_before_it_accepts_or_after(
    early: bool, play: Callable[[Play], None]
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve(http_connections_max=1)
        kept = await busy(served)
        request = b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n"
        reader, writer = await asyncio.open_connection(
            sock=queued(served, request if early else b"")
        )
        await until(lambda: turned_away(served) == 1)
        if not early:
            writer.write(request)
        reply = await read_reply(reader)
        assert (reply.status, reply.headers["connection"], reply.json) == (
            200,
            "close",
            {"status": "ok"},
        )
        assert served.server.statistics().get("connections_turned_away", 0) == early
        for each in (writer, kept):
            each.close()

    play(scenes)


# -- the end -------------------------------------------------------------------------------------


def test_a_server_that_stops_closes_what_is_idle_and_finishes_what_is_under_way(
    play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenes(serve: Serve) -> None:
        served = await serve()
        disk = SlowDisk(served.node, monkeypatch)
        idle, sending, waiting = [await served.connect() for _ in range(3)]
        waiting[1].write(put("a", b"1"))
        sending[1].write(put("b", b"22")[:-1])
        await until(
            lambda: disk.begun == 1 and served.server.statistics()["connections_served"] == 3
        )
        address = served.server.address
        stopping = asyncio.ensure_future(served.server.stop())
        assert await rest_of(*idle) == b""
        sending[1].write(b"2")
        await until(lambda: disk.begun == 2)
        disk.commit.set_result(None)
        assert (await rest_of(*waiting)).startswith(b"HTTP/1.1 200 OK")
        last = await read_reply(sending[0])
        assert (last.status, last.headers["connection"]) == (200, "close")
        await stopping
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
        sending[1].close()

    play(scenes)
