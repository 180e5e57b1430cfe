"""The provider, under OpenFeature's own client: flags are keys, and events tell what became of
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from openfeature import api
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.provider import ProviderStatus

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.contrib import openfeature
from kvgossip.contrib.openfeature import KVGossipProvider
from kvgossip.errors import ConfigError
from tests.cache.sources import TIMEOUT_S, FakeSource, cache_of

FLAGS = {
    "flags/dark": "true",
    "flags/color": "blue",
    "flags/rate": "20",
    "flags/share": "0.5",
    "flags/limits": '{"rate": 20}',
    "flags/hosts": '["a", "b"]',
    "other": "1",
}


@pytest.fixture(autouse=True)
def _no_provider_stays() -> Iterator[None]:
    yield
    api.clear_providers()
    api.clear_hooks()


@pytest.fixture
def source() -> Iterator[FakeSource]:
    source = FakeSource(FLAGS)
    cache = cache_of(source)
    api.set_provider_and_wait(KVGossipProvider(cache, "flags/"))
    yield source
    cache.close()


@pytest.mark.parametrize(
    ("kind", "flag", "default", "value"),
    [
        ("boolean", "dark", False, True),
        ("string", "color", "red", "blue"),
        ("integer", "rate", 1, 20),
        ("float", "share", 1.0, 0.5),
        ("float", "rate", 1.0, 20.0),
        ("object", "limits", {}, {"rate": 20}),
        ("object", "hosts", [], ["a", "b"]),
    ],
)
def test_a_flag_is_the_value_of_its_key(
    source: FakeSource, kind: str, flag: str, default: Any, value: Any
) -> None:
    found = _details(kind, flag, default)
    assert (found.value, type(found.value)) == (value, type(value))
    assert (found.reason, found.error_code) == (Reason.STATIC, None)


@pytest.mark.parametrize(
    ("kind", "flag", "default"),
    [
        ("boolean", "rate", False),
        ("boolean", "color", False),
        ("string", "rate", "red"),
        ("integer", "dark", 1),
        ("integer", "share", 1),
        ("float", "dark", 1.0),
        ("float", "color", 1.0),
        ("object", "color", {}),
    ],
)
def test_a_flag_of_another_type_is_the_default_with_type_mismatch(
    source: FakeSource, kind: str, flag: str, default: Any
) -> None:
    found = _details(kind, flag, default)
    assert (found.value, type(found.value)) == (default, type(default))
    assert (found.reason, found.error_code) == (Reason.ERROR, ErrorCode.TYPE_MISMATCH)
    assert repr(flag) in str(found.error_message)


@pytest.mark.parametrize(
    ("kind", "default"),
    [("boolean", True), ("string", "red"), ("integer", 1), ("float", 1.5), ("object", {"a": 1})],
)
@pytest.mark.parametrize("flag", ["none", "other"])
def test_a_flag_that_is_not_there_is_the_default_with_flag_not_found(
    source: FakeSource, kind: str, default: Any, flag: str
) -> None:
    found = _details(kind, flag, default)
    assert (found.value, found.reason) == (default, Reason.ERROR)
    assert found.error_code == ErrorCode.FLAG_NOT_FOUND


async def test_coroutines_have_the_same(source: FakeSource) -> None:
    client = api.get_client()
    assert await client.get_boolean_value_async("dark", False) is True
    assert await client.get_string_value_async("none", "red") == "red"


def test_what_comes_from_the_disk_alone_is_cached() -> None:
    with cache_of(FakeSource(FLAGS, settled=False, from_disk=True)) as cache:
        api.set_provider_and_wait(KVGossipProvider(cache, "flags/"))
        found = _details("boolean", "dark", False)
        assert (found.value, found.reason) == (True, Reason.CACHED)


def test_changes_under_the_prefix_are_events_that_name_the_flags(source: FakeSource) -> None:
    heard = _heard(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    source.give({"other": "2"})
    source.give({"flags/dark": "false", "flags/rate": "30"})
    source.give({"flags/color": None})
    assert heard().flags_changed == ["dark", "rate"]
    assert heard().flags_changed == ["color"]
    assert _details("integer", "rate", 1).value == 30


def test_stale_and_fresh_again_are_events(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openfeature, "LOOK_S", 0.01)
    provider = KVGossipProvider(cache_of(source), "flags/")
    api.set_provider_and_wait(provider)
    stale, ready = _heard(ProviderEvent.PROVIDER_STALE), _heard(ProviderEvent.PROVIDER_READY)
    ready()  # of the registration itself
    fresh_ms = source.state.exchanged_ms
    source.tell(exchanged_ms=0, problem="nobody answers")
    assert stale().message == "nobody answers"
    assert api.get_client().get_provider_status() is ProviderStatus.STALE
    found = _details("boolean", "dark", False)
    assert (found.value, found.reason) == (True, Reason.CACHED)
    source.tell(exchanged_ms=fresh_ms, problem="")
    ready()
    assert api.get_client().get_provider_status() is ProviderStatus.READY
    assert _details("boolean", "dark", False).reason is Reason.STATIC


def test_a_cache_that_cannot_be_opened_is_a_provider_in_error() -> None:
    source = FakeSource(FLAGS)
    source.fails = ConfigError("no such address", "name another")
    with pytest.raises(ConfigError):
        api.set_provider_and_wait(KVGossipProvider(cache_of(source), "flags/"))
    assert api.get_client().get_provider_status() is ProviderStatus.ERROR
    assert api.get_client().get_boolean_value("dark", True) is True


def test_a_provider_that_is_shut_down_leaves_the_cache_open_and_nothing_registered() -> None:
    source = FakeSource(FLAGS)
    cache = cache_of(source)
    heard: list[EventDetails] = []
    for _ in range(2):
        api.set_provider_and_wait(KVGossipProvider(cache, "flags/"))
        api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, heard.append)
        assert len(cache._callbacks._hearing) == 1
        api.clear_providers()
        assert cache._callbacks._hearing == []
    source.give({"flags/dark": "false"})
    assert (source.closed, heard) == (0, [])
    cache.close()


def test_a_prefix_that_does_not_end_with_a_slash_is_told() -> None:
    with pytest.raises(ConfigError, match="does not end"):
        KVGossipProvider(ConfigCache.static({}), "flags")


def _details(kind: str, flag: str, default: Any) -> FlagEvaluationDetails[Any]:
    ask: Callable[..., FlagEvaluationDetails[Any]]
    ask = getattr(api.get_client(), f"get_{kind}_details")
    return ask(flag, default)


def _heard(event: ProviderEvent) -> Callable[[], EventDetails]:
    heard: SimpleQueue[EventDetails] = SimpleQueue()
    api.add_handler(event, heard.put)
    return lambda: heard.get(timeout=TIMEOUT_S)
