"""A collector of prometheus-client: what caches refuse, how old their data is, and which release
they have, beside the other metrics of the program.

    prometheus_client.REGISTRY.register(KVGossipCollector(config))

Laws
- Nothing is counted here: a scrape asks each cache for its status, and so opens it as a read does;
  to register a collector opens nothing.
- One collector has all caches of a process, as a registry takes each name once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.status import Status
from kvgossip.extras import require

require("prometheus_client", "kvgossip.contrib.prometheus")

from prometheus_client.metrics_core import (  # noqa: E402
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector  # noqa: E402


class KVGossipCollector(Collector):
    """Of these caches, by their prefixes."""

    def __init__(self, *caches: ConfigCache) -> None:
        self._caches = caches

    def describe(self) -> Iterable[Metric]:
        return _families([])

    def collect(self) -> Iterable[Metric]:
        return _families([(cache.prefix, cache.status()) for cache in self._caches])


def _families(found: list[tuple[str, Status]]) -> Iterator[Metric]:
    settled = GaugeMetricFamily(
        "kvgossip_cache_settled", "1 if what is here is the cluster's.", labels=["prefix"]
    )
    stale = GaugeMetricFamily(
        "kvgossip_cache_stale", "1 if nobody was heard for too long.", labels=["prefix"]
    )
    age = GaugeMetricFamily(
        "kvgossip_cache_age_seconds", "Since the cluster was heard last.", labels=["prefix"]
    )
    became_stale = CounterMetricFamily(
        "kvgossip_cache_became_stale", "How often it has become stale.", labels=["prefix"]
    )
    refused = GaugeMetricFamily(
        "kvgossip_cache_refused",
        "1 for each key, or prefix of a model, that is not applied.",
        labels=["prefix", "key"],
    )
    refusals = CounterMetricFamily(
        "kvgossip_cache_refusals", "Refusals that were told.", labels=["prefix"]
    )
    release = GaugeMetricFamily(
        "kvgossip_cache_release_info",
        "1; the release that is applied, and the one that is to be and cannot yet.",
        labels=["prefix", "release", "pending"],
    )
    for prefix, status in found:
        settled.add_metric([prefix], float(status.settled))
        stale.add_metric([prefix], float(status.stale))
        if status.age_s is not None:
            age.add_metric([prefix], status.age_s)
        became_stale.add_metric([prefix], status.became_stale_total)
        for each in status.refused:
            refused.add_metric([prefix, each.key], 1)
        refusals.add_metric([prefix], status.refusals_total)
        release.add_metric([prefix, status.release, status.pending], 1)
    return iter((settled, stale, age, became_stale, refused, refusals, release))
