"""/cluster and /series: the whole cluster at a look, and the last hour of this node, for the
console and whoever else looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kvgossip.api.access.rights import Right
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Route
from kvgossip.api.sampler import UNITS, Sampler
from kvgossip.runtime.reports.cluster_report import (
    ClusterFinding,
    ClusterMember,
    ClusterReport,
    Partition,
    Said,
    Suspicion,
)
from kvgossip.runtime.series import STEP_S

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node


class OneSeries(msgspec.Struct, frozen=True):
    """The points of one number, oldest first; null where it is not known."""

    unit: str
    values: list[float | None]


class SeriesDocument(msgspec.Struct, frozen=True):
    """`points` of each series, `step_s` apart, the newest one at `until_ms`; null where there is
    none yet."""

    step_s: int
    points: int
    until_ms: int | None
    series: dict[str, OneSeries]


_REPORT_EXAMPLE = ClusterReport(
    asked="n1", cluster="shop", datacenter="fra", at_ms=1767225600000, age_s=0.2,
    complete=False, equal=False, keys=12, root="6f1d0b7a92c45e38",
    members=[
        ClusterMember(
            name="n2", pool="lan", self=False, state="alive", addresses=["10.0.0.6:7481"],
            http="10.0.0.6:7480", datacenter="fra", zone="a", gateway=False, blocked=False,
            rtt_ms=0.6, rtt_estimate_ms=0.7, clock_offset_ms=2, lag_p50_ms=1.2, lag_p99_ms=4.8,
            same=True, differs_by=0, precision="exact", unequal_s=None, answered=True, age_s=0.1,
            place_ms=[0.4, -0.2],
            phi=0.2,
            said=Said(
                version="0.2.0", standing="settled", keys=12, entries=14, not_ready=[],
                overload="", keyring=["1f2e3d4c"], tokens="none", blocked=[],
                tombstones_waiting=2, waits_for=["n3"], quarantined=0, suspects=[], dead=["n3"],
                lost=[],
            ),
        )
    ],
    suspicions=[Suspicion("lan", "n2", "n3", "dead")],
    partitions=[Partition("lan", "n1", 12.5, [["n1", "n2"], ["n3"]])],
    findings=[
        ClusterFinding(
            "dead", "lan", ["n3"], "n3 is dead: start it, or forget it",
            "kvgossip force-leave n3",
        )
    ],
    findings_age_s=3.0,
)  # fmt: skip
_SERIES_EXAMPLE = SeriesDocument(STEP_S, 2, 1767225600000, {"writes": OneSeries("1/s", [1.5, 2.0])})


class OverviewRoutes(Family):
    """GET /cluster and GET /series."""

    def __init__(self, node: Node, answers: Answers, sampler: Sampler) -> None:
        self._node, self._answers, self._sampler = node, answers, sampler

    async def cluster(self, call: Call) -> Answer:
        """This node asks the members, and answers for all; who does not answer is there too."""
        return self._answers.json(200, await self._node.reports.report())

    async def series(self, call: Call) -> Answer:
        """The numbers of the last hour."""
        series, until_ms = self._sampler.series, self._sampler.sampled_ms
        document = SeriesDocument(
            STEP_S,
            len(series),
            until_ms,
            {name: OneSeries(unit, series.values(name)) for name, unit in UNITS.items()},
        )
        return self._answers.json(200, document)

    ROUTES = (
        Route(
            "GET",
            "/cluster",
            cluster,
            Right.METRICS,
            "The whole cluster: what this node sees, what each member says of itself, and what "
            "the doctor found.",
            ClusterReport,
            example=msgspec.to_builtins(_REPORT_EXAMPLE),
        ),
        Route(
            "GET",
            "/series",
            series,
            Right.METRICS,
            "The last hour of this node, a point each ten seconds.",
            SeriesDocument,
            example=msgspec.to_builtins(_SERIES_EXAMPLE),
        ),
    )
