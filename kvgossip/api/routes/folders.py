"""/folders: the keys under a prefix by their next slash, for whoever shows them as a tree. The node
jumps from folder to folder, and counts by two searches in its index: a folder of a million keys
costs as much as one of ten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvgossip.api.access.rights import Right
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Route, prefix_in_query
from kvgossip.api.http.schema import TEXT, WHOLE, many, named, or_null
from kvgossip.api.routes.kv import LIST_LIMIT_MAX, PAGE, limit_in

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_FOLDER = named("Folder", prefix=TEXT, keys=WHOLE)


class FolderRoutes(Family):
    """GET /folders."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def folders(self, call: Call) -> Answer:
        """`keys` is how many keys there are, with this prefix and in each folder; null as `after`
        ends the list. A page may have no folder, and others follow."""
        prefix, first = call.query.get("prefix", ""), call.query.get("after", "")
        limit = limit_in(call.query, LIST_LIMIT_MAX)
        found, following = self._node.folders(prefix, first, limit)
        return self._answers.json(
            200,
            {
                "folders": [{"prefix": name, "keys": keys} for name, keys in found],
                "after": following,
                "keys": self._node.count(prefix),
            },
        )

    ROUTES = (
        Route(
            "GET",
            "/folders",
            folders,
            Right.READ,
            "The keys under a prefix by their next slash, each part with how many it has.",
            named("Folders", folders=many(_FOLDER), after=or_null(TEXT), keys=WHOLE),
            example={"folders": [{"prefix": "config/", "keys": 12}], "after": None, "keys": 12},
            parameters=PAGE,
            scope=prefix_in_query,
            counted_as="list",
        ),
    )
