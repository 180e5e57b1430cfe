"""Callbacks: one call for each set, in order, where its owner wants it, and no harm to anybody
else."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from kvgossip.cache import opening
from kvgossip.cache.callbacks import is_coroutine_function
from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.news import BEHIND_MAX, Change, Waiting
from kvgossip.cache.status import Refusal
from kvgossip.errors import LocalError
from tests.cache.sources import TIMEOUT_S, FakeSource, cache_of
from tests.cache.test_config_cache import Limits


def opened(source: FakeSource, defaults: dict[str, Any] | None = None) -> ConfigCache:
    config = cache_of(source, defaults)
    config.open()
    return config


def test_a_set_of_changes_is_one_call() -> None:
    source = FakeSource({"theme": "dark", "limits/rate": "1"})
    config = opened(source, {"limits/burst": 5})
    told: SimpleQueue[Change] = SimpleQueue()
    for key in ("theme", "limits/", ""):
        config.on_change(key)(told.put)
    source.give({"theme": "light", "limits/rate": "2", "limits/burst": "6"})
    source.give({"theme": None, "other": "1"})
    assert [told.get(timeout=TIMEOUT_S) for _ in range(5)] == [
        Change("theme", "dark", "light"),
        Change(
            "limits/",
            {"limits/burst": 5, "limits/rate": 1},
            {"limits/burst": 6, "limits/rate": 2},
        ),
        Change(
            "",
            {"limits/burst": 5, "limits/rate": 1, "theme": "dark"},
            {"limits/burst": 6, "limits/rate": 2, "theme": "light"},
        ),
        Change("theme", "light", None),
        Change("", {"other": None, "theme": "light"}, {"other": 1, "theme": None}),
    ]
    config.close()
    assert told.empty()


def test_what_reads_as_before_is_no_change() -> None:
    source = FakeSource({"a": "1", "b": "true"})
    config = opened(source, {"a": 1})
    told: SimpleQueue[Change] = SimpleQueue()
    config.on_change("")(told.put)
    source.give(a=" 1 ")
    source.give(a=None)
    source.resync({"b": "true"})
    source.give(b="1")
    assert told.get(timeout=TIMEOUT_S) == Change("", {"b": True}, {"b": 1})
    config.close()
    assert told.empty()


def test_the_first_data_is_a_change_for_those_who_have_read_defaults_and_else_is_none() -> None:
    late = FakeSource({"theme": "dark"}, settled=False)
    config = cache_of(late, {"theme": "light"})
    told: SimpleQueue[Change] = SimpleQueue()
    config.on_change("theme")(told.put)
    assert config["theme"] == "light"
    late.resync({"theme": "dark"})
    assert told.get(timeout=TIMEOUT_S) == Change("theme", "light", "dark")
    config.close()
    at_once = cache_of(FakeSource({"theme": "dark"}), {"theme": "light"})
    at_once.on_change("theme")(told.put)
    assert at_once["theme"] == "dark"
    at_once.close()
    assert told.empty()


def test_what_readers_had_while_it_was_not_open_is_what_changes_when_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "RETRY_S", 0.0)
    source = FakeSource({"theme": "dark"})
    source.fails = OSError("not yet")
    config = cache_of(source, {"theme": "light"})
    told: SimpleQueue[Change] = SimpleQueue()
    config.on_change("theme")(told.put)
    assert config["theme"] == "light"
    source.fails = None
    assert config["theme"] == "dark"
    assert told.get(timeout=TIMEOUT_S) == Change("theme", "light", "dark")
    config.close()
    assert config["theme"] == "dark"
    source.values["theme"] = "red"
    config.open()
    assert told.get(timeout=TIMEOUT_S) == Change("theme", "dark", "red")
    config.close()
    assert told.empty()


def test_an_override_is_a_change() -> None:
    config = opened(FakeSource({"theme": "dark"}))
    told: SimpleQueue[Change] = SimpleQueue()
    config.on_change("theme")(told.put)
    with config.override(theme="blue"):
        assert told.get(timeout=TIMEOUT_S) == Change("theme", "dark", "blue")
    assert told.get(timeout=TIMEOUT_S) == Change("theme", "blue", "dark")
    config.close()


def test_a_callback_that_raises_is_one_line_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = FakeSource()
    config = opened(source)
    told: SimpleQueue[Change] = SimpleQueue()

    @config.on_change("n")
    def breaks(change: Change) -> None:
        if change.new == 2:
            raise SystemExit(1)
        raise ValueError("of\nno use")

    config.on_change("n")(told.put)
    for number in (1, 2, 3):
        source.give(n=str(number))
    assert [told.get(timeout=TIMEOUT_S).new for _ in range(3)] == [1, 2, 3]
    config.close()
    assert len(caplog.messages) == 3
    assert all("breaks failed" in line and "\n" not in line for line in caplog.messages)
    assert all(each.exc_info is None for each in caplog.records)


def test_a_callback_may_read_write_and_close() -> None:
    source = FakeSource({"n": "0"})
    config = opened(source)
    done = threading.Event()

    @config.on_change("n")
    def counts_on(change: Change) -> None:
        assert config["n"] == change.new
        if change.new < 3:
            config.put("n", change.new + 1)
        else:
            config.close()
            done.set()

    source.give(n="1")
    assert done.wait(TIMEOUT_S)
    assert config["n"] == 3


def test_callbacks_have_one_thread_which_is_neither_the_writers_nor_there_before() -> None:
    source = FakeSource()
    config = opened(source)
    seen: SimpleQueue[threading.Thread] = SimpleQueue()
    config.on_change("a")(lambda change: seen.put(threading.current_thread()))
    assert not [each for each in threading.enumerate() if "callbacks" in each.name]
    source.give(a="1")
    source.give(a="2")
    first, second = (seen.get(timeout=TIMEOUT_S) for _ in range(2))
    assert first is second
    assert first.name == "kvgossip shop/ callbacks"
    assert first.daemon
    config.close()
    first.join(TIMEOUT_S)
    assert not first.is_alive()


async def test_a_coroutine_function_runs_on_the_loop_that_registered_it_one_call_at_a_time() -> (
    None
):
    source = FakeSource()
    config = opened(source)
    told: list[object] = []
    done = asyncio.Event()
    busy = False

    @config.on_change("n")
    async def slow(change: Change) -> None:
        nonlocal busy
        assert not busy
        busy = True
        told.append((change.new, threading.get_ident()))
        await asyncio.sleep(0)
        busy = False
        if change.new == 5:
            done.set()
        raise ValueError

    def gives() -> None:
        for number in range(1, 6):
            source.give(n=str(number))

    await asyncio.to_thread(gives)
    await asyncio.wait_for(done.wait(), TIMEOUT_S)
    assert told == [(number, threading.get_ident()) for number in range(1, 6)]
    config.close()


def test_a_loop_that_is_closed_is_forgotten() -> None:
    source = FakeSource()
    config = opened(source)

    async def register() -> None:
        @config.on_change("n")
        async def never(change: Change) -> None:
            raise AssertionError

        config.changes("n")

    asyncio.run(register())
    source.give(n="1")
    assert config._callbacks._hearing == []
    config.close()


def test_a_coroutine_function_without_a_loop_is_refused() -> None:
    config = cache_of(FakeSource())

    async def nobody(change: Change) -> None: ...

    with pytest.raises(LocalError, match="running event loop"):
        config.on_change("n")(nobody)
    with pytest.raises(LocalError, match="running event loop"):
        config.changes("n")


# -- forgetting -----------------------------------------------------------------------------------


async def test_a_callback_that_is_forgotten_hears_nothing_any_more_not_even_what_was_due() -> None:
    source = FakeSource()
    config = opened(source)
    begun, goes_on = threading.Event(), threading.Event()
    told: list[object] = []

    @config.on_change("n")
    def first(change: Change) -> None:
        begun.set()
        assert goes_on.wait(TIMEOUT_S)
        told.append(change.new)

    @config.on_refused
    @config.on_stale
    @config.on_change("other")
    @config.on_change("n")
    def forgotten(news: object) -> None:
        told.append(news)

    @config.on_change("n")
    async def on_loop(change: Change) -> None:
        told.append(change)

    source.give(n="1")
    config.forget(on_loop)
    assert await asyncio.to_thread(begun.wait, TIMEOUT_S)
    config.forget(forgotten)
    source.give(n="2", other="2")
    goes_on.set()
    config.forget(first)
    await asyncio.to_thread(config.close)
    assert told == [1], "a call that has begun goes on"
    assert config._callbacks._hearing == []
    for unknown in (forgotten, print):
        with pytest.raises(LocalError, match="is no callback of shop/"):
            config.forget(unknown)


# -- iterators -------------------------------------------------------------------------------------


async def test_changes_are_iterated_from_the_call_on_and_until_the_end() -> None:
    source = FakeSource({"limits/rate": "1"})
    config = cache_of(source)
    changes = config.changes("limits/")
    assert source.opened == 0
    task = asyncio.create_task(anext(changes))
    while not source.opened:  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(0)
    config.open()
    source.give({"limits/rate": "2", "theme": "dark"})
    assert await task == Change("limits/", {"limits/rate": 1}, {"limits/rate": 2})
    source.give({"theme": "light"})
    source.give({"limits/rate": "3"})
    async with changes:
        assert (await anext(changes)).new == {"limits/rate": 3}
    assert [each async for each in changes] == []
    last = config.changes()
    source.give(theme="red")
    await asyncio.to_thread(config.close)
    assert [each.new async for each in last] == [{"theme": "red"}]
    assert source.opened == 1


async def test_an_iterator_that_is_dropped_hears_nothing_any_more() -> None:
    source = FakeSource()
    config = opened(source)
    changes = config.changes()
    source.give(n="1")
    async for _ in changes:
        break
    del changes
    gc.collect()
    assert config._callbacks._hearing == []
    config.close()


# -- refusals --------------------------------------------------------------------------------------


def test_who_registered_hears_of_each_refusal_once() -> None:
    source = FakeSource({"limits/rate": "1"})
    config = cache_of(source)
    config.bind(Limits, "limits/")
    told: SimpleQueue[Refusal] = SimpleQueue()
    config.on_refused(told.put)
    config.open()
    source.give({"limits/rate": "many"})
    source.give(theme="dark")
    source.give({"limits/rate": "more"})
    first, second = (told.get(timeout=TIMEOUT_S) for _ in range(2))
    assert first.key == second.key == "limits/rate"
    assert first.version < second.version
    config.close()
    assert told.empty()


# -- who is behind ---------------------------------------------------------------------------------


def test_who_is_far_behind_gets_the_last_state_and_no_more_than_a_bound_waits() -> None:
    woken: list[None] = []
    one, all_of_them = Waiting(lambda: woken.append(None)), Waiting(lambda: None)
    count = BEHIND_MAX + 500
    for number in range(count):
        name = f"k{number % 700}"
        one.put(Change("n", number - 1, number))
        all_of_them.put(Change("", {name: number - 700}, {name: number}, f"r{number}"))
    assert len(woken) == BEHIND_MAX
    told = [change for _ in range(BEHIND_MAX) if isinstance(change := one.take(), Change)]
    assert one.take() is None
    assert [change.old for change in told[1:]] == [change.new for change in told[:-1]]
    assert told[-1] == Change("n", BEHIND_MAX - 2, count - 1)
    state: dict[str, int] = {}
    every = [change for _ in range(BEHIND_MAX) if isinstance(change := all_of_them.take(), Change)]
    for change in every:
        assert {name: state.get(name, old) for name, old in change.old.items()} == change.old
        state.update(change.new)
    assert every[-1].release == f"r{count - 1}"
    assert state == {f"k{number % 700}": number for number in range(count)}


def test_a_slow_callback_holds_neither_reads_nor_the_source(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = FakeSource({"n": "0"})
    config = opened(source)
    goes_on = threading.Event()
    told: SimpleQueue[int] = SimpleQueue()

    @config.on_change("n")
    def slow(change: Change) -> None:
        assert goes_on.wait(TIMEOUT_S)
        told.put(change.new)

    for number in range(1, 100):
        source.give(n=str(number))
        assert config["n"] == number
    goes_on.set()
    assert [told.get(timeout=TIMEOUT_S) for _ in range(99)] == list(range(1, 100))
    config.close()
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_coroutine_functions_are_told_from_others_as_inspect_tells_them() -> None:
    async def coroutine(news: object) -> None: ...

    def plain(news: object) -> None: ...

    class Methods:
        async def coroutine(self, news: object) -> None: ...

        def plain(self, news: object) -> None: ...

    methods = Methods()
    functions: tuple[Any, ...] = (
        coroutine,
        plain,
        functools.partial(coroutine),
        functools.partial(plain),
        functools.wraps(coroutine)(lambda news: None),
        methods.coroutine,
        methods.plain,
        print,
    )
    for function in functions:
        assert is_coroutine_function(function) == inspect.iscoroutinefunction(function)
