"""/doctor/config: how the members are set up, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Body, Call, Family, Route
from kvgossip.api.routes.cluster import COMMAND_STATUSES
from kvgossip.config import OF_WAN, PARAMETERS
from kvgossip.config.description import did_you_mean, shown
from kvgossip.protocol.wire.overview_messages import PARAMETERS_MAX
from kvgossip.runtime.reports.cluster_report import ClusterFinding
from kvgossip.runtime.reports.review import ReviewedMember, ReviewReport

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_EXAMPLE = ReviewReport(
    asked="web-1", alike=False,
    findings=[
        ClusterFinding(
            "parameter_differs", "lan", ["web-2"],
            "history_versions is 0 on web-2, and 8 on web-1. The versions of a key, with the "
            "present one, that this node remembers. 0: only the present one, and no history. Write "
            "`history_versions = 8` into the configuration of web-2, and restart",
        )
    ],
    members=[
        ReviewedMember(
            name="web-2", pool="lan", datacenter="dc1", answered=True, clock_offset_ms=2,
            release="0.2.0", keyring=["1f2e3d4c"], tokens="none",
            parameters={"history_versions": "0"}, extras=["disk", "sealed"], files_max=524288,
            disk_bytes=1048576, disk_free_bytes=1073741824,
        )
    ],
)  # fmt: skip


class ReviewBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /doctor/config. `parameters`: what all members should have, by name, as the
    text of a file; null: what most have. `ignore`: the names of parameters that may differ."""

    parameters: (
        Annotated[
            dict[_Name, Annotated[str, Meta(max_length=512)]], Meta(max_length=PARAMETERS_MAX)
        ]
        | None
    ) = None
    ignore: Annotated[list[_Name], Meta(max_length=PARAMETERS_MAX)] = []


class ReviewRoutes(Family):
    """POST /doctor/config."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def review(self, call: Call) -> Answer:
        """Asks all members how they are set up, and compares them."""
        command = await call.command(ReviewBody)
        for name in command.ignore:
            if name.removeprefix(OF_WAN) not in PARAMETERS:
                text = f"no parameter is named {shown(name)}{did_you_mean(name, PARAMETERS)}"
                raise RequestError(400, text, "`kvgossip config` lists them all")
        report = await self._node.review(command.parameters, command.ignore)
        return self._answers.json(200, report)

    ROUTES = (
        Route(
            "POST",
            "/doctor/config",
            review,
            Right.OPERATE,
            "How the members are set up, which differ from each other or from a file, and what "
            "that costs.",
            ReviewReport,
            COMMAND_STATUSES,
            body=Body(
                ReviewBody,
                'send {}, or {"parameters": {NAME: TEXT}, "ignore": [NAME]}',
                example={"parameters": {"history_versions": "8"}, "ignore": ["members_max"]},
            ),
            example=msgspec.to_builtins(_EXAMPLE),
        ),
    )
