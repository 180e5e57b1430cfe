"""The feed: indices that rise and mean time, a bounded past, cursors that go on or say that they
cannot, and waits for one topic."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Config
from kvgossip.errors import WatchLaggedError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.hlc import timestamp_of
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.watchers import Topic, Watches

TIMEOUT_S = 30.0
SITE = 0xFACE
START = timestamp_of(1_700_000_000_000)
ALL = Topic()


def feed_of(changes_max: int = 1000, bytes_max: int = 2**20, site: int = SITE) -> Feed:
    return Feed(Config(feed_changes_max=changes_max, feed_bytes_max=bytes_max), site, START)


def publish(feed: Feed, *keys: str, value: bytes = b"v", timestamp: int = 0) -> None:
    for key in keys:
        feed.publish(Changed(key, None, make_record(Version(1, 1), value)), timestamp)


def keys_after(feed: Feed, after: int, topic: Topic = ALL, scanned_max: int = 1000) -> list[str]:
    found: list[str] = []
    while after < feed.index:
        arrivals, until = feed.read(after, topic, scanned_max)
        assert until > after
        found += [arrival.changed.key for arrival in arrivals]
        after = until
    return found


# -- indices -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**64 - 100), max_size=50))
def test_indices_rise_strictly_and_lie_at_the_time_of_the_arrival_or_just_after_the_one_before(
    timestamps: list[int],
) -> None:
    feed = feed_of()
    before = feed.index
    assert before == START
    for timestamp in timestamps:
        publish(feed, "k", timestamp=timestamp)
        assert feed.index == max(timestamp, before + 1)
        before = feed.index


def test_no_index_is_ever_zero() -> None:
    assert Feed(Config(), SITE, 0).index > 0


# -- the past ------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "ab", "b", "ba"]), st.integers(0, 30_000)), max_size=60
    ),
    st.integers(1, 20),
    st.sampled_from([ALL, Topic("a"), Topic("ab"), Topic("a", exact=True), Topic("z")]),
    st.integers(1, 7),
)
def test_a_read_gives_exactly_what_came_after_or_says_that_some_of_it_is_gone(
    changes: list[tuple[str, int]], changes_max: int, topic: Topic, scanned_max: int
) -> None:
    feed = feed_of(changes_max, 64 * 1024)
    told = [(feed.index, "")]
    for key, size in changes:
        publish(feed, key, value=bytes(size))
        told.append((feed.index, key))
    assert len(feed) <= changes_max
    assert feed.kept_bytes <= 64 * 1024
    gone = len(told) - 1 - len(feed)
    for place, (index, _) in enumerate(told):
        if place < gone:
            with pytest.raises(WatchLaggedError):
                feed.read(index, topic)
            assert feed.resume(feed.cursor(index), topic) is None
        else:
            assert keys_after(feed, index, topic, scanned_max) == [
                key for _, key in told[place + 1 :] if topic.covers(key)
            ]
            assert feed.resume(feed.cursor(index), topic) == index


def test_the_past_packs_small_changes_and_keeps_large_records_by_reference() -> None:
    feed = feed_of(changes_max=64)
    small, large = make_record(Version(1, 1), b"v"), make_record(Version(1, 1), bytes(20_000))
    for record in (small, large):
        for number in range(4):
            feed.publish(Changed(f"k{number}", record, record), 0)
    feed.tidy()
    arrivals = feed.read(START, ALL).arrivals
    assert [arrival.changed for arrival in arrivals] == [
        Changed(f"k{n}", r, r) for r in (small, large) for n in range(4)
    ]
    assert all(arrival.changed.new_record is not small for arrival in arrivals[:4])
    assert all(arrival.changed.new_record is large for arrival in arrivals[4:])


# -- cursors -------------------------------------------------------------------------------------


async def test_a_watcher_goes_on_from_its_cursor_without_a_gap_and_without_a_repetition() -> None:
    feed = feed_of()
    watcher = feed.watch(Topic("a"))
    publish(feed, "a1", "b1", "a2", "a3")
    taken = [(await anext(watcher)).key for _ in range(2)]
    cursor = watcher.cursor
    await watcher.aclose()
    publish(feed, "b2", "a4")
    resumed = feed.watch(Topic("a"), cursor)
    publish(feed, "a5")
    taken += [(await anext(resumed)).key for _ in range(resumed.waiting)]
    assert taken == ["a1", "a2", "a3", "a4", "a5"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "0",
        "nonsense",
        "9" * 40,
        f"{SITE:016x}-",
        f"{SITE:016X}-{START:016x}",
        f"{SITE:016x}-{'f' * 16}",
    ],
)
def test_lesson_23_what_is_no_cursor_of_this_feed_is_a_resync_and_never_a_wait(cursor: str) -> None:
    feed = feed_of()
    assert feed.resume(cursor, ALL) is None
    with pytest.raises(WatchLaggedError, match="of another node") as lagged:
        feed.watch(ALL, cursor)
    assert "list the keys again" in lagged.value.hint


def test_lesson_23_a_cursor_of_another_life_is_a_resync_although_its_index_is_known_here() -> None:
    feed, other = feed_of(), feed_of(site=SITE + 1)
    publish(feed, "a", "b")
    assert other.resume(feed.cursor(START), ALL) is None


def test_who_knows_that_nothing_came_under_its_topic_goes_on_from_a_cursor_of_any_age() -> None:
    feed = feed_of(changes_max=3)
    quiet, busy = Topic("quiet/"), Topic("busy/")
    publish(feed, "quiet/a")
    cursor = feed.cursor()
    assert feed.last_index(quiet) == feed.index
    publish(feed, *(f"busy/{number}" for number in range(100)))
    assert feed.resume(cursor, busy) is None
    resumed = feed.resume(cursor, quiet)
    assert resumed is not None
    assert feed.read(resumed, quiet) == ([], feed.index)
    publish(feed, "quiet/b", "busy/a")
    # now something did come, and is still here
    assert feed.resume(cursor, quiet) is None
    assert keys_after(feed, feed.index - 2, quiet) == ["quiet/b"]


# -- one topic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "other"),
    [(Topic("a/"), "b/x"), (Topic("a", exact=True), "ab"), (Topic("missing"), "mis")],
)
async def test_lesson_21_who_waits_for_a_topic_wakes_for_it_and_for_nothing_else(
    topic: Topic, other: str
) -> None:
    feed = feed_of(changes_max=5)
    index = feed.last_index(topic)
    waiting = asyncio.ensure_future(feed.wait(topic, index, TIMEOUT_S))
    await asyncio.sleep(0)
    for _ in range(20):
        publish(feed, other)
        await asyncio.sleep(0)
    assert not waiting.done()
    assert feed.last_index(topic) == index
    publish(feed, topic.text)
    async with asyncio.timeout(TIMEOUT_S):
        assert await waiting == feed.index == feed.last_index(topic)
    assert len(feed.watches) == 0


async def test_a_wait_ends_at_its_timeout_with_the_index_unchanged() -> None:
    feed = feed_of()
    assert await feed.wait(ALL, feed.index, 0.0) == feed.index
    assert len(feed.watches) == 0


async def test_a_wait_for_what_has_come_already_returns_at_once() -> None:
    feed = feed_of()
    publish(feed, "a")
    assert await feed.wait(Topic("a"), START, TIMEOUT_S) == feed.index


async def test_lesson_23_a_wait_beyond_all_indices_of_this_server_returns_at_once() -> None:
    feed = feed_of()
    assert await feed.wait(ALL, feed.index + 1, TIMEOUT_S) == feed.index


async def test_a_wait_ends_when_the_node_stops() -> None:
    feed = feed_of()
    waiting = asyncio.ensure_future(feed.wait(ALL, feed.index, TIMEOUT_S))
    await asyncio.sleep(0)
    feed.close()
    async with asyncio.timeout(TIMEOUT_S):
        assert await waiting == START


def test_the_last_index_of_a_topic_is_that_of_its_last_change_or_one_from_before_it() -> None:
    feed = feed_of(changes_max=3)
    publish(feed, "a")
    first = feed.index
    publish(feed, "b", "b")
    assert feed.last_index(Topic("a")) == first
    publish(feed, *["c"] * 10)
    assert feed.last_index(Topic("a")) == first
    forgotten = feed.last_index(Topic("b"))
    assert first < forgotten < feed.index


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 6))
def test_the_last_index_of_a_key_is_late_enough_and_at_best_that_of_its_last_change(
    keys: list[str], changes_max: int
) -> None:
    feed = feed_of(changes_max)
    last = dict.fromkeys("abc", START)
    floor = START
    apart = len({hash(key) % len(feed._latest) for key in "abc"}) == 3
    for number, key in enumerate(keys):
        publish(feed, key)
        last[key] = feed.index
        floor = START + max(number + 1 - changes_max, 0)
        for one in "abc":
            told = feed.last_index(Topic(one, exact=True))
            assert max(last[one], floor) <= told <= feed.index
            assert told == max(last[one], floor) or not apart
        feed.watches = Watches(10)


def test_the_last_index_of_a_prefix_is_found_in_what_is_packed() -> None:
    feed = feed_of(changes_max=160)
    publish(feed, "a/1")
    index = feed.index
    publish(feed, *(f"b/{number}" for number in range(100)))
    assert feed.last_index(Topic("a/")) == index
    assert feed.last_index(Topic("c/")) == START


def test_topics_that_nobody_asks_for_any_more_are_forgotten() -> None:
    feed = feed_of(changes_max=2)
    for number in range(1000):
        feed.last_index(Topic("x" * number))
    assert len(feed.watches._lengths) <= 256


# -- whoever is told -----------------------------------------------------------------------------


async def test_lesson_24_a_watcher_may_watch_and_write_and_close_while_it_is_told() -> None:
    feed = feed_of()
    seen: list[str] = []

    async def react() -> None:
        async with feed.watch(Topic("a")) as watcher:
            async for change in watcher:
                inner = feed.watch(Topic("b"))
                publish(feed, "b1")
                seen.extend((change.key, (await anext(inner)).key))
                await inner.aclose()
                await watcher.aclose()

    task = asyncio.ensure_future(react())
    await asyncio.sleep(0)
    publish(feed, "a1")
    async with asyncio.timeout(TIMEOUT_S):
        await task
    assert seen == ["a1", "b1"]
    assert len(feed.watches) == 0
