"""What is applied of a release, and what the source hears of it; what a release is, is another's."""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue

import pytest

from kvgossip.cache import applying
from kvgossip.cache.news import Change
from kvgossip.cache.resolution import Resolved
from kvgossip.cache.source import Applied, Record
from kvgossip.errors import LocalError
from tests.cache.sources import TIMEOUT_S, FakeSource, cache_of
from tests.cache.test_config_cache import Limits


@pytest.fixture(autouse=True)
def simple_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key `@active` names a release of this node, and `@NAME/` is before its keys."""

    def resolve(
        records: Mapping[str, Record], prefix: str, member: str, zone: str, last: Resolved
    ) -> Resolved:
        pointer = records.get(f"{prefix}@active")
        release = (pointer.value or b"").decode() if pointer is not None else ""
        release = release.replace("NODE", f"{member}.{zone}")
        start = f"{prefix}@{release}/" if release else prefix
        values = {
            key.removeprefix(start): record
            for key, record in records.items()
            if key.startswith(start) and "@" not in key.removeprefix(start)
        }
        return Resolved(values, release, ignored=("theme",) if release else ())

    monkeypatch.setattr(applying, "resolve", resolve)


R1 = {"@r1/theme": "blue", "@r1/limits/rate": "20"}
R2 = {"@r2/theme": "red", "@r2/limits/rate": "many", "@r2/new": "1"}


def test_who_knows_no_member_for_a_moment_shows_what_the_last_one_was_to_show() -> None:
    """The next source begins without one, and a canary is for members by name."""
    source = FakeSource({"theme": "dark", "@active": "NODE", "@n1.paris/theme": "blue"})
    config = cache_of(source)
    assert config["theme"] == "blue"
    source.tell(node="", zone="", datacenter="", settled=False)
    assert (config["theme"], config.status().node) == ("blue", "n1")
    source.tell(node="n2", zone="paris")
    assert config.snapshot().release == "n2.paris"


def test_a_release_appears_as_one_change_and_puts_loose_keys_aside() -> None:
    source = FakeSource({"theme": "dark", **R1})
    config = cache_of(source)
    told: SimpleQueue[Change] = SimpleQueue()
    config.on_change("")(told.put)
    assert dict(config.snapshot()) == {"theme": "dark"}
    source.give({"@active": "r1"})
    assert dict(config.snapshot()) == {"theme": "blue", "limits/rate": 20}
    assert config.snapshot().release == config.status().release == "r1"
    assert config.status().ignored == ("theme",)
    source.give(theme="light")
    assert config["theme"] == "blue"
    with pytest.raises(LocalError, match="release 'r1' is active"):
        config.put("theme", "light")
    source.give({"@active": None})
    assert dict(config.snapshot()) == {"theme": "light"}
    assert [told.get(timeout=TIMEOUT_S) for _ in range(2)] == [
        Change(
            "", {"limits/rate": None, "theme": "dark"}, {"limits/rate": 20, "theme": "blue"}, "r1"
        ),
        Change("", {"limits/rate": 20, "theme": "blue"}, {"limits/rate": None, "theme": "light"}),
    ]
    config.close()
    assert told.empty()


def test_a_release_that_is_refused_is_not_there_at_all_and_its_source_hears_why() -> None:
    source = FakeSource({**R1, **R2, "@active": "r1"})
    config = cache_of(source)
    limits = config.bind(Limits, "limits/")
    before = dict(config.snapshot())
    source.give({"@active": "r2"})
    assert dict(config.snapshot()) == before
    assert (config.snapshot().release, limits.value) == ("r1", Limits(20))
    (refused,) = config.status().refused
    assert refused.key == "limits/rate"
    with config.override(theme="mine"):
        assert config["theme"] == "mine"
    assert config["theme"] == "blue"
    source.give({"@r2/limits/rate": "30"})
    assert dict(config.snapshot()) == {"theme": "red", "limits/rate": 30, "new": 1}
    assert limits.value == Limits(30)
    assert source.applied == [
        Applied("shop/", "r1"),
        Applied("shop/", "r2", (("limits/rate", refused.reason),)),
        Applied("shop/", "r2"),
    ]
    config.close()


def test_a_release_that_is_refused_from_the_start_leaves_defaults() -> None:
    source = FakeSource({**R2, "@active": "r2", "theme": "dark"})
    config = cache_of(source, {"theme": "light"})
    limits = config.bind(Limits, "limits/")
    assert dict(config.snapshot()) == {"theme": "light"}
    assert (config.status().release, limits.value) == ("", Limits())
    config.close()


def test_a_cache_that_follows_another_member_has_the_release_of_that() -> None:
    source = FakeSource({"@active": "NODE", "@n1.paris/a": "1", "@n2.rome/a": "2"})
    config = cache_of(source)
    assert (config["a"], config.status().release) == (1, "n1.paris")
    source.tell(node="n2", zone="rome")
    assert (config["a"], config.status().release) == (2, "n2.rome")
    config.close()
