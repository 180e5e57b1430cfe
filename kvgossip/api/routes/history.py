"""/history/{key}: the versions of a key that this node remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvgossip.api.access.rights import Right
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answer, Answers, sendable
from kvgossip.api.http.route import Call, Family, Parameter, Route, key_in_path
from kvgossip.api.http.schema import (
    TEXT,
    VERSION,
    VERSION_EXAMPLE,
    WHOLE,
    YES_OR_NO,
    Schema,
    many,
    named,
    or_null,
)
from kvgossip.api.routes.write_concern import version_of_text
from kvgossip.protocol.model.entry import Entry, Version
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.runtime.changes.history import HistoryEntry

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

WRITE: dict[str, Schema] = {
    "version": VERSION, "written_ms": WHOLE, "by": or_null(TEXT), "site": TEXT,
    "deleted": YES_OR_NO, "content_type": or_null(TEXT), "bytes": WHOLE,
}  # fmt: skip
"""What is said of a write, without its value: see `written`."""
WRITE_EXAMPLE = {
    "version": VERSION_EXAMPLE, "written_ms": 1730000000000, "by": "web-1",
    "site": VERSION_EXAMPLE[17:], "deleted": False, "content_type": "text/plain", "bytes": 4,
}  # fmt: skip
_PAST = named("PastVersion", present=YES_OR_NO, **WRITE)
_PAST_EXAMPLE = {"present": True, **WRITE_EXAMPLE}


def written(entry: Entry, writer: str | None) -> dict[str, Any]:
    """A write, ready for JSON; `writer`: the name of who took it, None where that is not known."""
    return {
        "version": str(entry.version),
        "written_ms": milliseconds_of(entry.version.timestamp),
        "by": writer,
        "site": f"{entry.version.site:016x}",
        "deleted": entry.deleted,
        "content_type": entry.content_type,
        "bytes": len(entry.value or b""),
    }


class HistoryRoutes(Family):
    """GET /history/{key}."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def history(self, call: Call) -> Answer:
        """The versions that this node remembers, newest first, without their values; with
        ?version=, the raw value of that one."""
        key = decode_key(call.key)
        entries = self._node.history(key)
        if "version" in call.query:
            return self._value(entries, version_of_text(call.query["version"]))
        if not entries:
            return self._answers.problem(
                404,
                "there is no such key, and no history of one",
                "history is what this node has seen itself",
            )
        versions = [
            {"present": each.present, **written(each.entry, each.writer)} for each in entries
        ]
        return self._answers.json(200, {"key": key, "versions": versions})

    def _value(self, entries: list[HistoryEntry], version: Version) -> Answer:
        entry = next((each.entry for each in entries if each.entry.version == version), None)
        if entry is None:
            text = f"version {version} of this key is not remembered here"
            return self._answers.problem(
                404, text, "GET /history/KEY, or `kvgossip history KEY`, lists those that are"
            )
        head = f"KV-Version: {version}\r\n"
        if entry.value is None:
            return self._answers.json(
                404, {"error": "this version is a delete", "hint": "", "deleted": True}, head
            )
        return self._answers.value(entry.value, sendable(entry.content_type), head)

    ROUTES = (
        Route(
            "GET",
            "/history/{key}",
            history,
            Right.READ,
            "The versions of a key that this node remembers, newest first; with version, the raw "
            "value of one.",
            named("History", key=TEXT, versions=many(_PAST)),
            (404,),
            example={"key": "config/theme", "versions": [_PAST_EXAMPLE]},
            scope=key_in_path,
            parameters=(
                Parameter("path", "key", TEXT, "as in /kv/{key}"),
                Parameter(
                    "query", "version", TEXT, "give the value that the key had in this version"
                ),
            ),
        ),
    )
