"""The face of a cache: lazy, never in the way of a reader, and honest about what it has."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from kvgossip.cache import opening
from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.source import Applied
from kvgossip.errors import (
    BadKeyError,
    ConfigError,
    DataDirError,
    LocalError,
    NotSettledError,
    Refused,
)
from tests.cache.sources import TIMEOUT_S, FakeSource, cache_of

NOW_MS = 1_800_000_000_000


@dataclass(frozen=True)
class Limits:
    rate: int = 10
    hosts: tuple[str, ...] = ()


# -- opening ---------------------------------------------------------------------------------------


def test_nothing_is_opened_before_the_first_read() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source, {"theme": "light"})
    limits = config.bind(Limits, "limits/")
    limits.check(lambda new: None)
    config.on_change("theme")(print)
    config.on_refused(print)
    with config.override(theme="blue"):
        assert config["theme"] == "blue"
    repr(config)
    config.close()
    assert source.opened == 0
    assert config["theme"] == "dark"
    assert source.opened == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda config: config.get("theme"),
        lambda config: "theme" in config,
        len,
        list,
        lambda config: config.snapshot(),
        lambda config: config.status(),
        lambda config: config.bind(Limits, "limits/").value,
        lambda config: config.put("a", 1),
        lambda config: config.delete("a"),
        lambda config: config.wait_settled(TIMEOUT_S),
        lambda config: asyncio.run(config.settled(TIMEOUT_S)),
        lambda config: asyncio.run(config.aput("a", 1)),
    ],
)
def test_every_use_opens_it_once(use: object) -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source)
    assert callable(use)
    use(config)
    use(config)
    assert source.opened == 1
    config.close()


def test_all_threads_wait_for_one_opening_and_read_what_it_has() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source, {"theme": "light"})
    begun = threading.Barrier(8)

    def read() -> object:
        begun.wait()
        return config["theme"]

    with ThreadPoolExecutor(8) as pool:
        seen = [each.result() for each in [pool.submit(read) for _ in range(8)]]
    assert seen == ["dark"] * 8
    assert source.opened == 1
    config.close()


def test_a_cache_that_cannot_be_opened_serves_defaults_and_says_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FakeSource({"theme": "dark"})
    source.fails = DataDirError("the directory is another node's", "choose another one")
    config = cache_of(source, {"theme": "light"})
    assert config["theme"] == "light"
    assert config.get("timeout_s", 2.5) == 2.5
    with pytest.raises(KeyError):
        config["timeout_s"]
    assert len(config) == 1
    status = config.status()
    assert status.problem == "the directory is another node's; choose another one"
    assert (status.settled, status.stale, status.age_s) == (False, True, None)
    assert status.source == "defaults"
    assert source.opened == 1, "it is not tried at every read"
    (line,) = caplog.messages
    assert "the directory is another node's" in line
    ways: list[Callable[[], object]] = [config.open, lambda: config.put("a", 1), config.__enter__]
    for way in ways:
        with pytest.raises(DataDirError):
            way()
    monkeypatch.setattr(opening, "RETRY_S", 0.0)
    config._opening._retry_s = 0.0
    assert config["theme"] == "light"
    assert len(caplog.messages) == 1, "one problem is one line"
    source.fails = None
    assert config["theme"] == "dark"
    assert config.status().problem == ""
    config.close()


def test_a_closed_cache_keeps_what_it_had_until_it_is_opened_again() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source)
    with config:
        assert config["theme"] == "dark"
    assert source.closed == 1
    config.close()
    assert source.closed == 1
    assert config["theme"] == "dark"
    assert config.snapshot()["theme"] == "dark"
    assert config.status().problem == "the cache is closed"
    assert source.opened == 1
    with pytest.raises(LocalError, match="closed"):
        config.put("a", 1)
    with pytest.raises(LocalError, match="closed"):
        asyncio.run(config.aput("a", 1))
    source.values["theme"] = "light"
    config.open()
    assert config["theme"] == "light"
    config.close()


async def test_an_async_context_opens_settles_and_closes() -> None:
    source = FakeSource({"theme": "dark"})
    async with cache_of(source) as config:
        assert config.status().settled
        assert config["theme"] == "dark"
    assert source.closed == 1


def test_a_context_whose_cache_does_not_settle_goes_on_after_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kvgossip.cache.life.SETTLING_S", 0.01)
    source = FakeSource({"theme": "dark"}, settled=False)
    with cache_of(source, {"theme": "light"}) as config:
        assert config["theme"] == "light"


@pytest.mark.parametrize("prefix", ["shop", "/", "/shop/", "shop/../"])
def test_a_prefix_that_is_none_is_told_at_once(prefix: str) -> None:
    with pytest.raises((ConfigError, BadKeyError)):
        ConfigCache(prefix)


def test_a_wrong_parameter_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="probe_interval_s"):
        ConfigCache("shop/", probe_intervall_s=1)
    with pytest.raises(ConfigError, match="join"):
        ConfigCache("shop/", join=["10.0.0.5:99999"])


# -- reading ---------------------------------------------------------------------------------------


def test_keys_have_no_prefix_and_defaults_fill_what_is_not_there() -> None:
    source = FakeSource({"theme": "dark", "limits/rate": "20"})
    config = cache_of(source, {"theme": "light", "timeout_s": 2.5})
    assert config["theme"] == "dark"
    assert config["limits/rate"] == 20
    assert config["timeout_s"] == 2.5
    assert config.get("timeout_s", 9.0) == 2.5
    assert config.get("none") is None
    assert "theme" in config
    assert "shop/theme" not in config
    assert list(config) == ["limits/rate", "theme", "timeout_s"]
    source.give(theme=None)
    assert config["theme"] == "light"
    source.give({"limits/rate": None})
    with pytest.raises(KeyError, match="limits/rate"):
        config["limits/rate"]
    config.close()


def test_a_snapshot_stays_as_it_is() -> None:
    source = FakeSource({"theme": "dark", "gone": "1"})
    config = cache_of(source)
    seen = config.snapshot()
    source.give(theme="light", gone=None, new="2")
    assert dict(seen) == {"theme": "dark", "gone": 1}
    assert dict(config.snapshot()) == {"theme": "light", "new": 2}
    with pytest.raises(TypeError):
        seen["theme"] = "x"  # type: ignore[index]
    assert seen.release == ""
    config.close()


def test_a_value_is_decoded_once() -> None:
    source = FakeSource({"big": '{"a": [1]}', "other": "1"})
    config = cache_of(source)
    first = config["big"]
    source.give(other="2")
    assert config["big"] is first
    source.resync({"big": '{"a": [1]}', "other": "2"})
    config.close()


def test_overrides_lie_over_each_other_and_go_one_by_one() -> None:
    source = FakeSource({"theme": "dark"})
    config = cache_of(source, {"a": 1})
    outer = config.override({"limits/rate": 5}, theme="blue")
    inner = config.override(theme="red")
    config.open()
    with outer:
        with inner:
            assert config["theme"] == "red"
            source.give(theme="light")
            assert config["theme"] == "red"
        assert config["theme"] == "blue"
        assert config["limits/rate"] == 5
    assert config["theme"] == "light"
    assert "limits/rate" not in config
    config.close()


# -- status ----------------------------------------------------------------------------------------


def test_data_is_stale_once_nobody_was_heard_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW_MS / 1000)
    source = FakeSource({"theme": "dark"}, exchanged_ms=NOW_MS - 59_000)
    config = cache_of(source)
    status = config.status()
    assert (status.stale, status.age_s, status.source) == (False, 59.0, "peers")
    assert (status.role, status.node, status.release) == ("member", "n1", "")
    source.tell(exchanged_ms=NOW_MS - 61_000, problem="nobody answers")
    status = config.status()
    assert (status.stale, status.age_s, status.problem) == (True, 61.0, "nobody answers")
    assert config["theme"] == "dark", "stale data is served"
    source.tell(exchanged_ms=NOW_MS + 5_000)
    assert config.status().age_s == 0.0, "a clock that was set back makes nothing younger"
    source.tell(exchanged_ms=None)
    assert (config.status().stale, config.status().age_s) == (True, None)
    config.close()


def test_status_tells_where_the_data_is_from() -> None:
    source = FakeSource({"theme": "dark"}, settled=False, from_disk=True, exchanged_ms=NOW_MS)
    config = cache_of(source)
    assert (config.status().source, config.status().settled) == ("disk", False)
    source.tell(settled=True, from_disk=False)
    assert (config.status().source, config.status().settled) == ("peers", True)
    config.close()
    assert ConfigCache.static({"theme": "dark"}).status().source == "defaults"


def test_a_process_tells_its_source_what_it_applied_and_only_when_that_changes() -> None:
    source = FakeSource({"limits/rate": "20"})
    config = cache_of(source)
    config.bind(Limits, "limits/")
    config.open()
    source.give(theme="dark")
    assert source.applied == [Applied("shop/", "")]
    source.give({"limits/rate": '"many"'})
    source.give(theme="light")
    (_, told) = source.applied
    ((key, reason),) = told.refused
    assert key == "limits/rate"
    assert "Expected `int`" in reason
    source.give({"limits/rate": "30"})
    assert source.applied[2:] == [Applied("shop/", "")]
    config.close()


# -- settling --------------------------------------------------------------------------------------


async def test_settled_waits_until_the_source_says_so() -> None:
    source = FakeSource(settled=False)
    config = cache_of(source)
    with pytest.raises(NotSettledError, match=r"shop/.* 0\.01 s"):
        await config.settled(0.01)
    source.tell(problem="it starts")
    with pytest.raises(NotSettledError, match="starts"):
        await asyncio.to_thread(config.wait_settled, 0.01)
    waiting = [
        asyncio.create_task(config.settled(TIMEOUT_S)),
        asyncio.create_task(asyncio.to_thread(config.wait_settled, TIMEOUT_S)),
    ]
    await asyncio.sleep(0)
    source.tell(settled=True)
    await asyncio.gather(*waiting)
    await config.settled(0)
    config.close()


async def test_who_waits_for_a_cache_that_is_closed_is_told() -> None:
    config = cache_of(FakeSource(settled=False))
    config.open()
    waiting = asyncio.create_task(config.settled(TIMEOUT_S))
    while not config._applying._waiters:  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(0)
    config.close()
    with pytest.raises(LocalError, match="closed before"):
        await waiting


async def test_settled_can_insist_that_all_is_applied() -> None:
    source = FakeSource({"limits/rate": "many"})
    config = cache_of(source)
    config.bind(Limits, "limits/")
    await config.settled(TIMEOUT_S)
    with pytest.raises(Refused, match=r"limits/rate: Expected `int`"):
        await config.settled(TIMEOUT_S, strict=True)
    source.give({"limits/rate": "1"})
    config.wait_settled(TIMEOUT_S, strict=True)
    config.close()


# -- writing ---------------------------------------------------------------------------------------


async def test_what_is_put_is_read_at_once_by_who_put_it() -> None:
    source = FakeSource()
    config = cache_of(source)
    assert config.put("theme", "dark")
    assert config["theme"] == "dark"
    assert await config.aput("limits/hosts", ["a.shop"], ttl_s=60)
    assert config["limits/hosts"] == ["a.shop"]
    assert config.put("nothing", None)
    assert config["nothing"] is None
    config.put("blob", b"\xff", content_type="image/png")
    assert [(each.key, each.content_type, each.ttl_s) for each in source.written] == [
        ("shop/theme", "text/plain; charset=utf-8", None),
        ("shop/limits/hosts", "application/json", 60),
        ("shop/nothing", "application/json", None),
        ("shop/blob", "image/png", None),
    ]
    assert config.delete("theme")
    await config.adelete("blob")
    assert list(config) == ["limits/hosts", "nothing"]
    config.close()


def test_what_a_model_does_not_take_is_not_written() -> None:
    source = FakeSource({"limits/rate": "20"})
    config = cache_of(source)
    limits = config.bind(Limits, "limits/")

    @limits.check
    def hosts_are_ours(new: Limits) -> None:
        if not all(host.endswith(".shop") for host in new.hosts):
            raise Refused("hosts must end with .shop")

    with pytest.raises(Refused, match="limits/rate: Expected `int`, got `str`"):
        config.put("limits/rate", "many")
    with pytest.raises(Refused, match=r"limits/: hosts must end with \.shop"):
        config.put("limits/hosts", ["a.shop", "b.example"])
    with pytest.raises(Refused, match="it is no JSON"):
        config.put("free", "{", content_type="application/json")
    assert source.written == []
    assert limits.value == Limits(20)
    config.put("limits/hosts", ["a.shop"])
    assert limits.value == Limits(20, ("a.shop",))
    config.close()


@pytest.mark.parametrize("name", ["", "@active", "@release/1", "../x", "a" * 2000])
def test_a_name_that_is_no_key_of_users_is_refused(name: str) -> None:
    source = FakeSource()
    config = ConfigCache._over(lambda: source, "")
    with pytest.raises(LocalError):
        config.put(name, 1)
    assert source.written == []
    config.close()


def test_a_check_may_read_and_neither_write_nor_open_nor_close() -> None:
    source = FakeSource({"limits/rate": "20", "theme": "dark"})
    config = cache_of(source)
    limits = config.bind(Limits, "limits/")
    said: list[object] = []

    @limits.check
    def look(new: Limits) -> None:
        said.append(config.get("theme"))
        for forbidden in (lambda: config.put("a", 1), config.close):
            with pytest.raises(LocalError, match="a model or a check"):
                forbidden()

    config.open()
    source.give({"limits/rate": "30"})
    assert limits.value == Limits(30)
    assert said[-1] == "dark"
    assert source.written == []
    config.close()


# -- without a cluster -----------------------------------------------------------------------------


def test_a_static_cache_needs_nothing_and_takes_writes() -> None:
    config = ConfigCache.static({"theme": "dark", "limits/hosts": ("a.shop",)})
    limits = config.bind(Limits, "limits/")
    assert config["theme"] == "dark"
    assert limits.value == Limits(10, ("a.shop",))
    config.put("limits/rate", 30)
    assert limits.value.rate == 30
    config.delete("limits/rate")
    assert limits.value.rate == 10
    assert config.status().settled
    assert not config.status().stale
    with pytest.raises(Refused):
        config.put("limits/rate", "many")
    config.close()


def test_the_log_of_a_quiet_life_is_empty(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), cache_of(FakeSource({"a": "1"})) as config:
        config["a"]
    assert caplog.messages == []
