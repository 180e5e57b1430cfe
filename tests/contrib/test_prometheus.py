"""The collector, in a registry of prometheus-client: a scrape says what `status` says."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from kvgossip.contrib.prometheus import KVGossipCollector
from tests.cache.sources import FakeSource, cache_of


@dataclass(frozen=True)
class Limits:
    rate: int = 10


def test_a_scrape_says_what_caches_refuse_and_how_old_they_are() -> None:
    source = FakeSource({"limits/rate": '"many"', "theme": "dark"})
    config = cache_of(source)
    config.bind(Limits, "limits/")
    registry = CollectorRegistry()
    registry.register(KVGossipCollector(config))
    assert source.opened == 0, "to register opens nothing"

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"kvgossip_cache_{name}", {"prefix": "shop/", **labels})

    assert value("settled") == 1
    assert (value("stale"), value("became_stale_total")) == (0, 0)
    assert (value("refused", key="limits/rate"), value("refusals_total")) == (1, 1)
    assert value("release_info", release="", pending="") == 1
    age_s = value("age_seconds")
    assert age_s is not None
    assert age_s >= 0
    source.give({"limits/rate": "20"})
    source.tell(exchanged_ms=None, settled=False)
    assert (value("refused", key="limits/rate"), value("refusals_total")) == (None, 1)
    assert (value("settled"), value("stale"), value("age_seconds")) == (0, 1, None)
    config.close()
