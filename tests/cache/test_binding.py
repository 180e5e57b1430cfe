"""Models: whole objects, the last good one where a new one is refused, and one answer for who wrote
it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.resolution import Resolved
from kvgossip.cache.source import Record
from kvgossip.cache.table import Table
from kvgossip.cache.validation import step
from kvgossip.errors import LocalError, Refused
from tests.cache.sources import JSON, FakeSource, cache_of, record

pydantic = pytest.importorskip("pydantic")


@dataclass(frozen=True)
class Plain:
    rate: int = 10
    hosts: tuple[str, ...] = ()
    note: str | None = None


class Packed(msgspec.Struct, frozen=True):
    rate: int = 10
    hosts: tuple[str, ...] = ()
    note: str | None = None


class Checked(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    model_config = pydantic.ConfigDict(frozen=True)

    rate: int = 10
    hosts: tuple[str, ...] = ()
    note: str | None = None


@pydantic.dataclasses.dataclass(frozen=True)
class CheckedPlain:
    rate: int = 10
    hosts: tuple[str, ...] = ()
    note: str | None = None


MODELS = [Plain, Packed, Checked, CheckedPlain]
each_model = pytest.mark.parametrize("model", MODELS)


@each_model
def test_the_fields_of_a_model_are_keys_under_its_prefix(model: Any) -> None:
    source = FakeSource(
        {"limits/rate": "20", "limits/hosts": '["a.shop"]', "limits/other": "1", "rate": "9"}
    )
    config = cache_of(source)
    limits = config.bind(model, "limits/")
    first = limits.value
    assert first == model(rate=20, hosts=("a.shop",))
    assert limits.value is first
    source.give(theme="dark")
    assert limits.value is first
    source.give({"limits/rate": "30", "limits/hosts": None})
    assert limits.value == model(rate=30)
    assert first == model(rate=20, hosts=("a.shop",))
    config.close()


@each_model
def test_text_that_looks_like_json_is_text_where_the_model_wants_text(model: Any) -> None:
    source = FakeSource({"note": "10", "hosts": '["1"]'})
    config = cache_of(source)
    bound = config.bind(model)
    assert bound.value == model(note="10", hosts=("1",))
    source.give(note="null")
    assert bound.value == model(note=None, hosts=("1",))
    source.give(note="[1, 2]")
    assert bound.value == model(note="[1, 2]", hosts=("1",))
    config.close()


@each_model
def test_the_last_good_object_stays_and_what_was_refused_is_told_once(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = FakeSource({"limits/rate": "20"})
    config = cache_of(source)
    limits = config.bind(model, "limits/")
    assert limits.value.rate == 20
    source.give({"limits/rate": "many", "theme": "dark", "limits/hosts": '["a.shop"]'})
    assert limits.value == model(rate=20), "neither half of it"
    assert config["limits/rate"] == 20
    assert "limits/hosts" not in config
    assert config["theme"] == "dark"
    source.give(theme="light")
    (refused,) = config.status().refused
    assert refused.key == "limits/rate"
    (line,) = caplog.messages
    assert "limits/rate is refused" in line
    source.give({"limits/rate": "40"})
    assert limits.value == model(rate=40, hosts=("a.shop",))
    assert config.status().refused == ()
    config.close()


@each_model
def test_a_model_that_is_bad_from_the_start_is_what_the_defaults_make_of_it(model: Any) -> None:
    source = FakeSource({"limits/rate": "many"})
    config = cache_of(source, {"limits/hosts": ["a.shop"]})
    limits = config.bind(model, "limits/")
    assert limits.value == model(hosts=("a.shop",))
    assert [refused.key for refused in config.status().refused] == ["limits/rate"]
    assert config.get("limits/rate") is None
    config.close()


@each_model
def test_a_model_may_be_bound_while_the_cache_is_open(model: Any) -> None:
    source = FakeSource({"limits/rate": "20", "bad/rate": "many"})
    config = cache_of(source)
    config.open()
    assert config.bind(model, "limits/").value == model(rate=20)
    assert config.bind(model, "bad/").value == model()
    assert [refused.key for refused in config.status().refused] == ["bad/rate"]
    config.close()


@each_model
def test_an_override_is_in_the_object_too(model: Any) -> None:
    source = FakeSource({"limits/rate": "20"})
    config = cache_of(source)
    limits = config.bind(model, "limits/")
    config.open()
    with config.override({"limits/rate": 5, "limits/hosts": ("x",)}):
        assert limits.value == model(rate=5, hosts=("x",))
    assert limits.value == model(rate=20)
    with config.override({"limits/rate": object()}):
        assert limits.value == model(rate=20)
        assert len(config.status().refused) == 1
    assert config.status().refused == ()
    config.close()


# -- what a model lacks ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Needy:
    rate: int
    host: str


class NeedyChecked(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    rate: int
    host: str


@pytest.mark.parametrize("model", [Needy, NeedyChecked])
def test_a_field_that_nobody_has_is_told_when_the_object_is_asked_for(model: Any) -> None:
    source = FakeSource()
    config = cache_of(source)
    bound = config.bind(model, "db/")
    config.open()
    for _ in range(2):
        with pytest.raises(Refused, match="db/"):
            bound.value  # noqa: B018 - it raises
    assert len(config.status().refused) == 1
    config.put("db/rate", 1)
    with pytest.raises(Refused, match="db/rate"):
        config.put("db/rate", "many")
    config.put("db/host", "a.shop")
    assert bound.value == model(rate=1, host="a.shop")
    with pytest.raises(Refused, match="db/"):
        config.delete("db/host")
    config.close()


def test_nothing_is_refused_before_anything_has_come(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource(settled=False)
    config = cache_of(source)
    config.bind(Needy, "db/")
    assert config.status().refused == ()
    assert caplog.messages == []
    source.resync({})
    assert len(config.status().refused) == 1
    config.close()


# -- checks ----------------------------------------------------------------------------------------


def test_what_a_check_raises_is_the_reason() -> None:
    source = FakeSource({"rate": "20"})
    config = cache_of(source)
    bound = config.bind(Plain)

    @bound.check
    def is_even(new: Plain) -> None:
        if new.rate % 2:
            raise Refused("rates are even")

    @bound.check
    def is_not_zero(new: Plain) -> None:
        assert 100 / new.rate

    assert bound.value.rate == 20
    source.give(rate="21")
    assert bound.value.rate == 20
    assert [refused.reason for refused in config.status().refused] == ["rates are even"]
    source.give(rate="0")
    assert bound.value.rate == 20
    (refused,) = config.status().refused
    assert refused.reason == "ZeroDivisionError: division by zero"
    source.give(rate="22")
    assert bound.value.rate == 22
    config.close()


def test_a_reason_is_one_line_of_bounded_length(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource({"rate": "20"})
    config = cache_of(source)

    @config.bind(Plain).check
    def shouts(new: Plain) -> None:
        if new.rate > 20:
            raise Refused("a\n\x1b[31m" * 1000)

    config.open()
    source.give(rate="21")
    (refused,) = config.status().refused
    assert refused.reason.isprintable()
    assert len(refused.reason) == 500
    assert caplog.messages[0].isprintable()
    config.close()


@dataclass(frozen=True)
class Ordered:
    low: int = 0
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def test_a_model_may_compare_its_own_fields() -> None:
    source = FakeSource({"low": "3", "high": "5"})
    config = cache_of(source)
    bound = config.bind(Ordered)
    assert bound.value == Ordered(3, 5)
    with pytest.raises(Refused, match="low is above high"):
        config.put("low", 7)
    source.give(low="7", high="8")
    assert bound.value == Ordered(7, 8), "together they are good"
    config.close()


def test_models_that_share_keys_are_good_together_or_stay_together() -> None:
    source = FakeSource({"a/low": "1", "a/high": "5"})
    config = cache_of(source)
    ordered, wide = config.bind(Ordered, "a/"), config.bind(Ordered, "a/")

    @wide.check
    def is_wide(new: Ordered) -> None:
        if new.high - new.low < 2:
            raise Refused("it is not wide")

    assert (ordered.value, wide.value) == (Ordered(1, 5), Ordered(1, 5))
    source.give({"a/low": "4"})
    assert (ordered.value, wide.value) == (Ordered(1, 5), Ordered(1, 5))
    assert config["a/low"] == 1
    config.close()


# -- kinds of fields -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kinds:
    at: datetime.date
    blob: bytes
    inner: Plain
    by_number: dict[int, float] = field(default_factory=dict)


def test_fields_have_all_types_that_msgspec_reads() -> None:
    source = FakeSource(
        {
            "at": "2026-11-30",
            "blob": "abcd",
            "inner": '{"rate": 3, "hosts": ["x"]}',
            "by_number": '{"1": 2}',
        }
    )
    config = cache_of(source)
    assert config.bind(Kinds).value == Kinds(
        datetime.date(2026, 11, 30), b"abcd", Plain(3, ("x",)), {1: 2.0}
    )
    source.give({"blob": b"\xff\x00"})
    assert config.bind(Kinds).value.blob == b"\xff\x00"
    config.close()


class Renamed(msgspec.Struct, rename="kebab"):
    max_rate: int = 1


class Aliased(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    max_rate: int = pydantic.Field(default=1, alias="max-rate")


@pytest.mark.parametrize("model", [Renamed, Aliased])
def test_a_field_is_named_as_its_model_names_it_outside(model: Any) -> None:
    config = cache_of(FakeSource({"max-rate": "7", "max_rate": "8"}))
    assert config.bind(model).value.max_rate == 7
    config.close()


@dataclass
class Odd:
    anything: memoryview | set[object] | frozenset[int]


@pytest.mark.parametrize("model", [int, object, Plain(), dict, Odd])
def test_what_is_no_model_is_refused_when_it_is_bound(model: Any) -> None:
    with pytest.raises(LocalError, match="cannot be bound"):
        cache_of(FakeSource()).bind(model)


# -- values that declare what they are not ---------------------------------------------------------


def test_a_value_that_declares_json_and_is_none_is_not_applied() -> None:
    source = FakeSource({"a": ("[1]", JSON), "b": ("{", JSON)})
    config = cache_of(source, {"b": 5})
    assert config["a"] == [1]
    assert config["b"] == 5
    source.give({"a": ("[", JSON), "c": "1"})
    assert config["a"] == [1]
    assert config["c"] == 1
    assert [refused.key for refused in config.status().refused] == ["a", "b"]
    source.give({"a": None})
    assert "a" not in config
    assert [refused.key for refused in config.status().refused] == ["b"]
    config.close()


# -- releases --------------------------------------------------------------------------------------


def values(**named: str) -> dict[str, Record]:
    return {name: record(name, value) for name, value in named.items()}


def test_of_a_release_nothing_is_applied_where_any_of_it_is_refused() -> None:
    config = cache_of(FakeSource())
    bound = config.bind(Plain)
    layers = Table.of_defaults({}).layers
    first = step(Table.of_defaults({}), Resolved(values(rate="1", x="1"), "r1"), "rx", layers, [])
    good = step(
        Table.of_defaults({}),
        Resolved(values(rate="1", x="1"), "r1"),
        ["rate", "x"],
        layers,
        [bound],
    )
    assert first.reasons == good.reasons == {}
    assert good.table.release == "r1"
    assert good.table.models[bound] == Plain(1)
    bad = step(
        good.table,
        Resolved(values(rate="many", x="2", y="3"), "r2"),
        ["rate", "x", "y"],
        layers,
        [bound],
    )
    assert list(bad.reasons) == ["rate"]
    assert (bad.table.release, bad.table["x"], bad.table.has("y")) == ("r1", 1, False)
    assert bad.table.models[bound] == Plain(1)
    assert bad.refused == {"rate", "x", "y"}, "all of it is tried again"
    again = step(bad.table, Resolved(values(rate="3", x="2"), "r3"), bad.refused, layers, [bound])
    assert again.reasons == {}
    assert (again.table.release, again.table["x"], again.table.models[bound].rate) == ("r3", 2, 3)


def test_where_the_first_release_is_refused_there_are_defaults() -> None:
    config = cache_of(FakeSource())
    bound = config.bind(Plain)
    start = Table.of_defaults({"x": 0})
    start.models[bound] = Plain()
    taken = step(
        start, Resolved(values(rate="many", x="2"), "r1"), ["rate", "x"], start.layers, [bound]
    )
    assert (taken.table.release, taken.table["x"]) == ("", 0)
    assert taken.table.models[bound] == Plain()


# -- forgetting ------------------------------------------------------------------------------------


def test_a_check_that_is_forgotten_refuses_nothing_any_more() -> None:
    source = FakeSource({"limits/rate": "1"})
    config = cache_of(source)
    limits = config.bind(Plain, "limits/")

    @limits.check
    def is_small(new: Plain) -> None:
        if new.rate > 5:
            raise Refused("too large")

    config.open()
    source.give({"limits/rate": "9"})
    assert (limits.value.rate, len(config.status().refused)) == (1, 1)
    limits.forget(is_small)
    assert (limits.value.rate, config["limits/rate"], config.status().refused) == (9, 9, ())
    with pytest.raises(LocalError, match="is no check of"):
        limits.forget(is_small)
    config.close()


def test_a_model_that_is_forgotten_refuses_nothing_and_has_no_value() -> None:
    source = FakeSource({"limits/rate": '"many"'})
    config = cache_of(source)
    limits = config.bind(Plain, "limits/")
    assert limits.value.rate == 10
    assert [each.key for each in config.status().refused] == ["limits/rate"]
    config.forget(limits)
    assert (config["limits/rate"], config.status().refused) == ("many", ())
    assert config.status().refusals_total == 1
    config.put("limits/rate", "more")
    with pytest.raises(LocalError, match="is forgotten"):
        _ = limits.value
    with pytest.raises(LocalError, match="is not bound to this cache"):
        config.forget(limits)
    config.close()


# -- releases --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    url: str
    rate: int = 10


def test_a_release_that_this_process_would_not_apply_is_not_written() -> None:
    config = ConfigCache.static({}, "shop/")
    limits = config.bind(Located, "limits/")

    @limits.check
    def is_small(new: Located) -> None:
        if new.rate > 50:
            raise Refused("too large")

    good = {"limits/url": "x", "limits/rate": 20}
    with config.override({"limits/rate": 1, "limits/url": "y"}):
        for bad, reason in (
            ({**good, "limits/rate": "many"}, "limits/rate: Expected `int`, got `str`"),
            ({**good, "limits/rate": 51}, "limits/: too large"),
            ({"theme": "dark"}, "limits/: .* missing required field `url`"),
        ):
            with pytest.raises(Refused, match=reason):
                config.release(bad, name="r1")
    assert config.releases.status().names == []
    assert config.release(good, name="r1").name == "r1"
    assert limits.value == Located("x", 20)
    status = config.releases.status()
    assert (status.active, status.names) == ("r1", ["r1"])
    config.close()
