"""/conflicts: the writes that this node has seen lose although the other's writer had not seen
them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvgossip.api.access.rights import Right
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Parameter, Route, prefix_in_query
from kvgossip.api.http.schema import TEXT, many, named
from kvgossip.api.routes.history import WRITE, WRITE_EXAMPLE, written
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.typed.views import view_of

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_WRITE = named("ConflictingWrite", **WRITE)
_CONFLICT = named("Conflict", key=TEXT, lost=_WRITE, kept=_WRITE)
_EXAMPLE = {"key": "config/theme", "lost": WRITE_EXAMPLE, "kept": WRITE_EXAMPLE}


class ConflictRoutes(Family):
    """GET /conflicts."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def conflicts(self, call: Call) -> Answer:
        """The last 1000 under the prefix, newest first, without their values: those that lost are
        in the history of their keys."""
        found = self._node.conflicts(call.query.get("prefix", ""))
        shown = [
            {
                "key": key,
                "lost": self._write(view_of(key, lost)),
                "kept": self._write(view_of(key, kept)),
            }
            for key, lost, kept in found
        ]
        return self._answers.json(200, {"conflicts": shown})

    def _write(self, entry: Entry) -> dict[str, Any]:
        return written(entry, self._node.writer(entry.version))

    ROUTES = (
        Route(
            "GET",
            "/conflicts",
            conflicts,
            Right.READ,
            "The last 1000 writes that this node has seen lose although the other's writer had not "
            "seen them, newest first.",
            named("Conflicts", conflicts=many(_CONFLICT)),
            example={"conflicts": [_EXAMPLE]},
            scope=prefix_in_query,
            parameters=(Parameter("query", "prefix", TEXT, "what the keys start with"),),
        ),
    )
