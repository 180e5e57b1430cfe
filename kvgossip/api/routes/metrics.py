"""/metrics: a node's own view of itself, in the format of Prometheus.

Nothing is counted here: a scrape asks the node for its status and the server for its statistics,
and gives every number a name by the conventions of Prometheus (units last, `_total` for what only
grows, reasons and pools as labels). A number that this module does not know, because it is new, is
exported all the same, as of unknown type.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kvgossip import __version__
from kvgossip.api.access.rights import Access
from kvgossip.api.http.request_metrics import LoopDelay
from kvgossip.api.lanes.connections import Connections
from kvgossip.api.routes.metric_families import (
    PREFIX,
    counter,
    gauge,
    gauges,
    histogram,
    unknown,
)
from kvgossip.api.routes.watch import WatchRoutes
from kvgossip.api.tls.certificates import Certificates
from kvgossip.config.exposure import OPEN_DOORS

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

GAUGES = {
    "keys": "Keys with a value.",
    "entries": "Entries, tombstones too.",
    "record_bytes": "Bytes of all entries.",
    "entries_left_out": "Entries of peers that are too long for this node.",
    "rumors_hot": "The rumor queue: entries that are being spread.",
    "awareness": "How slow this node thinks itself, 0 is well (Lifeguard).",
    "members_without_udp": "Members that answer over TCP only.",
    "certificates_waiting": "Tombstones that are not collected yet.",
    "drops_waiting": "Live values that one member says were deleted: a second one must say so.",
    "context_rows": "Rows of the context: lives of nodes.",
    "context_dots": "Single versions beyond the rows.",
    "context_gaps": "Gaps of the context.",
    "transport_links_outgoing": "TCP links that this node has opened.",
    "transport_links_incoming": "TCP links that peers have opened.",
    "transport_link_bytes_waiting": "Bytes that wait for peers to take them.",
    "transport_link_bytes_unfinished": "Bytes of frames that have not come to their end.",
}
COUNTERS = {
    "writes": "Versions that this life has written, deletes too.",
    "gossips_sent": "Packets of rumors.",
    "rumors_cooled": "Rumors that K peers in a row knew.",
    "exchanges_started": "Exchanges that this node has begun.",
    "exchanges_completed": "Those that completed.",
    "exchanges_cut": "Those that were cut.",
    "exchanges_too_slow": "Of these, those whose peers took too long.",
    "exchanges_futile": "Differences that no exchange repairs.",
    "exchange_rounds": "Questions that this node has asked in exchanges.",
    "exchange_news": "Residue: entries that rumors had not brought, and exchanges did.",
    "frames_sent": "Frames of the protocol.",
    "frames_received": "Frames of the protocol.",
    "bytes_sent": "Bytes of all frames.",
    "bytes_received": "Bytes of all frames.",
    "frames_dropped": "Frames that were dropped unread.",
    "units_dropped": "Messages in frames that were dropped.",
    "piggybacks_made": "Messages of the application on which news rode away.",
    "piggybacks_absorbed": "Those from which news was taken.",
    "piggybacks_dropped": "What was given to be absorbed, and could not be.",
    "entries_refused": "Entries of peers that were refused.",
    "refusals_heard": "Frames of this node that others refused.",
    "lag_unmeasured": "Arrivals that say nothing of lag.",
    "certificates_collected": "Tombstones that were collected.",
    "entries_quarantined": "Live values that the cluster had deleted.",
    "drop_fuses_blown": "How often one member said that of too many at once.",
    "set_backs": "New lives of this node after its machine was set back.",
    "set_backs_refused": "Signs of a set-back within a minute of a new life.",
    "concludes_refused": "Ends of exchanges that no member had begun here.",
    "facts_from_the_future": "Facts of contexts beyond this node's own time.",
    "offers_collected": "Entries of peers that had been collected here.",
    "contexts_refused": "Contexts of peers that made no sense.",
    "frames_to_blocked": "Frames that were not sent to blocked members.",
    "pings_for_another_name": "Probes of somebody who was here before.",
    "blocked_news": "News of blocked members.",
    "coordinate_samples": "Round trips that coordinates were learned from.",
    "coordinate_resets": "Coordinates that were begun anew.",
    "coordinates_refused": "Coordinates of peers that made no sense.",
    "identities_refused": "Members whose name belongs to another key.",
    "lives_refused": "Lives of members that were refused.",
    "name_conflicts": "Names that two nodes claimed.",
    "names_refused": "Names beyond members_max.",
    "claims_asked": "Names that were asked for at an address before they were believed there.",
    "answers_withheld": "Answers to strangers that were too long, or too many.",
    "complaints_unlogged": "Warnings that were left out, since there were too many.",
    "partitions_suspected": "How often more than half of the members were lost at once.",
    "transport_frame_bytes_sent": "Bytes over TCP: exchanges and large values.",
    "transport_frame_bytes_received": "Bytes over TCP: exchanges and large values.",
}
FROM_ZERO = ("entries_quarantined", "drop_fuses_blown", "set_backs")
"""Counters of the node that are there before they count: who alerts on an increase would miss the
first one else."""


class Metrics(Collector):
    """Of one node and its server."""

    def __init__(
        self,
        node: Node,
        connections: Connections,
        delay: LoopDelay,
        watching: WatchRoutes,
        access: Access,
        certificates: Certificates | None,
    ) -> None:
        self._node, self._connections, self._delay = node, connections, delay
        self._over_http, self._access, self._certificates = watching, access, certificates
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, request: web.BaseRequest) -> tuple[bytes, str]:
        """The text, and its content type: the newest one that the scraper accepts."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the metrics follow from the status."""
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._node.status()
        yield info(status)
        yield gauge("settled", "1 if reads are answered as truth.", float(status["settled"]))
        yield from _health(status)
        refuses = float(bool(status["clock_trouble"]))
        yield gauge("clock_trouble", "1 if clocks are so wrong that it matters.", refuses)
        opened = {(door,): float(door in status["open"]) for door in OPEN_DOORS}
        text = "1 if whoever reaches it may read and change everything."
        yield gauges("open", text, opened, ("door",))
        yield gauge("memory_only", "1 if there is no data directory.", float(status["memory_only"]))
        for name, text in (
            ("last_exchange_age_s", "Since an exchange completed."),
            ("clock_ahead_s", "Of its peers' median."),
            ("hybrid_clock_ahead_s", "Of the wall clock: versions lie so far in the future."),
        ):
            if status[name] is not None:
                yield gauge(name.removesuffix("_s") + "_seconds", text, status[name])
        yield from _trends(status["trends"])
        yield from _cluster(status["pools"])
        yield from _numbers(status)
        yield from self._watching(status)
        segments = {(segment,): count for segment, count in self._node.conflict_counts.items()}
        text = "Writes that lost although the other's writer had not seen them, by first segment."
        yield counter("conflicts", text, segments, ("segment",))
        yield histogram(
            "lag_seconds",
            "From the write of a record on another node until it arrived here, of settled nodes.",
            self._node.lag.histograms,
            ("datacenter", "way"),
        )
        yield from _tls(self._certificates)
        if self._node.commit_times is not None:
            yield histogram(
                "commit_duration_seconds",
                "From the begin of a commit until it is on the disk.",
                {(): self._node.commit_times},
            )
        yield from self._serving()
        yield counter(
            "log_lines_dropped",
            "Lines of the log that nobody read in time.",
            {(): sum(getattr(each, "lines_dropped", 0) for each in logging.getLogger().handlers)},
        )
        yield from _storage(status["storage"])

    def _serving(self) -> Iterator[Metric]:
        """The numbers of the server."""
        watching, requests = self._over_http.statistics(), self._connections.requests
        yield counter(
            "http_requests",
            "Requests by family of routes and status.",
            requests.counts,
            ("family", "code"),
        )
        yield histogram(
            "http_request_duration_seconds",
            "Until the answer is ready.",
            requests.times,
            ("family",),
        )
        yield counter(
            "http_access_refused",
            "Requests that were refused for who sent them.",
            {(): self._access.audit.refusals},
        )
        tokens = self._access.status()
        names = () if tokens is None else tokens["names"]
        yield gauge("tokens", "Sections of the tokens file.", len(names))
        broken = tokens is not None and tokens["problem"] is not None
        yield gauge("tokens_broken", "1 if the tokens file cannot be used as it is.", float(broken))
        fates = {(fate,): count for fate, count in self._connections.counts.items()}
        yield gauge(
            "http_connections",
            "Connections of clients, without those of streams.",
            len(self._connections),
        )
        yield counter(
            "http_connection_events",
            "Fates of connections and of their requests.",
            fates,
            ("event",),
        )
        watchers = {("stream",): watching["streams"], ("poll",): watching["polls"]}
        yield gauges("watchers", "Watchers over HTTP.", watchers, ("kind",))
        cut_off = {(reason,): count for reason, count in watching["cut_off"].items()}
        yield counter("watchers_cut_off", "Streams that did not keep up.", cut_off, ("reason",))
        yield histogram(
            "event_loop_delay_seconds",
            "How late the event loop calls back.",
            {(): self._delay.times},
        )

    def _watching(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        feed = self._node.feed
        yield gauge(
            "watch_subscriptions",
            "Watchers within the process; streams of one form share one.",
            status["watchers"],
        )
        yield gauge("watch_queue_changes", "Changes that wait for watchers.", feed.watches.waiting)
        yield counter(
            "watch_subscriptions_cut_off",
            "Watchers within the process that did not keep up.",
            {(): feed.watches.lagged},
        )
        yield gauge("feed_changes", "Changes that are kept for watchers that come back.", len(feed))
        yield gauge("feed_bytes", "Bytes of records that those hold on to.", feed.kept_bytes)


def info(status: Mapping[str, Any]) -> Metric:
    labels = {
        "version": __version__,
        **{name: status[name] for name in ("name", "cluster", "datacenter", "site")},
    }
    family = GaugeMetricFamily(
        f"{PREFIX}node_info", "The node's name and place; always 1.", labels=list(labels)
    )
    family.add_metric(list(labels.values()), 1)
    return family


def _health(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Whether the node may be asked, and takes writes."""
    reasons = {(reason["code"],): 1.0 for reason in status["not_ready"]}
    yield gauge("ready", "1 if the node may be asked.", float(not reasons))
    yield gauges("not_ready", "1 for each reason why it may not.", reasons, ("reason",))
    overloaded = float(status["overload"] is not None)
    yield gauge("overloaded", "1 if no write is taken just now.", overloaded)
    yield gauge("quarantine_values", "Values that wait in quarantine.", status["quarantined"])


def _trends(trends: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    """What is not as usual, or comes to its limit."""
    codes = {(trend["code"],): 1.0 for trend in trends}
    yield gauges("trend", "1 for what is not as usual, or comes to its limit.", codes, ("code",))
    left_s = {(each["code"],): each["in_s"] for each in trends if each["in_s"] is not None}
    yield gauges("trend_limit_seconds", "Until a forecast comes true.", left_s, ("code",))


def _tls(certificates: Certificates | None) -> Iterator[Metric]:
    """Of the certificate, where there is one."""
    if certificates is not None:
        yield gauge(
            "tls_certificate_expires_seconds",
            "Until the certificate expires; negative once it has.",
            certificates.expires_s,
        )
        yield gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate expires, since 1970.",
            certificates.not_after_s,
        )
        yield gauge(
            "tls_reload_failed",
            "1 while the files of the certificate cannot be served.",
            float(certificates.failed),
        )
        yield counter("tls_reloads", "Of the certificate.", {(): certificates.reloads})


def _storage(storage: Mapping[str, Any] | None) -> Iterator[Metric]:
    """Of the data directory, where there is one."""
    if storage is not None:
        yield gauge("storage_bytes", "Bytes of the data directory.", storage["bytes"])
        yield gauge(
            "storage_free_bytes", "What its filesystem has left for it.", storage["free_bytes"]
        )
        yield gauge(
            "storage_degraded", "1 if the disk takes no writes.", float(storage["degraded"])
        )
        yield gauge(
            "storage_commit_age_seconds",
            "Since the begin of the commit that the disk is at; 0 where it is at none.",
            storage["commit_age_s"],
        )
        for name in ("commits", "changes_committed", "commits_failed"):
            yield counter(f"storage_{name}", "Of the data directory.", {(): storage.get(name, 0)})


def _cluster(pools: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    members = {
        (pool, state): count
        for pool, counters in pools.items()
        for state, count in counters["members"].items()
    }
    events = {
        (pool, event): count
        for pool, counters in pools.items()
        for event, count in counters["member_events"].items()
    }
    suspected = {
        (pool,): float(counters["suspected_partition"] is not None)
        for pool, counters in pools.items()
    }
    yield gauges("members", "Members by state.", members, ("pool", "state"))
    yield counter(
        "member_events",
        "Changes of members, by the state that they came to.",
        events,
        ("pool", "state"),
    )
    yield gauges(
        "suspected_partition", "1 if more than half were lost at once.", suspected, ("pool",)
    )
    yield gauges(
        "members_unequal",
        "Members whose root, as probes show it, differs from this node's.",
        {(pool,): counters["unequal"]["members"] for pool, counters in pools.items()},
        ("pool",),
    )
    yield gauges(
        "unequal_seconds",
        "How long, at the longest, a member has shown another root; 0 where none does.",
        {(pool,): counters["unequal"]["longest_s"] for pool, counters in pools.items()},
        ("pool",),
    )


def _numbers(status: Mapping[str, Any]) -> Iterator[Metric]:
    """The statistics of the pools and the sockets; then those that belong to the node alone."""
    pooled: set[str] = set()
    families: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], float]] = defaultdict(dict)
    for pool, counters in status["pools"].items():
        pooled |= counters["statistics"].keys()
        numbers = {
            **counters["statistics"],
            **{f"transport_{name}": value for name, value in counters["transport"].items()},
        }
        for name, value in numbers.items():
            base, _, reason = name.partition(".")
            families[base, ("pool", "reason") if reason else ("pool",)][
                (pool, reason) if reason else (pool,)
            ] = value
    for name, value in status["statistics"].items():
        if name not in pooled:
            base, _, reason = name.partition(".")
            families[base, ("reason",) if reason else ()][(reason,) if reason else ()] = value
    for name in FROM_ZERO:
        families[name, ()].setdefault((), 0)
    for (name, labels), values in sorted(families.items()):
        if name in GAUGES:
            yield gauges(name, GAUGES[name], values, labels)
        elif name in COUNTERS or name.startswith("transport_"):
            yield counter(name, COUNTERS.get(name, "Of the sockets of a pool."), values, labels)
        else:
            yield unknown(name, "See /status.", values, labels)
