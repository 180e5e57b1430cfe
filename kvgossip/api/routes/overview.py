"""/cluster and /series: the whole cluster at a look, and the last hour of this node, for the
console and whoever else looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kvgossip.api.access.rights import Right
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Route
from kvgossip.api.sampler import UNITS, Sampler
from kvgossip.runtime.reports.cluster_report import ClusterReport
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
        ),
        Route(
            "GET",
            "/series",
            series,
            Right.METRICS,
            "The last hour of this node, a point each ten seconds.",
            SeriesDocument,
        ),
    )
