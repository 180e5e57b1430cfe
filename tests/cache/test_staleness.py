"""Staleness: a cache that hears nobody any more says so once, and once more when it hears again."""

from __future__ import annotations

import logging
import threading
import time
from queue import SimpleQueue

import pytest

from kvgossip.cache import staleness
from kvgossip.cache.status import Status
from tests.cache.sources import TIMEOUT_S, FakeSource, cache_of


def test_a_turn_is_told_once_in_the_log_to_callbacks_and_in_the_status(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    now_s = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now_s)
    monkeypatch.setattr(staleness, "GRACE_S", 0.0)
    told: SimpleQueue[Status] = SimpleQueue()
    source = FakeSource({"theme": "dark"}, exchanged_ms=int(1000 * now_s))
    config = cache_of(source, stale_after_s=60.0)
    config.on_stale(told.put)
    config.open()
    look = config._staleness.look
    look()
    assert caplog.messages == []
    now_s += 61
    source.tell(problem="no member answers")
    look()
    look()
    status = told.get(timeout=TIMEOUT_S)
    assert (status.stale, status.age_s, status.became_stale_total) == (True, 61.0, 1)
    source.tell(exchanged_ms=int(1000 * now_s), problem="")
    look()
    status = told.get(timeout=TIMEOUT_S)
    assert (status.stale, status.age_s, status.became_stale_total) == (False, 0.0, 1)
    assert caplog.messages == [
        "shop/: stale: the cluster has not been heard for 61 s, and what is here is served: "
        "no member answers",
        "shop/: fresh again: the cluster is heard",
    ]
    config.close()
    assert told.empty()


def test_a_cache_that_was_just_opened_has_a_moment_to_hear_of_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = cache_of(FakeSource(exchanged_ms=0))
    config.open()
    config._staleness.look()
    assert (config.status().stale, config.status().became_stale_total) == (True, 0)
    monkeypatch.setattr(staleness, "GRACE_S", 0.0)
    config._staleness.look()
    assert config.status().became_stale_total == 1
    config.close()


def test_one_thread_looks_at_all_caches_that_are_open_and_ends_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staleness, "GRACE_S", 0.0)
    monkeypatch.setattr(staleness, "LOOK_S", 0.001)
    monkeypatch.setattr(staleness, "_looking", staleness._Looking())
    before = set(threading.enumerate())
    told: SimpleQueue[Status] = SimpleQueue()
    caches = [cache_of(FakeSource(exchanged_ms=0)) for _ in range(2)]
    for config in caches:
        config.on_stale(told.put)
        config.open()
    (looking,) = (
        each for each in set(threading.enumerate()) - before if each.name == "kvgossip staleness"
    )
    assert [told.get(timeout=TIMEOUT_S).stale for _ in caches] == [True, True]
    for config in caches:
        config.close()
    looking.join(TIMEOUT_S)
    assert not looking.is_alive()
    assert told.empty()
