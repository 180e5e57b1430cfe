"""/watch over real sockets: which events come, what is refused, who is cut off, and who goes on
where."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from kvgossip import Writing
from kvgossip.api.routes import sse as stream_module
from kvgossip.api.routes.watch_event import notice
from kvgossip.protocol.model.entry import version_of
from kvgossip.runtime.changes.feed import Feed
from tests.api.event_stream import TIMEOUT_S, StreamBlock, ask, open_stream, served, stream
from tests.api.serving import Served


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.01)


def watching(server: Served) -> dict[str, object]:
    statistics: dict[str, object] = server.server._watching.statistics()
    return statistics


# -- streams -------------------------------------------------------------------------------------


async def test_a_stream_tells_puts_and_deletes_under_its_prefix_as_they_come() -> None:
    async with served() as server, stream(server, prefix="a/") as watcher:
        put = await server.node.put("a/1", b"value", content_type="text/plain")
        first = await watcher.event()
        await server.node.put("b/1", b"other")
        delete = await server.node.delete("a/1")
        assert delete is not None
        second = await watcher.event()
        assert first is not None
        assert second is not None
        assert first[::2] == (
            "put",
            {"key": "a/1", "version": str(put.version), "content_type": "text/plain", "bytes": 5},
        )
        assert second[::2] == ("delete", {"key": "a/1", "version": str(delete.version)})
        assert second.id == watcher.cursor == server.node.feed.cursor()


async def test_of_what_changed_together_all_but_the_last_say_that_more_follows() -> None:
    async with served() as server, stream(server, prefix="a/") as watcher:
        writes = [Writing("a/1", b"1"), Writing("a/2", b"2"), Writing("a/1/", b"3")]
        await server.node.batch([*writes, Writing("b", b"4")])
        events = [await watcher.event() for _ in range(3)]
        assert [event and event.data.get("more", False) for event in events] == [True, True, False]


async def test_a_sign_of_life_ends_what_changed_together_where_the_rest_is_not_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that catches up, a few changes at a time."""
    monkeypatch.setattr(Feed.read, "__defaults__", (4,))
    async with served() as server:
        await server.node.put("a/0", b"0")
        since = server.node.feed.cursor()
        await server.node.batch([Writing(key, b"1") for key in ("a/1", "b/1", "b/2", "b/3", "b/4")])
        async with stream(server, prefix="a/", since=since) as watcher:
            event = await watcher.event()
            assert event is not None
            assert (event.data["key"], event.data["more"]) == ("a/1", True)
            block = await watcher.block()
            assert block == StreamBlock("", server.node.feed.cursor(), None)


async def test_a_stream_tells_what_expires() -> None:
    async with served() as server, stream(server) as watcher:
        put = await server.node.put("a", b"1", ttl_s=0.2)
        assert await watcher.events(1) == [("put", "a")]
        event = await watcher.event()
        assert event is not None
        assert event[::2] == ("expire", {"key": "a", "version": str(put.version)})
        assert server.node.get("a") is None


async def test_the_head_says_what_it_is_and_that_the_connection_ends_with_it() -> None:
    async with served() as server:
        watcher = await open_stream(server, "")
        head = await watcher.head()
        assert "Content-Type: text/event-stream\r\n" in head
        assert "Connection: close\r\n" in head
        assert "KV-Settled: true\r\n" in head
        assert "KV-Node: n1\r\nKV-Zone: \r\nKV-Datacenter: dc1\r\n" in head
        assert await watcher.block() == StreamBlock("", server.node.feed.cursor(), None)
        watcher.writer.close()


@pytest.mark.parametrize(
    ("values", "value", "sent"),
    [
        ("none", b"x", {}),
        ("text", "ç".encode(), {"value": "ç"}),
        ("text", b"\xff", {"value_base64": base64.b64encode(b"\xff").decode()}),
        ("base64", b"\x00\xff", {"value": base64.b64encode(b"\x00\xff").decode()}),
        ("text", b"", {"value": ""}),
    ],
)
async def test_values_come_as_they_are_asked_for(
    values: str, value: bytes, sent: dict[str, str]
) -> None:
    async with served() as server, stream(server, values=values) as watcher:
        await server.node.put("a", value)
        event = await watcher.event()
        assert event is not None
        assert {name: text for name, text in event.data.items() if name.startswith("value")} == sent


async def test_lesson_21_a_watch_of_one_key_hears_of_that_key_alone_also_when_it_is_missing() -> (
    None
):
    async with served() as server, stream(server, key="a") as watcher:
        for key in ("ab", "a/b", "b", "a"):
            await server.node.put(key, b"1")
        assert await watcher.events(1) == [("put", "a")]


