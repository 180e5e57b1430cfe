"""/export, /import and /quarantine: data that goes out of a node as a whole, comes in again, or
waits beside the rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from kvgossip.api.access.rights import Right
from kvgossip.api.archive import ArchiveError, Writer, parse_lines, split_lines
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import OCTET_STREAM, Answer, Answers
from kvgossip.api.http.route import Body, Call, Family, Parameter, Route
from kvgossip.api.http.schema import (
    OCTETS,
    SWITCH,
    TEXT,
    VERSION,
    VERSION_EXAMPLE,
    WHOLE,
    Schema,
    many,
    named,
    or_null,
)
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.entry import timestamp_in, version_of
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.disk.quarantine import Suspect

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

IMPORT_BYTES_MIN = 4 * 2**20
PAGE = 1000
PARSED_A_TURN = 500


class NumberBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /quarantine/restore and POST /quarantine/discard."""

    number: Annotated[str, Meta(max_length=64)]


_NUMBER_EXAMPLE = {"number": "0000018bcfe56800"}
_NUMBERED = Body(
    NumberBody,
    'send {"number": "..."}, as GET /quarantine lists it',
    example=_NUMBER_EXAMPLE,
)
_LINES = Body(OCTETS, bytes_max=lambda config: IMPORT_BYTES_MIN + 2 * config.value_bytes_max)
_STATUSES = (403, 404, 408, 409, 413, 431, 507)
_COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer"}}
_AS_NEW = Parameter("query", "as_new", SWITCH, "write the values anew; default false")
_NUMBER = Parameter("query", "number", TEXT, "as /quarantine lists it; required")
_AFTER = Parameter("query", "after", TEXT, "the number after which a page begins")
_SUSPECT = named(
    "QuarantinedValue",
    number=TEXT,
    key=TEXT,
    bytes=WHOLE,
    content_type=or_null(TEXT),
    version=VERSION,
    deleted_says=TEXT,
    wall_ms=WHOLE,
)
_SUSPECT_EXAMPLE = {
    "number": "0000018bcfe56800", "key": "config/old", "bytes": 4, "content_type": None,
    "version": VERSION_EXAMPLE, "deleted_says": "web-2", "wall_ms": 1730000000000,
}  # fmt: skip
_LISTED = named("Quarantine", values=many(_SUSPECT), after=or_null(TEXT))


