"""/events: what happens to the cluster in the eyes of this node, as server-sent events: members,
exchanges, and findings of the doctor that come and go."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RETRY_AFTER, RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Parameter, Route
from kvgossip.api.http.schema import TEXT
from kvgossip.api.routes.onlookers import Audience
from kvgossip.api.routes.watch import STREAM_HEAD, Beginning, WatchRoutes
from kvgossip.errors import LocalError

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

ONLOOKERS_MAX = 64
_PARAMETERS = (
    Parameter("query", "since", TEXT, "the id of an event: go on after it; 0: all that is kept"),
    Parameter("header", "Last-Event-ID", TEXT, "the id of the last event that was read"),
)


class EventRoutes(Family):
    """GET /events. `watching` knows how many streams a client may have."""

    def __init__(self, node: Node, answers: Answers, watching: WatchRoutes) -> None:
        self._node, self._answers, self._watching = node, answers, watching
        self.audience = Audience(self._look_after)

    def _look_after(self) -> None:
        """While somebody looks on, the doctor does so too."""
        with suppress(LocalError):
            self._node.reports.examine_if_due()

    async def events(self, call: Call) -> Answer:
        """A stream. 503 where there are too many."""
        if len(self.audience) >= ONLOOKERS_MAX:
            hint = "close a page that shows this node, or look at another node"
            raise RequestError(503, "this node has too many onlookers", hint, RETRY_AFTER)
        self._watching.check_may_stream(call, self.audience.count_of(call.client))
        head, events = self._answers.head(STREAM_HEAD), self._node.events
        if call.request.method == "HEAD":
            return Beginning(head, None)
        self._look_after()
        # a browser that reconnects repeats its URL, and its header says how far it has come since
        cursor = call.request.headers.get("Last-Event-ID", call.query.get("since"))
        caller = call.caller.kept
        return Beginning(
            head, lambda transport: self.audience.admit(events, cursor, transport, caller)
        )

    ROUTES = (
        Route(
            "GET",
            "/events",
            events,
            Right.METRICS,
            "What happens to the cluster: members, exchanges, findings, as a stream of events.",
            TEXT,
            parameters=_PARAMETERS,
            content_type="text/event-stream",
        ),
    )