async def test_a_stream_from_0_begins_with_a_snapshot_that_ends_and_goes_on_live() -> None:
    async with served() as server:
        for number in range(600):
            await server.node.put(f"k{number:03}", b"1")
        await server.node.delete("k300")
        async with stream(server, since="0") as watcher:
            assert await watcher.events(1) == [("resync", "")]
            assert watcher.cursor == "0"
            keys = [f"k{number:03}" for number in range(600) if number != 300]
            assert await watcher.events(600) == [*(("put", key) for key in keys), ("synced", "")]
            await server.node.put("z", b"1")
            assert await watcher.events(1) == [("put", "z")]


async def test_a_stream_goes_on_from_the_id_of_its_last_event_and_the_header_wins_over_the_query() -> (
    None
):
    async with served() as server:
        async with stream(server) as watcher:
            await server.node.put("a", b"1")
            await server.node.put("b", b"1")
            assert await watcher.events(1) == [("put", "a")]
            cursor = watcher.cursor
        await server.node.put("c", b"1")
        async with stream(server, since="0", since_header=cursor) as watcher:
            assert await watcher.events(2) == [("put", "b"), ("put", "c")]


async def test_lesson_23_a_cursor_of_another_node_or_life_is_a_resync_and_never_a_wait() -> None:
    async with served() as one, served(name="n2") as two:
        await two.node.put("a", b"1")
        async with stream(two, since=one.node.feed.cursor()) as watcher:
            assert await watcher.events(3) == [("resync", ""), ("put", "a"), ("synced", "")]
        cursor = two.node.feed.cursor()
        await two.node.stop(leave=False)
        await two.node.start()
        async with stream(two, since=cursor) as watcher:
            assert await watcher.events(2) == [("resync", ""), ("synced", "")]


async def test_coalesced_only_the_last_change_of_each_key_is_sent_in_the_order_of_the_last_ones() -> (
    None
):
    async with (
        served() as server,
        stream(server, coalesce="50ms") as watcher,
        stream(server) as plain,
    ):
        for number in range(5):
            await server.node.put("a", b"%d" % number)
            await server.node.put("b", b"%d" % number)
        await server.node.delete("a")
        assert await watcher.events(2) == [("put", "b"), ("delete", "a")]
        assert len(await plain.events(11)) == 11
        assert watcher.cursor == plain.cursor


async def test_streams_of_one_form_get_the_same_and_one_that_comes_in_between_misses_nothing() -> (
    None
):
    async with served() as server, AsyncExitStack() as stack:
        watchers = [await stack.enter_async_context(stream(server)) for _ in range(5)]
        expected = []
        for number in range(200):
            await server.node.put(f"k{number}", b"1")
            expected.append(("put", f"k{number}"))
        late = await stack.enter_async_context(stream(server, since=watchers[0].cursor))
        for watcher in (*watchers, late):
            assert await watcher.events(200) == expected


async def test_an_idle_stream_shows_signs_of_life_that_carry_the_newest_cursor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.05)
    async with served() as server, stream(server, prefix="quiet/") as watcher:
        await server.node.put("busy", b"1")
        await until(lambda: server.node.feed.cursor() != watcher.cursor)
        block = await watcher.block()
        while block is not None and block.id is None:
            block = await watcher.block()
        assert block == StreamBlock("", server.node.feed.cursor(), None)
        assert await watcher.block() == StreamBlock("", None, None)


# -- who is cut off ------------------------------------------------------------------------------


async def test_lesson_22_a_stream_that_does_not_read_is_cut_off_with_a_reason_and_never_slows_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(stream_module, "FAREWELL_S", 0.1)
    async with (
        served(feed_bytes_max=2**20) as server,
        stream(server, values="base64") as slow,
        stream(server) as quick,
    ):
        for number in range(400):
            await server.node.put(f"k{number}", bytes(100_000))
            if number % 10 == 9:
                assert len(await quick.events(10)) == 10
        await until(lambda: watching(server)["streams"] == 1)
        assert sum(server.server._watching.statistics()["cut_off"].values()) == 1
        event: StreamBlock | None = StreamBlock("", None, None)
        last = event
        while event is not None:
            last, event = event, await slow.event()
        # where the client was too slow even for the farewell, the connection is all that ends
        assert last is not None
        assert last.kind in ("put", "cut")
        async with stream(server, since=slow.cursor) as resumed:
            assert await resumed.events(1) == [("resync", "")]


