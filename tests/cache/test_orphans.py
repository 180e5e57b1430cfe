"""A forked child has the values of its parent, and nothing else of it: its next use begins anew,
whatever the threads of the parent were at."""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue

from kvgossip.cache.news import Change
from tests.cache.sources import TIMEOUT_S, FakeSource, cache_of


def test_an_orphan_reads_on_and_opens_another_source_at_its_next_use() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source)
    told: SimpleQueue[Change] = SimpleQueue()
    config.on_change("theme")(told.put)
    assert config["theme"] == "dark"

    # locks that nobody gives back, as a thread has them that was not copied
    def hold() -> None:
        for lock in (config._opening._lock, config._applying._lock, config._callbacks._lock):
            lock.acquire()

    holds = threading.Thread(target=hold)
    holds.start()
    holds.join()
    config._opening.orphaned = True
    assert source.opened == 1, "a fork opens nothing"
    assert source.closed == 0, "and closes nothing: it is its parent's"
    source.values["theme"] = "light"
    assert config["theme"] == "light"
    assert source.opened == 2
    source.give(theme="red")
    assert told.get(timeout=TIMEOUT_S) == Change("theme", "dark", "light")
    assert told.get(timeout=TIMEOUT_S) == Change("theme", "light", "red")
    config.close()


def test_an_orphan_that_finds_nobody_keeps_its_values() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source, {"theme": "default"})
    assert config["theme"] == "dark"
    config._opening.orphaned = True
    source.fails = OSError("nobody is there")
    assert config["theme"] == "dark"
    assert config.status().problem == "nobody is there"


def test_an_orphan_that_is_not_used_opens_nothing_and_closes_nothing() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source)
    config.open()
    config._opening.orphaned = True
    config.close()
    assert (source.opened, source.closed) == (1, 0)
    closed = cache_of(FakeSource({"theme": "dark"}))
    closed.open()
    closed.close()
    closed._opening.orphaned = True
    assert closed["theme"] == "dark"
    assert closed.status().problem == "the cache is closed"


async def test_coroutine_functions_and_iterators_are_their_parents() -> None:
    source = FakeSource({"n": "0"})
    config = cache_of(source)
    changes = config.changes("n")
    heard: list[Change] = []

    @config.on_change("n")
    async def hears(change: Change) -> None:
        heard.append(change)

    config.open()
    config._opening.orphaned = True
    config.open()
    source.give(n="1")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard == []
    assert changes.waiting.take() is None
    config.close()
