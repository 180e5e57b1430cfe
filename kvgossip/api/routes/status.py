"""/members, /status, /rtt, /converge, /doctor, /healthz and /readyz: questions about a node and its
cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvgossip import __version__
from kvgossip.api.access.rights import Right
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RETRY_AFTER, RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Family, Parameter, Route
from kvgossip.api.http.schema import (
    NUMBER,
    OBJECT,
    POOL,
    STATE,
    TEXT,
    WHOLE,
    YES_OR_NO,
    many,
    named,
    or_null,
)
from kvgossip.api.lanes.overload import ALIVE
from kvgossip.api.routes.cluster import COMMAND_STATUSES
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.runtime.node import CONVERGE_TIMEOUT_S
from kvgossip.runtime.pending.survey import Comparison

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

CONVERGE_TIMEOUT_MAX_S = 60.0
_MS, _S = or_null(NUMBER), or_null(NUMBER)
_MEMBER = named(
    "Member",
    name=TEXT,
    state=STATE,
    pool=POOL,
    address=TEXT,
    http=or_null(TEXT),
    datacenter=TEXT,
    generation=WHOLE,
    incarnation=WHOLE,
    site=TEXT,
    identity=or_null(TEXT),
    self=YES_OR_NO,
    blocked=YES_OR_NO,
    rtt_ms=_MS,
    rtt_estimate_ms=_MS,
    phi=or_null(NUMBER),
    lag_p50_ms=_MS,
    lag_p99_ms=_MS,
)
_MEMBER_EXAMPLE = {
    "name": "web-1", "state": "alive", "pool": "lan", "address": "10.0.0.5:7481",
    "http": "10.0.0.5:7480", "datacenter": "dc1", "generation": 1730000000000, "incarnation": 0,
    "site": "5d1c9e0f3a7b2468", "identity": None, "self": True, "blocked": False, "rtt_ms": None,
    "rtt_estimate_ms": None, "phi": None, "lag_p50_ms": None, "lag_p99_ms": None,
}  # fmt: skip
_STATUS = named(
    "Status", version=TEXT, name=TEXT, settled=YES_OR_NO, root=TEXT, keys=WHOLE, statistics=OBJECT
)
_STATUS_EXAMPLE = {
    "version": "0.2.0", "name": "web-1", "settled": True, "root": "c3d2a1f0e4b59687", "keys": 12,
    "statistics": {"entries": 12},
}  # fmt: skip
_COMPARED = named(
    "Comparison",
    name=TEXT,
    pool=POOL,
    state=STATE,
    answered=YES_OR_NO,
    equal=YES_OR_NO,
    root=or_null(TEXT),
    keys=or_null(WHOLE),
    precision=or_null({"enum": ["exact", "estimate", "at_least"]}),
    unequal_s=_S,
)
_CONVERGED = named("Convergence", equal=YES_OR_NO, root=TEXT, asked=TEXT, members=many(_COMPARED))
_CONVERGED_EXAMPLE = {
    "equal": True, "root": "c3d2a1f0e4b59687", "asked": "web-1",
    "members": [
        {"name": "web-2", "pool": "lan", "state": "alive", "answered": True, "equal": True,
         "root": "c3d2a1f0e4b59687", "keys": 0, "precision": "exact", "unequal_s": None}
    ],
}  # fmt: skip
_ROUND_TRIP = {
    **named("RoundTrip", measured_ms=_MS, measured_by=or_null(TEXT), note=TEXT),
    "required": ["from", "to", "pool", "measured_ms", "measured_by", "note"],
}
_ROUND_TRIP["properties"] |= {
    "from": TEXT, "to": TEXT, "pool": POOL, "estimate_ms": _MS, "estimate_error": or_null(NUMBER)
}  # fmt: skip
_ROUND_TRIP_EXAMPLE = {
    "from": "web-1", "to": "web-2", "pool": "lan", "estimate_ms": 0.4, "estimate_error": 0.2,
    "measured_ms": 0.3, "measured_by": "web-1", "note": "",
}  # fmt: skip
_FINDING = named("Finding", code=TEXT, pool=TEXT, members=many(TEXT), text=TEXT, command=TEXT)
_EXAMINED = named(
    "ExaminedMember",
    name=TEXT,
    pool=POOL,
    self=YES_OR_NO,
    address=or_null(TEXT),
    state=STATE,
    udp_ms=_MS,
    tcp_ms=_MS,
    clock_offset_s=_S,
    standing=or_null(TEXT),
    gateway=or_null(YES_OR_NO),
)
_EXAMINED_POOL = named(
    "ExaminedPool", pool=POOL, examined=WHOLE, known=WHOLE, observers=WHOLE, took_s=NUMBER
)
_EXAMINATION = named(
    "Examination",
    healthy=YES_OR_NO,
    findings=many(_FINDING),
    members=many(_EXAMINED),
    pairs=many(OBJECT),
    pools=many(_EXAMINED_POOL),
)
_EXAMINATION_EXAMPLE = {
    "healthy": False,
    "findings": [
        {"code": "clock", "pool": "lan", "members": ["web-2"],
         "text": "the clock of web-2 is 4.0 s ahead", "command": ""}
    ],
    "members": [],
    "pairs": [],
    "pools": [{"pool": "lan", "examined": 2, "known": 2, "observers": 2, "took_s": 0.012}],
}  # fmt: skip
_ENDS = (
    Parameter("query", "from", TEXT, "a member; default this node"),
    Parameter("query", "to", TEXT, "a member; required"),
)
_TIMEOUT = Parameter("query", "timeout", TEXT, "how long to wait for their answers: 500ms, 2s")


class StatusRoutes(Family):
    """A node about itself and the others.

    `watching` counts those who watch over HTTP, `connections` all connections; `tokens` says which
    ones are asked for; `tls` tells of the certificate, None where HTTP is plain.
    """

    def __init__(
        self,
        node: Node,
        answers: Answers,
        watching: Callable[[], dict[str, Any]],
        connections: Callable[[], dict[str, int]],
        tokens: Callable[[], dict[str, Any] | None],
        tls: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._node, self._answers, self._tokens, self._tls = node, answers, tokens, tls
        self._watching, self._connections = watching, connections

    async def healthz(self, call: Call) -> Answer:
        """200 as long as the process answers."""
        return self._answers.json(200, ALIVE)

    async def readyz(self, call: Call) -> Answer:
        """200 while this node may be asked; 503 where it should not be, with the reasons to those
        who may ask /status for them."""
        settled, reasons = self._node.settled, self._node.not_ready
        if not reasons:
            return self._answers.json(200, {"settled": settled})
        stranger = not (call.caller.is_guarded or call.client.is_local)
        if stranger or not call.caller.may(Right.METRICS):
            document = {"error": "the node is not ready", "hint": "", "settled": settled}
            return self._answers.json(503, document, RETRY_AFTER)
        document = {
            "error": f"the node is not ready: {'; '.join(reason.text for reason in reasons)}",
            "hint": reasons[0].hint,
            "settled": settled,
            "reasons": [reason._asdict() for reason in reasons],
        }
        return self._answers.json(503, document, RETRY_AFTER)

    async def members(self, call: Call) -> Answer:
        """The members of the own datacenter; on a gateway then those of the WAN pool, which has
        addresses of its own."""
        pools = {PoolKind.LAN: self._node.members(), PoolKind.WAN: self._node.gateways()}
        documents = [
            self._member(member, pool) for pool, members in pools.items() for member in members
        ]
        return self._answers.json(200, {"members": documents})

    async def status(self, call: Call) -> Answer:
        """All that this node knows of itself, with all counters."""
        serving = {
            "watching": self._watching(),
            "connections": self._connections(),
            "tokens": self._tokens(),
            "tls": self._tls(),
        }
        return self._answers.json(200, {"version": __version__, **self._node.status(), **serving})

    async def rtt(self, call: Call) -> Answer:
        """The round trip between two members, `from` (this node, where it is left out) and `to`."""
        one, other = call.query.get("from") or self._node.name, call.query.get("to")
        if other is None:
            raise RequestError(
                400,
                "the parameter to is missing",
                "ask for /rtt?to=NAME, or /rtt?from=NAME&to=NAME",
            )
        return self._answers.json(200, await self._node.round_trip(one, other))

    async def doctor(self, call: Call) -> Answer:
        """Examines the cluster through this node: who reaches whom, whose clock is wrong, and
        so on."""
        return self._answers.json(200, await self._node.doctor())

    async def converge(self, call: Call) -> Answer:
        """Which members have the same data as this node, and by how many keys the others differ;
        ?timeout= is how long to wait for them."""
        timeout_s = (
            duration_s("timeout", call.query["timeout"], CONVERGE_TIMEOUT_MAX_S)
            if "timeout" in call.query
            else CONVERGE_TIMEOUT_S
        )
        compared = await self._node.converge(timeout_s)
        alive = [each for each in compared if each.state <= MemberState.SUSPECT]
        document = {
            "equal": all(each.equal for each in alive),
            "root": f"{self._node.root:016x}",
            "asked": self._node.name,
            "members": [_compared(each) for each in compared],
        }
        return self._answers.json(200, document)

    def _member(self, member: Member, pool: PoolKind) -> dict[str, Any]:
        way = self._node.round_trip_to(member, pool)
        return {
            **_record(member, pool),
            "self": member.name == self._node.name,
            "blocked": self._node.is_blocked(member),
            **way,
            **self._node.lag_of(member),
        }

    ROUTES = (
        Route(
            "GET",
            "/members",
            members,
            Right.METRICS,
            "Who is in the cluster, by pool.",
            named("Members", members=many(_MEMBER)),
            example={"members": [_MEMBER_EXAMPLE]},
        ),
        Route(
            "GET",
            "/status",
            status,
            Right.METRICS,
            "What this node knows of itself, with all counters.",
            _STATUS,
            example=_STATUS_EXAMPLE,
        ),
        Route(
            "GET",
            "/converge",
            converge,
            Right.METRICS,
            "Who has the same data as this node, and by how many keys the others differ.",
            _CONVERGED,
            example=_CONVERGED_EXAMPLE,
            parameters=(_TIMEOUT,),
        ),
        Route(
            "GET",
            "/rtt",
            rtt,
            Right.METRICS,
            "The estimated round trip between two members.",
            _ROUND_TRIP,
            (404,),
            parameters=_ENDS,
            example=_ROUND_TRIP_EXAMPLE,
        ),
        Route(
            "POST",
            "/doctor",
            doctor,
            Right.OPERATE,
            "The nodes look at each other, and say what is wrong.",
            _EXAMINATION,
            COMMAND_STATUSES,
            example=_EXAMINATION_EXAMPLE,
        ),
        Route(
            "GET",
            "/healthz",
            healthz,
            Right.OPEN,
            "200 while the process lives.",
            named("Alive", status={"const": "ok"}),
            example={"status": "ok"},
        ),
        Route(
            "GET",
            "/readyz",
            readyz,
            Right.OPEN,
            "200 while the node may be asked, 503 with the reasons where it should not be.",
            named("Ready", settled=YES_OR_NO),
            example={"settled": True},
        ),
    )


def _compared(each: Comparison) -> dict[str, Any]:
    return {
        "name": each.name,
        "pool": each.pool.value,
        "state": each.state.name.lower(),
        "answered": each.root is not None,
        "equal": each.equal,
        "root": None if each.root is None else f"{each.root:016x}",
        "keys": each.keys,
        "precision": None if each.precision is None else each.precision.name.lower(),
        "unequal_s": None if each.unequal_s is None else round(each.unequal_s, 3),
    }


def _record(member: Member, pool: PoolKind) -> dict[str, Any]:
    # A node that serves HTTP on all its addresses announces the port only: its host is the one
    # that peers reach.
    http = f"{member.host}{member.http}" if member.http.startswith(":") else member.http
    return {
        "name": member.name,
        "state": member.state.name.lower(),
        "pool": pool.value,
        "address": str(member.address),
        "http": http or None,
        "datacenter": member.datacenter,
        "generation": member.generation,
        "incarnation": member.incarnation,
        "site": f"{member.site:016x}",
        "identity": member.identity.hex() or None,
    }