class BackupRoutes(Family):
    """GET /export, POST /import, GET /quarantine and /quarantine/value, POST /quarantine/restore,
    /quarantine/discard and /quarantine/confirm."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers
        self._exporting = asyncio.Lock()

    async def export(self, call: Call) -> Answer:
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
            async for batch in snapshot:
                if batch:
                    yield writer.lines(batch)
            yield writer.last()

    async def import_(self, call: Call) -> Answer:
        """Merges lines of an archive, all or, where one is damaged, none; with as_new=true it
        writes their values anew. Lines whose versions lie in the future of this node's clock are
        left out, and named."""
        as_new = call.is_on("as_new")
        lines = list(split_lines(await call.body()))
        entries = list[tuple[str, bytes]]()
        try:
            for start in range(0, len(lines), PARSED_A_TURN):
                entries += parse_lines(
                    lines[start : start + PARSED_A_TURN], call.config.value_bytes_max
                )
                # other clients have their turns
                await asyncio.sleep(0)
        except ArchiveError as error:
            raise RequestError(
                400,
                str(error),
                error.hint or "nothing was changed; send lines of entries of an export",
            ) from None
        outcomes = await self._node.restore(entries, as_new=as_new)
        counts = Counter(outcome.value for outcome in outcomes)
        document = {"entries": len(entries), "outcomes": dict(sorted(counts.items()))}
        wall_ms = read_clocks().wall_ms
        ahead = [
            {
                "line": line,
                "key": key,
                "version": str(version_of(record)),
                "ahead_s": (milliseconds_of(timestamp_in(record)) - wall_ms) / 1000,
            }
            for line, ((key, record), outcome) in enumerate(zip(entries, outcomes, strict=True), 1)
            if outcome is Outcome.REFUSED and milliseconds_of(timestamp_in(record)) > wall_ms
        ]
        return self._answers.json(200, document | ({"ahead": ahead} if ahead else {}))

    async def quarantine(self, call: Call) -> Answer:
        """The list of the quarantine, without the values, a page at a time."""
        page = self._node.quarantine.page(call.query.get("after", ""), PAGE)
        document = {
            "values": [_described(suspect) for suspect in page],
            "after": page[-1].number if len(page) == PAGE else None,
        }
        return self._answers.json(200, document)

    async def value(self, call: Call) -> Answer:
        """The raw bytes of one value in quarantine."""
        suspect = self._node.quarantine.get(call.query.get("number", ""))
        head = f"KV-Version: {suspect.entry.version}\r\n"
        return self._answers.value(suspect.entry.value, OCTET_STREAM, head)

    async def restore(self, call: Call) -> Answer:
        """Writes a value in quarantine anew, under its key, and takes it out of there. Never over a
        newer value."""
        number = (await call.command(NumberBody)).number
        key = self._node.quarantine.get(number).entry.key
        if self._node.get(key) is not None:
            hint = (
                "`kvgossip quarantine show` prints the old value: put it yourself, or "
                "`kvgossip quarantine discard` it"
            )
            raise RequestError(409, f"there is a newer value under {key!r}", hint)
        entry = await self._node.restore_quarantined(number)
        return self._answers.json(200, {"key": entry.key, "version": str(entry.version)})

    async def discard(self, call: Call) -> Answer:
        """Forgets a value in quarantine."""
        number = (await call.command(NumberBody)).number
        await self._node.discard_quarantined(number)
        return self._answers.json(200, {"number": number, "discarded": True})

    async def confirm(self, call: Call) -> Answer:
        """Lets this node drop the live values that one member says were deleted, and that wait."""
        return self._answers.json(200, {"confirmed": self._node.confirm_drops()})

    ROUTES = (
        Route(
            "GET",
            "/export",
            export,
            Right.OPERATE,
            "All entries of one moment, as lines of JSON.",
            OCTETS,
            (409, 431),
            content_type="application/x-ndjson",
        ),
        Route(
            "POST",
            "/import",
            import_,
            Right.OPERATE,
            "Merge lines of an export, all of them or none.",
            named("Imported", entries=WHOLE, outcomes=_COUNTS),
            (403, 408, 413, 431, 507),
            parameters=(_AS_NEW,),
            body=_LINES,
            example={"entries": 2, "outcomes": {"known": 1, "news": 1}},
        ),
        Route(
            "GET",
            "/quarantine",
            quarantine,
            Right.OPERATE,
            "Values that were deleted elsewhere.",
            _LISTED,
            (404, 431),
            parameters=(_AFTER,),
            example={"values": [_SUSPECT_EXAMPLE], "after": None},
        ),
        Route(
            "GET",
            "/quarantine/value",
            value,
            Right.OPERATE,
            "One of these values.",
            OCTETS,
            (404, 431),
            parameters=(_NUMBER,),
            content_type=OCTET_STREAM,
        ),
        Route(
            "POST",
            "/quarantine/restore",
            restore,
            Right.OPERATE,
            "Write one of these values anew.",
            named("Restored", key=TEXT, version=VERSION),
            _STATUSES,
            body=_NUMBERED,
            example={"key": "config/old", "version": VERSION_EXAMPLE},
        ),
        Route(
            "POST",
            "/quarantine/discard",
            discard,
            Right.OPERATE,
            "Forget one of these values.",
            named("Discarded", number=TEXT, discarded={"const": True}),
            _STATUSES,
            body=_NUMBERED,
            example={**_NUMBER_EXAMPLE, "discarded": True},
        ),
        Route(
            "POST",
            "/quarantine/confirm",
            confirm,
            Right.OPERATE,
            "Let this node drop what one member says was deleted.",
            named("Confirmed", confirmed=WHOLE),
            _STATUSES,
            example={"confirmed": 1},
        ),
    )


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
