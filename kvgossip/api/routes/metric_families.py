"""The families of metrics, as prometheus-client has them, named by the conventions of Prometheus:
one prefix, and units last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isinf
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)

from kvgossip.protocol.model.histogram import Histogram

PREFIX = "kvgossip_"
Labelled = Mapping[Any, float]
"""Values by the tuples of their labels' values."""


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def gauges(name: str, text: str, values: Labelled, labels: tuple[str, ...]) -> Metric:
    return _labelled(GaugeMetricFamily, name, text, values, labels)


def counter(name: str, text: str, values: Labelled, labels: tuple[str, ...] = ()) -> Metric:
    return _labelled(CounterMetricFamily, name, text, values, labels)


def unknown(name: str, text: str, values: Labelled, labels: tuple[str, ...]) -> Metric:
    return _labelled(UnknownMetricFamily, name, text, values, labels)


def histogram(
    name: str, text: str, values: Mapping[Any, Histogram], labels: tuple[str, ...] = ()
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for label_values, seen in values.items():
        buckets = [
            ("+Inf" if isinf(bound_s) else str(bound_s), float(count))
            for bound_s, count in seen.cumulative()
        ]
        family.add_metric(label_values, buckets, seen.sum_s)
    return family


def _labelled(
    kind: Callable[..., Any], name: str, text: str, values: Labelled, labels: tuple[str, ...]
) -> Metric:
    family = kind(PREFIX + _with_units_last(name), text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    metric: Metric = family
    return metric


def _with_units_last(name: str) -> str:
    words = name.split("_")
    return "_".join(
        [*(word for word in words if word != "bytes"), *(word for word in words if word == "bytes")]
    )
