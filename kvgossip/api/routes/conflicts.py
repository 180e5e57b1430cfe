"""/conflicts: the writes that this node has seen lose although the other's writer had not seen
them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvgossip.api.access.rights import Right
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Parameter, Route, prefix_in_query
from kvgossip.api.http.schema import (
    TEXT,
    VERSION,
    VERSION_EXAMPLE,
    WHOLE,
    YES_OR_NO,
    many,
    named,
    or_null,
)
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.hlc import milliseconds_of

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_WRITE = named(
    "ConflictingWrite",
    version=VERSION,
    written_ms=WHOLE,
    by=or_null(TEXT),
    site=TEXT,
    deleted=YES_OR_NO,
    content_type=or_null(TEXT),
    bytes=WHOLE,
)
_CONFLICT = named("Conflict", key=TEXT, lost=_WRITE, kept=_WRITE)
_WRITE_EXAMPLE = {
    "version": VERSION_EXAMPLE, "written_ms": 1730000000000, "by": "web-1",
    "site": VERSION_EXAMPLE[17:], "deleted": False, "content_type": "text/plain", "bytes": 4,
}  # fmt: skip
_EXAMPLE = {"key": "config/theme", "lost": _WRITE_EXAMPLE, "kept": _WRITE_EXAMPLE}


class ConflictRoutes(Family):
    """GET /conflicts."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def conflicts(self, call: Call) -> Answer:
        """The last 1000 under the prefix, newest first, without their values: those that lost are
        in the history of their keys."""
        found = self._node.conflicts(call.query.get("prefix", ""))
        shown = [
            {"key": each.key, "lost": self._write(each.lost), "kept": self._write(each.kept)}
            for each in found
        ]
        return self._answers.json(200, {"conflicts": shown})

    def _write(self, entry: Entry) -> dict[str, Any]:
        return {
            "version": str(entry.version),
            "written_ms": milliseconds_of(entry.version.timestamp),
            "by": self._node.writer(entry.version),
            "site": f"{entry.version.site:016x}",
            "deleted": entry.deleted,
            "content_type": entry.content_type,
            "bytes": len(entry.value or b""),
        }

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
