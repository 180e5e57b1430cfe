"""The fan-out of changes: ordered, complete or openly cut off, and free of charge for those who do
not watch."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from kvgossip.config import Config
from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Entry, Version, make_record
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.watchers import Change, Topic, Watcher

TIMEOUT_S = 30.0


class LookUps(dict[str, Any]):
    """Counts how often something is looked up."""

    count = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.count += 1
        return super().get(key, default)


def feed_of(events_max: int) -> Feed:
    return Feed(Config(watch_events_max=events_max), site=1, start=1)


def record(number: int, value: bytes | None = b"v") -> bytes:
    return make_record(Version(number, 1), value)


def publish(feed: Feed, key: str, number: int = 1) -> Change:
    changed = Changed(key, None, record(number))
    feed.publish(changed, number)
    return Change(key, None, changed.new)


async def take(watcher: Watcher, count: int) -> list[Change]:
    async with asyncio.timeout(TIMEOUT_S):
        return [await anext(watcher) for _ in range(count)]


async def test_a_watcher_gets_the_changes_under_its_prefix_and_no_others() -> None:
    feed = feed_of(100)
    watcher = feed.watch(Topic("user/"))
    for key in ("user", "users", "user/1", "use", "", "group/1", "user/", "USER/1"):
        publish(feed, key)
    assert [change.key for change in await take(watcher, 2)] == ["user/1", "user/"]
    assert watcher.waiting == 0


async def test_a_set_is_what_one_input_has_changed_under_the_prefix() -> None:
    feed = feed_of(100)
    watcher = feed.watch_sets(Topic("a"))
    for number, keys in enumerate((["a1"], ["b"], ["a2", "b", "a3"], ["a2"], ["a2"])):
        feed.input = number
        for key in keys:
            publish(feed, key, number)
    async with asyncio.timeout(TIMEOUT_S):
        sets = [[change.key for change in await anext(watcher)] for _ in range(4)]
    assert sets == [["a1"], ["a2", "a3"], ["a2"], ["a2"]]
    assert watcher.waiting == 0
    assert watcher.cursor == feed.cursor()


async def test_a_watcher_of_sets_is_cut_off_by_changes_that_wait_and_not_by_sets() -> None:
    feed = feed_of(3)
    watcher = feed.watch_sets(Topic())
    for number in range(4):
        publish(feed, "a", number)
    with pytest.raises(WatchLaggedError, match="did not keep up"):
        await anext(watcher)
    assert feed.watches.lagged == 1


async def test_the_empty_prefix_gets_everything_in_order() -> None:
    feed = feed_of(100)
    watcher = feed.watch(Topic())
    told = [publish(feed, f"{number % 7}", number) for number in range(50)]
    assert await take(watcher, 50) == told


async def test_every_watcher_gets_a_change_once_whatever_its_prefix_and_the_length_of_the_key() -> (
    None
):
    rng = random.Random(3)
    prefixes = ["", "a", "ab", "abc", "abcd", "b", "ba", "a", "abc", "abcdefgh"]
    feed = feed_of(10_000)
    watchers = [feed.watch(Topic(prefix)) for prefix in prefixes]
    told = [
        publish(feed, "".join(rng.choice("abc") for _ in range(rng.randrange(6))), number)
        for number in range(500)
    ]
    for prefix, watcher in zip(prefixes, watchers, strict=True):
        expected = [change for change in told if change.key.startswith(prefix)]
        assert await take(watcher, watcher.waiting) == expected


async def test_a_delete_arrives_as_the_frozen_pair_of_what_was_and_its_certificate() -> None:
    feed = feed_of(100)
    watcher = feed.watch(Topic("k"))
    feed.publish(Changed("k", record(1, b"was"), record(2, None)), 2)
    (change,) = await take(watcher, 1)
    assert change[:] == ("k", Entry("k", b"was", Version(1, 1)), Entry("k", None, Version(2, 1)))
    assert change.new.deleted
    with pytest.raises(AttributeError):
        change.new.value = b"edited"  # type: ignore[misc]


async def test_a_watcher_hears_from_the_moment_of_watch_and_not_of_the_first_iteration() -> None:
    feed = feed_of(100)
    publish(feed, "before")
    watcher = feed.watch(Topic())
    publish(feed, "after")
    assert [change.key for change in await take(watcher, 1)] == ["after"]


async def test_a_waiting_watcher_wakes_for_its_prefix_only() -> None:
    feed = feed_of(100)
    watcher = feed.watch(Topic("a"))
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0)
    publish(feed, "b")
    await asyncio.sleep(0)
    assert not waiting.done()
    publish(feed, "a")
    async with asyncio.timeout(TIMEOUT_S):
        assert (await waiting).key == "a"


async def test_a_watcher_that_does_not_keep_up_is_cut_off_and_told() -> None:
    feed = feed_of(3)
    slow, quick = feed.watch(Topic("a")), feed.watch(Topic("a"))
    for number in range(3):
        publish(feed, "a", number)
    assert len(await take(quick, 3)) == 3
    assert len(feed.watches) == 2
    publish(feed, "a", 3)
    assert len(feed.watches) == feed.watches.lagged == 1
    assert slow.waiting == 0
    for _ in range(2):
        with pytest.raises(WatchLaggedError, match="'a' did not keep up") as lagged:
            await anext(slow)
        assert "list the keys again" in lagged.value.hint
    assert [change.new.version.timestamp for change in await take(quick, 1)] == [3]


async def test_a_burst_within_one_turn_may_cut_off_even_a_watcher_that_waits() -> None:
    feed = feed_of(3)
    watcher = feed.watch(Topic())
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0)
    for number in range(4):
        publish(feed, "a", number)
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(WatchLaggedError):
            await waiting


async def test_a_closed_watcher_is_gone_at_once_and_its_iteration_ends() -> None:
    feed = feed_of(100)
    watcher = feed.watch(Topic("a"))
    publish(feed, "a")
    await watcher.aclose()
    assert len(feed.watches) == 0
    assert watcher.waiting == 0
    publish(feed, "a")
    async with asyncio.timeout(TIMEOUT_S):
        assert [change async for change in watcher] == []
    await watcher.aclose()


async def test_closing_ends_the_wait_of_another_task() -> None:
    feed = feed_of(100)
    async with feed.watch(Topic("a")) as watcher:
        waiting = asyncio.ensure_future(anext(watcher, None))
        await asyncio.sleep(0)
    async with asyncio.timeout(TIMEOUT_S):
        assert await waiting is None
    assert len(feed.watches) == 0


async def test_a_watcher_that_nobody_holds_any_more_is_gone() -> None:
    feed = feed_of(100)

    async def first() -> Change | None:
        async for change in feed.watch(Topic("a")):
            return change
        return None

    waiting = asyncio.ensure_future(first())
    await asyncio.sleep(0)
    assert len(feed.watches) == 1
    publish(feed, "a")
    async with asyncio.timeout(TIMEOUT_S):
        assert (await waiting) is not None
    gc.collect()
    assert len(feed.watches) == 0


async def test_a_cancelled_wait_loses_nothing() -> None:
    feed = feed_of(100)
    watcher = feed.watch(Topic())
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0)
    publish(feed, "a")
    # the change has woken the task, which is cancelled before it runs
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert [change.key for change in await take(watcher, 1)] == ["a"]


async def test_one_watcher_is_for_one_task_at_a_time() -> None:
    watcher = feed_of(100).watch(Topic())
    waiting = asyncio.ensure_future(anext(watcher, None))
    await asyncio.sleep(0)
    with pytest.raises(LocalError, match="two tasks"):
        await anext(watcher)
    await watcher.aclose()
    assert await waiting is None


async def test_watchers_may_come_and_go_while_changes_are_told() -> None:
    feed = feed_of(1)
    watchers = [feed.watch(Topic("a")) for _ in range(10)]
    publish(feed, "a", 1)
    kept = watchers[::2]
    for watcher in kept:
        await take(watcher, 1)
    # five of the ten are cut off in the middle of this one
    told = publish(feed, "a", 2)
    assert len(feed.watches) == 5
    for watcher in kept:
        assert await take(watcher, 1) == [told]

    async def watch_more() -> Change:
        async for _ in kept[0]:
            return (await take(feed.watch(Topic("a")), 1))[0]
        raise AssertionError

    task = asyncio.ensure_future(watch_more())
    await asyncio.sleep(0)
    publish(feed, "a", 3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    last = publish(feed, "a", 4)
    async with asyncio.timeout(TIMEOUT_S):
        assert await task == last


async def test_when_the_node_stops_its_watchers_get_what_waits_and_then_end() -> None:
    feed = feed_of(100)
    one, other = feed.watch(Topic("a")), feed.watch(Topic("b"))
    waiting = asyncio.ensure_future(anext(other, None))
    await asyncio.sleep(0)
    told = publish(feed, "a")
    feed.close()
    assert len(feed.watches) == 0
    publish(feed, "a")
    async with asyncio.timeout(TIMEOUT_S):
        assert [change async for change in one] == [told]
        assert await waiting is None


async def test_publishing_looks_up_nothing_without_watchers_and_once_for_each_length_of_a_watched_prefix() -> (
    None
):
    feed = feed_of(10)
    groups = feed.watches._by_prefix = LookUps()
    publish(feed, "user/5000/name")
    assert groups.count == 0
    watchers = [feed.watch(Topic(f"other/{number:05}/")) for number in range(10_000)]
    watchers.append(feed.watch(Topic("user/")))
    groups.count = 0
    publish(feed, "user/5000/name")
    publish(feed, "user")
    assert groups.count == 2, "a length of 5 and one of 12, and neither for the short key"
    for watcher in watchers:
        await watcher.aclose()
    assert len(feed.watches) == 0
    groups.count = 0
    publish(feed, "user/5000/name")
    assert groups.count == 0
