"""/export, /import and /quarantine: what goes out of a node as a whole, comes in again, or waits
beside its data."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from kvgossip.api.archive import ArchiveError, Writer, parse_lines, split_lines
from kvgossip.api.http.body import read_body, read_command, refuse_foreign_page
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.openapi import OCTETS as OCTETS_BODY
from kvgossip.api.http.openapi import VERSION, Paths, Schema, fields, operation, parameter
from kvgossip.api.http.request_target import parameters
from kvgossip.api.http.response import OCTETS, Answer, Answers
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.disk.quarantine import Suspect

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

IMPORT_BYTES_MIN = 4 * 2**20
PAGE = 1000
NUMBER_HINT = 'send {"number": "..."}, as GET /quarantine lists it'


class NumberBody(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /quarantine/restore and POST /quarantine/discard take."""

    number: Annotated[str, Meta(max_length=64)]


BODIES = (NumberBody,)
_STATUSES = (403, 404, 408, 409, 413, 431)
_COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer"}}
_AS_NEW = parameter(
    "query", "as_new", {"enum": ["true", "false"]}, "write the values anew; default false"
)
_NUMBER = parameter("query", "number", {"type": "string"}, "as /quarantine lists it; required")
_AFTER = parameter("query", "after", {"type": "string"}, "the number after which a page begins")
_LISTED = fields(
    values={"type": "array", "items": {"type": "object"}}, after={"type": ["string", "null"]}
)
_WRITTEN = fields(key={"type": "string"}, version=VERSION)
PATHS: Paths = {
    "/export": {
        "get": operation(
            "All entries of one moment, as lines of JSON.",
            OCTETS_BODY,
            (409, 431),
            content_type="application/x-ndjson",
        ),
    },
    "/import": {
        "post": operation(
            "Merge lines of an export, all of them or none.",
            fields(entries={"type": "integer"}, outcomes=_COUNTS),
            (403, 408, 413, 431, 507),
            parameters=(_AS_NEW,),
            body=OCTETS_BODY,
        )
    },
    "/quarantine": {
        "get": operation(
            "Values that were deleted elsewhere.", _LISTED, (404, 431), parameters=(_AFTER,)
        )
    },
    "/quarantine/value": {
        "get": operation(
            "One of these values.",
            OCTETS_BODY,
            (404, 431),
            parameters=(_NUMBER,),
            content_type=OCTETS,
        ),
    },
    "/quarantine/restore": {
        "post": operation(
            "Write one of these values anew.", _WRITTEN, (*_STATUSES, 507), body=NumberBody
        )
    },
    "/quarantine/discard": {
        "post": operation(
            "Forget one of these values.", {"type": "object"}, (*_STATUSES, 507), body=NumberBody
        )
    },
}


class BackupRoutes:
    """GET /export, POST /import, GET /quarantine and /quarantine/value, POST /quarantine/restore
    and /quarantine/discard."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node = node
        self._answers = answers
        self._value_bytes_max = node.config.value_bytes_max
        self._timeout_s = node.config.http_body_timeout_s
        self._exporting = asyncio.Lock()

    async def export(self, request: web.BaseRequest, query: str) -> Answer:
        """All entries of one moment, as an archive. One at a time: each remembers what changes
        meanwhile."""
        if self._exporting.locked():
            raise RequestError(
                409, "this node is being exported already", "wait for it, or ask another node"
            )
        return self._answers.download(
            self._archive(self._node.snapshot()), "Content-Type: application/x-ndjson\r\n"
        )

    async def _archive(
        self, snapshot: AsyncGenerator[list[tuple[str, bytes]], None]
    ) -> AsyncGenerator[bytes, None]:
        writer = Writer()
        async with self._exporting, aclosing(snapshot):
            yield writer.head(self._node.config.cluster, self._node.name, read_clocks().wall_ms)
            async for portion in snapshot:
                if portion:
                    yield writer.lines(portion)
            yield writer.last()

    async def import_(self, request: web.BaseRequest, query: str) -> Answer:
        """Merges lines of an archive, all or, where one is damaged, none; with as_new=true it
        writes their values anew."""
        refuse_foreign_page(request)
        as_new = _boolean(parameters(query, ("as_new",)).get("as_new", "false"))
        body = await read_body(
            request, IMPORT_BYTES_MIN + 2 * self._value_bytes_max, self._timeout_s
        )
        try:
            entries = parse_lines(list(split_lines(body)), self._value_bytes_max)
        except ArchiveError as error:
            raise RequestError(
                400,
                str(error),
                error.hint or "nothing was changed; send lines of entries of an export",
            ) from None
        outcomes = await self._node.restore(entries, as_new=as_new)
        counts = Counter(outcome.value for outcome in outcomes)
        return self._answers.json(
            200, {"entries": len(entries), "outcomes": dict(sorted(counts.items()))}
        )

    async def quarantine(self, request: web.BaseRequest, query: str) -> Answer:
        """What is in quarantine, without the values, a page at a time."""
        asked = parameters(query, ("after",))
        page = self._node.quarantine.page(asked.get("after", ""), PAGE)
        document = {
            "values": [_described(suspect) for suspect in page],
            "after": page[-1].number if len(page) == PAGE else None,
        }
        return self._answers.json(200, document)

    async def value(self, request: web.BaseRequest, query: str) -> Answer:
        """The raw bytes of one value in quarantine."""
        suspect = self._node.quarantine.get(parameters(query, ("number",)).get("number", ""))
        return self._answers.octets(
            200,
            suspect.entry.value,
            f"Content-Type: {OCTETS}\r\nKV-Version: {suspect.entry.version}\r\n",
        )

    async def restore(self, request: web.BaseRequest, query: str) -> Answer:
        """Writes a value in quarantine anew, under its key, and takes it out of there. Never over a
        newer value."""
        told = await read_command(request, NumberBody, NUMBER_HINT, self._timeout_s)
        key = self._node.quarantine.get(told.number).entry.key
        if self._node.get(key) is not None:
            hint = (
                "`kvgossip quarantine show` prints the old value: put it yourself, or "
                "`kvgossip quarantine discard` it"
            )
            raise RequestError(409, f"there is a newer value under {key!r}", hint)
        entry = await self._node.restore_quarantined(told.number)
        return self._answers.json(200, {"key": entry.key, "version": str(entry.version)})

    async def discard(self, request: web.BaseRequest, query: str) -> Answer:
        """Forgets a value in quarantine."""
        told = await read_command(request, NumberBody, NUMBER_HINT, self._timeout_s)
        await self._node.discard_quarantined(told.number)
        return self._answers.json(200, {"number": told.number, "discarded": True})


def _described(suspect: Suspect) -> dict[str, Any]:
    entry = suspect.entry
    return {
        "number": suspect.number,
        "key": entry.key,
        "bytes": len(entry.value or b""),
        "content_type": entry.content_type,
        "version": str(entry.version),
        "deleted_says": suspect.peer,
        "wall_ms": suspect.wall_ms,
    }


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise RequestError(400, f"{text!r} is neither true nor false")
    return text == "true"
