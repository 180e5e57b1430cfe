"""The backend, under django-constance: a read writes nothing, and all types come back."""

from __future__ import annotations

import datetime
import io
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from kvgossip.cache.config_cache import ConfigCache
from tests.cache.sources import FakeSource, cache_of
from tests.contrib.project import CONSTANCE, set_up

set_up()

from constance import config, signals  # noqa: E402
from constance.utils import aget_values, get_values  # noqa: E402

from kvgossip.contrib.constance import KVGossipBackend  # noqa: E402

DEFAULTS = {name: options[0] for name, options in CONSTANCE.items()}
current: list[ConfigCache] = []


def __getattr__(name: str) -> Any:
    if name == "cache" and current:
        return current[0]
    raise AttributeError(name)


@pytest.fixture(autouse=True)
def source() -> Iterator[FakeSource]:
    """The cluster that Constance has in this test."""
    source = FakeSource()
    cache = cache_of(source)
    current[:] = [cache]
    with override_settings(KVGOSSIP_CACHE=f"{__name__}.cache"):
        yield source
    cache.close()


def test_it_is_the_backend_that_the_settings_name() -> None:
    assert type(config._backend) is KVGossipBackend


def test_what_is_not_there_reads_as_its_default_and_nothing_is_written(source: FakeSource) -> None:
    assert {name: getattr(config, name) for name in CONSTANCE} == DEFAULTS
    assert get_values() == DEFAULTS
    assert source.written == []


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("GREETING", "hi", b"hi"),
        ("GREETING", "10", b'"10"'),
        ("LIMIT", 20, b"20"),
        ("PRICE", Decimal("2.50"), b'{"__type__":"decimal","__value__":"2.50"}'),
        ("SINCE", datetime.date(2026, 2, 3), b'{"__type__":"date","__value__":"2026-02-03"}'),
        ("GREETING", ["a", {"b": Decimal(1)}], None),
        ("GREETING", {"a": [1, 2.5, True, None]}, None),
    ],
)
def test_a_value_comes_back_and_is_plain_where_it_can_be(
    source: FakeSource, name: str, value: Any, written: bytes | None
) -> None:
    setattr(config, name, value)
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)
    assert get_values() == {**DEFAULTS, name: value}
    assert [each.key for each in source.written] == [f"shop/constance/{name}"]
    assert written in (None, source.written[0].value)


def test_a_setting_that_is_set_to_none_is_its_default_again(source: FakeSource) -> None:
    config.LIMIT = 20
    config.LIMIT = None
    assert config.LIMIT == 10
    assert [each.value for each in source.written] == [b"20", None]


async def test_coroutines_have_the_same(source: FakeSource) -> None:
    await config.aset("PRICE", Decimal("2.50"))
    assert await config.PRICE == Decimal("2.50")
    assert await config.LIMIT == 10
    assert await aget_values() == {**DEFAULTS, "PRICE": Decimal("2.50")}
    await config.aset("PRICE", None)
    assert await config.PRICE == Decimal("1.50")


def test_receivers_of_constance_hear_of_what_is_set_here() -> None:
    heard: list[tuple[str, Any, Any]] = []

    def hear(sender: Any, key: str, old_value: Any, new_value: Any, **_: Any) -> None:
        heard.append((key, old_value, new_value))

    signals.config_updated.connect(hear)
    config.LIMIT = 20
    config.LIMIT = 30
    signals.config_updated.disconnect(hear)
    assert heard == [("LIMIT", 10, 20), ("LIMIT", 20, 30)]


def test_what_anybody_else_writes_is_read_at_once(source: FakeSource) -> None:
    assert config.LIMIT == 10
    source.give({"constance/LIMIT": "40", "constance/GREETING": "good morning"})
    assert (config.LIMIT, config.GREETING) == (40, "good morning")


@pytest.mark.parametrize(
    "text",
    [
        '{"__type__": "nothing", "__value__": 1}',
        '{"__type__": "date", "__value__": "tomorrow"}',
        '{"__type__": "date", "__value__": 1}',
        '{"__type__": "decimal", "__value__": "x"}',
        '{"__type__": "decimal"}',
        '[{"__type__": "uuid", "__value__": []}]',
    ],
)
def test_what_constance_cannot_read_is_its_default_and_told_once(
    source: FakeSource, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert config.GREETING == "hello"
    source.give({"constance/SINCE": text})
    with caplog.at_level(logging.WARNING, "kvgossip"):
        assert [config.SINCE for _ in range(3)] == [DEFAULTS["SINCE"]] * 3
        assert get_values() == DEFAULTS
    assert [
        record.getMessage().partition(":")[0]
        for record in caplog.records
        if record.name == "kvgossip"
    ] == ["constance/SINCE is not read by Constance, and its default is"]


def test_the_command_of_constance_reads_and_writes(source: FakeSource) -> None:
    call_command("constance", "set", "LIMIT", "25")
    out = io.StringIO()
    call_command("constance", "get", "LIMIT", stdout=out)
    assert out.getvalue().strip() == "25"
    assert source.written[0].value == b"25"
