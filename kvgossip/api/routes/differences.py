"""/differences and /exchange: the keys that differ from a member, what it has under one, and an
exchange with it now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answer, Answers, sendable
from kvgossip.api.http.route import (
    Body,
    Call,
    Family,
    Parameter,
    Route,
    key_in_path,
    prefix_in_query,
)
from kvgossip.api.http.schema import (
    NUMBER,
    OCTETS,
    POOL,
    TEXT,
    WHOLE,
    YES_OR_NO,
    many,
    named,
    or_null,
)
from kvgossip.api.routes.cluster import COMMAND_STATUSES
from kvgossip.api.routes.history import WRITE, WRITE_EXAMPLE, written
from kvgossip.api.routes.kv import limit_in
from kvgossip.protocol.anti_entropy.objections import Objection
from kvgossip.protocol.model.entry import Entry, Version
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.wire.message import Notice
from kvgossip.runtime.reports.differences import Difference

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

LIMIT = 100
_MEMBER = Parameter("query", "member", TEXT, "the name of the member")
_REASON = named("Objection", code=TEXT, text=TEXT, hint=TEXT)
_SIDE = or_null(named("DifferingWrite", **WRITE))
_DIFFERENCE = named(
    "Difference",
    key=TEXT,
    newer={"enum": ["here", "there"]},
    here=_SIDE,
    there=_SIDE,
    why=or_null(_REASON),
)
_DIFFERENCES = named(
    "Differences",
    asked=TEXT,
    member=TEXT,
    pool=POOL,
    keys=or_null(WHOLE),
    precision={"enum": ["exact", "estimate", "at_least"]},
    whole=YES_OR_NO,
    unreadable=WHOLE,
    unequal_s=or_null(NUMBER),
    why=many(_REASON),
    differences=many(_DIFFERENCE),
)
_EXAMPLE = {
    "asked": "web-1", "member": "web-2", "pool": "lan", "keys": 1, "precision": "exact",
    "whole": True, "unreadable": 0, "unequal_s": 12.5, "why": [],
    "differences": [
        {"key": "config/theme", "newer": "here", "here": WRITE_EXAMPLE, "there": None, "why": None}
    ],
}  # fmt: skip


class ExchangeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /exchange."""

    member: Annotated[str, Meta(min_length=1, max_length=200)]


class DifferenceRoutes(Family):
    """GET /differences, GET /differences/{key} and POST /exchange."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def differences(self, call: Call) -> Answer:
        """The keys under the prefix that differ from a member, without their values: what each of
        the two has, and why the other one does not take what is newer. Nothing is repaired."""
        member, prefix = _member_in(call), call.query.get("prefix", "")
        found = await self._node.differences(member, prefix, limit_in(call.query, LIMIT))
        return self._answers.json(
            200,
            {
                "asked": self._node.name,
                "member": member,
                "pool": found.peer.pool.value,
                "keys": found.keys,
                "precision": found.precision.name.lower(),
                "whole": found.whole,
                "unreadable": found.unreadable,
                "unequal_s": None if found.unequal_s is None else round(found.unequal_s, 3),
                "why": [_reason(each) for each in found.why],
                "differences": [self._difference(each) for each in found.found],
            },
        )

    async def value(self, call: Call) -> Answer:
        """The raw value that the member has under the key, whether it differs or not."""
        member, key = _member_in(call), decode_key(call.key)
        entry = await self._node.entry_at(member, key)
        if entry is None:
            return self._answers.problem(404, f"{member} has nothing under this key", "")
        head = f"KV-Version: {entry.version}\r\n"
        if entry.value is None:
            text = f"{member} has a delete of this key"
            return self._answers.json(404, {"error": text, "hint": "", "deleted": True}, head)
        return self._answers.value(entry.value, sendable(entry.content_type), head)

    async def exchange(self, call: Call) -> Answer:
        """Exchanges with the member now; answers when that is over."""
        member = (await call.command(ExchangeBody)).member
        over = await self._node.exchange(member)
        return self._answers.json(
            200,
            {
                "member": member,
                "pool": over.peer.pool.value,
                "completed": over.completed,
                "took_ms": round(1000 * over.took_s, 3),
                "trips": over.trips,
                "found": over.found,
                "bytes": over.found_bytes,
            },
        )

    def _difference(self, each: Difference) -> dict[str, Any]:
        return {
            "key": each.key,
            "newer": each.newer,
            "here": self._side(each.here),
            "there": self._side(each.there),
            "why": None if each.why is None else _reason(each.why),
        }

    def _side(self, side: Entry | Notice | None) -> dict[str, Any] | None:
        if side is None:
            return None
        if isinstance(side, Entry):
            return written(side, self._node.writer(side.version))
        version = Version(side.timestamp, side.site)
        return {
            "version": str(version),
            "written_ms": milliseconds_of(version.timestamp),
            "by": self._node.writer(version),
            "site": f"{version.site:016x}",
            "deleted": False,
            "content_type": None,
            "bytes": side.size,
        }

    ROUTES = (
        Route(
            "GET",
            "/differences",
            differences,
            Right.READ,
            "The keys that differ from a member: what each of the two has, and why the other one "
            "does not take it.",
            _DIFFERENCES,
            (404, 504),
            example=_EXAMPLE,
            scope=prefix_in_query,
            parameters=(
                _MEMBER,
                Parameter("query", "prefix", TEXT, "what the keys start with"),
                Parameter(
                    "query",
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": 1000},
                    "how many keys at most; 100 unless given",
                ),
            ),
        ),
        Route(
            "GET",
            "/differences/{key}",
            value,
            Right.READ,
            "The raw value that a member has under a key.",
            OCTETS,
            (404, 504),
            content_type="*/*",
            scope=key_in_path,
            parameters=(Parameter("path", "key", TEXT, "as in /kv/{key}"), _MEMBER),
        ),
        Route(
            "POST",
            "/exchange",
            exchange,
            Right.OPERATE,
            "Exchange with a member now, and say what that brought.",
            named(
                "Exchange",
                member=TEXT,
                pool=POOL,
                completed=YES_OR_NO,
                took_ms=NUMBER,
                trips=WHOLE,
                found=WHOLE,
                bytes=WHOLE,
            ),
            (*COMMAND_STATUSES, 504),
            body=Body(ExchangeBody, 'send {"member": "NAME"}', example={"member": "web-2"}),
            example={
                "member": "web-2",
                "pool": "lan",
                "completed": True,
                "took_ms": 3.2,
                "trips": 2,
                "found": 1,
                "bytes": 120,
            },
        ),
    )


def _member_in(call: Call) -> str:
    member = call.query.get("member", "")
    if not member:
        raise RequestError(400, "member= is missing", "name a member: /members shows who is known")
    return member


def _reason(objection: Objection) -> dict[str, str]:
    return objection._asdict()