async def test_a_stream_that_lags_behind_learns_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(feed_changes_max=5) as server, stream(server) as watcher:
        (behind,) = server.server._watching._hub._streams
        behind.pause_writing()
        for number in range(10):
            await server.node.put(f"k{number}", b"1")
        behind.resume_writing()
        event = await watcher.event()
        assert event is not None
        assert event.kind == "cut"
        assert "did not keep up" in event.data["error"]
        assert await watcher.event() is None
        assert watching(server) == {"streams": 0, "polls": 0, "cut_off": {"lagged": 1}}


async def test_a_stream_that_was_slow_for_a_while_misses_nothing() -> None:
    async with served() as server, stream(server) as watcher:
        (behind,) = server.server._watching._hub._streams
        behind.pause_writing()
        for number in range(10):
            await server.node.put(f"k{number}", b"1")
        behind.resume_writing()
        await server.node.put("last", b"1")
        assert await watcher.events(11) == [
            *(("put", f"k{number}") for number in range(10)),
            ("put", "last"),
        ]


async def test_a_burst_beyond_what_a_queue_holds_reaches_streams_from_the_feed() -> None:
    async with served(watch_events_max=10) as server, stream(server) as watcher:
        for number in range(100):
            await server.node.put(f"k{number}", b"1")
        assert await watcher.events(100) == [("put", f"k{number}") for number in range(100)]
        await server.node.put("after", b"1")
        assert await watcher.events(1) == [("put", "after")]


async def test_a_client_that_goes_away_is_forgotten() -> None:
    async with served() as server:
        async with stream(server):
            assert watching(server)["streams"] == 1
            assert len(server.node.feed.watches) == 1
        await until(lambda: watching(server)["streams"] == 0)
        assert len(server.node.feed.watches) == 0


async def test_more_watchers_than_the_limit_are_503_with_retry_after() -> None:
    async with served(watchers_max=2) as server, stream(server), stream(server):
        for query in ("", "poll=1"):
            status, headers, body = await ask(server, query)
            assert (status, headers["retry-after"]) == (503, "1")
            assert body["hint"].startswith("watchers_max is 2")


async def test_one_client_with_too_many_streams_is_503_and_may_begin_one_when_one_has_ended() -> (
    None
):
    async with served(http_client_streams_max=1) as server:
        async with stream(server):
            status, headers, body = await ask(server, "")
            assert (status, headers["retry-after"]) == (503, "1")
            assert body["hint"].startswith("http_client_streams_max is 1")
        await until(lambda: watching(server)["streams"] == 0)
        async with stream(server) as watcher:
            await server.node.put("key", b"1")
            assert await watcher.events(1) == [("put", "key")]


async def test_streams_leave_files_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as server:
        monkeypatch.setattr(server.server._watching, "_files_max", 0)
        status, _, body = await ask(server, "")
        assert status == 503
        assert "ulimit -n" in body["hint"]


@pytest.mark.parametrize("by", ["node", "server"])
async def test_lesson_22_a_stream_ends_with_a_reason_when_the_node_or_its_server_stops_and_does_not_hang(
    by: str,
) -> None:
    async with served() as server, stream(server) as watcher:
        stopping = asyncio.ensure_future(
            server.node.stop(leave=False) if by == "node" else server.server.stop()
        )
        event = await watcher.event()
        assert event is not None
        assert event.kind == "cut"
        assert "stops" in event.data["error"]
        assert await watcher.event() is None
        async with asyncio.timeout(TIMEOUT_S):
            await stopping


async def test_a_stream_that_begins_while_the_server_stops_ends_at_once() -> None:
    async with served() as server:
        await server.server._hub.close()
        async with stream(server) as watcher:
            assert (await watcher.event() or StreamBlock("", None, None)).kind == "cut"
            assert await watcher.event() is None


def test_a_notice_is_one_event_whatever_it_says() -> None:
    assert notice("cut", "a\nb", "") == b'event: cut\ndata: {"error":"a\\nb","hint":""}\n\n'


# -- polls ---------------------------------------------------------------------------------------


async def test_a_poll_answers_what_came_since_and_the_next_one_goes_on_there() -> None:
    async with served() as server:
        _, _, first = await ask(server, "poll=1&timeout=0")
        assert first == {"events": [], "cursor": server.node.feed.cursor(), "resync": False}
        entry = await server.node.put("a", b"1")
        await server.node.delete("a")
        _, _, second = await ask(server, f"poll=1&values=text&since={first['cursor']}")
        assert [event["event"] for event in second["events"]] == ["put", "delete"]
        put = second["events"][0]
        assert put["value"] == "1"
        assert put["version"] == str(entry.version)
        assert second["events"][1]["cursor"] == second["cursor"]
        _, _, third = await ask(server, f"poll=1&timeout=0&since={put['cursor']}")
        assert [event["event"] for event in third["events"]] == ["delete"]


async def test_a_poll_waits_for_the_next_change_of_its_topic() -> None:
    async with served() as server:
        asking = asyncio.ensure_future(ask(server, "poll=1&prefix=a"))
        await until(lambda: len(server.node.feed.watches) == 1)
        await server.node.put("b", b"1")
        await server.node.put("a", b"1")
        _, _, answer = await asking
        assert [event["key"] for event in answer["events"]] == ["a"]
        assert watching(server)["polls"] == 0


async def test_lesson_23_a_poll_with_a_cursor_that_cannot_be_gone_on_from_says_resync_at_once() -> (
    None
):
    async with served() as server:
        await server.node.put("a", b"1")
        assert (await ask(server, "poll=1&since=0"))[2] == {
            "events": [],
            "cursor": server.node.feed.cursor(),
            "resync": True,
        }


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("prefix=a&key=b", "exclude each other"),
        ("values=hex", "values = 'hex' is unknown"),
        ("poll=yes", "is neither true nor false"),
        ("timeout=10s", "timeout is for poll=1"),
        ("poll=1&timeout=10parsecs", "is not a duration"),
        ("poll=1&timeout=1h", "up to 600s"),
        ("coalesce=-1", "is not a duration"),
        ("key=/a", "looks like a path that climbs"),
        ("pfx=a", "unknown query parameter"),
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400_that_says_why(query: str, words: str) -> None:
    async with served() as server:
        status, _, body = await ask(server, query)
        assert status == 400
        assert words in body["error"] + body["hint"]


async def test_lesson_16_before_the_node_has_settled_a_poll_is_503_as_every_read_is() -> None:
    async with served(join=("127.0.0.1:1",)) as server:
        status, headers, body = await ask(server, "poll=1")
        assert (status, headers["retry-after"]) == (503, "1")
        assert "not caught up" in body["error"]


async def test_lesson_16_a_stream_that_begins_before_the_node_has_settled_has_no_events_before_it_has() -> (
    None
):
    async with (
        served(join=("127.0.0.1:1",)) as server,
        stream(server, since="0") as watcher,
        stream(server) as newcomer,
    ):
        await server.node.put("a", b"1")
        # a client that goes meanwhile is let go
        async with stream(server):
            assert (await server.call("GET", "/status")).json["watching"]["streams"] == 3
        server.node.settle()
        assert await watcher.events(3) == [("resync", ""), ("put", "a"), ("synced", "")]
        await newcomer.block()
        await server.node.put("b", b"1")
        assert await newcomer.events(1) == [("put", "b")]


async def test_a_stream_that_is_held_ends_with_the_server() -> None:
    async with served(join=("127.0.0.1:1",)) as server, stream(server) as watcher:
        await server.server.stop()
        assert await watcher.events(1) == [("cut", "")]
        assert await watcher.event() is None


# -- random schedules ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
async def test_watchers_that_are_cut_moved_and_overrun_end_with_what_the_nodes_have(
    seed: int,
) -> None:
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(served(feed_changes_max=30))
        two = await stack.enter_async_context(
            served(name="n2", feed_changes_max=30, join=(str(one.node.address),))
        )
        await two.node.wait_settled(TIMEOUT_S)
        held: dict[str, str] = {}
        cursor = "0"
        for _ in range(12):
            server = rng.choice((one, two))
            async with stream(server, prefix="k", since_header=cursor) as watcher:
                watcher.held, watcher.cursor = held, cursor
                for _ in range(rng.choice((3, 20, 60))):
                    key = f"k{rng.randrange(12)}"
                    await (
                        server.node.delete(key)
                        if rng.random() < 0.4
                        else server.node.put(key, b"1")
                    )
                # got all that this node has, or cut in the middle
                reads = rng.randrange(8) if rng.random() < 0.5 else 10_000
                while reads and watcher.cursor != server.node.feed.cursor():
                    await watcher.event()
                    reads -= 1
                held, cursor = watcher.held, watcher.cursor
            for key in rng.sample([f"k{number}" for number in range(12)], 4):
                await one.node.delete(key)
        await until(lambda: one.node.status()["root"] == two.node.status()["root"])
        async with stream(two, prefix="k", since_header=cursor) as watcher:
            watcher.held, watcher.cursor = held, cursor
            while watcher.cursor != two.node.feed.cursor():
                await watcher.event()
            assert watcher.held == {
                key: str(version_of(record)) for key, record in two.node.records("k")
            }
