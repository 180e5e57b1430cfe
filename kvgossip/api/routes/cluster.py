"""/members, /status, /rtt, /healthz, /readyz, and what an operator asks of a node: /doctor, /join,
/leave, /settle, /block, /unblock, /force-leave, /keyring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from kvgossip import __version__
from kvgossip.api.http.body import Command, read_command, refuse_foreign_page
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RETRY_AFTER, RequestError
from kvgossip.api.http.openapi import Paths, Schema, fields, operation, parameter
from kvgossip.api.http.request_target import parameters
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.lanes.overload import ALIVE
from kvgossip.protocol.key_rotation import ids_of
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.message import Holding
from kvgossip.runtime.node import CONVERGE_TIMEOUT_S
from kvgossip.runtime.pending.survey import Comparison

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

CONVERGE_TIMEOUT_MAX_S = 60.0
KEYRING_HINT = (
    'send {"action": "install", "key": 64 hexadecimal digits} or {"action": "use" or '
    '"remove", "key": the 8 digits of its id}'
)
BLOCK_HINT = 'send {"target": "NAME"} or {"target": "10.2.0.0/16"}'


class JoinBody(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /join takes. `wan`: the addresses are of gateways, and this node joins their
    pool."""

    addresses: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=300)]], Meta(min_length=1, max_length=64)
    ]
    wan: bool = False


class BlockBody(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /block and POST /unblock take: a member's name, an IP address, or a network in CIDR
    notation."""

    target: Annotated[str, Meta(min_length=1, max_length=200)]


class ForceLeaveBody(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /force-leave takes."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    prune: bool = False


class KeyringBody(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /keyring takes. `key`: the key to install, or the id of the one to use or
    remove."""

    action: Literal["install", "use", "remove"]
    key: Annotated[str, Meta(max_length=64)]


BODIES = (JoinBody, BlockBody, ForceLeaveBody, KeyringBody)
_COMMAND_STATUSES = (403, 404, 408, 409, 413, 431)
_OBJECT: Schema = {"type": "object"}
_BLOCKED = fields(blocked={"type": "array", "items": {"type": "string"}})
_NODES = fields(nodes={"type": "array", "items": {"type": "object"}}, complete={"type": "boolean"})
_ENDS = (
    parameter("query", "from", {"type": "string"}, "a member; default this node"),
    parameter("query", "to", {"type": "string"}, "a member; required"),
)
PATHS: Paths = {
    "/members": {
        "get": operation(
            "Who is in the cluster, by pool.", fields(members={"type": "array", "items": _OBJECT})
        )
    },
    "/status": {"get": operation("What this node knows of itself, with all counters.", _OBJECT)},
    "/converge": {
        "get": operation(
            "Who has the same data as this node, and by how many keys the others differ.",
            fields(equal={"type": "boolean"}, members={"type": "array", "items": _OBJECT}),
            parameters=(
                parameter(
                    "query",
                    "timeout",
                    {"type": "string"},
                    "how long to wait for their answers: 500ms, 2s",
                ),
            ),
        )
    },
    "/rtt": {
        "get": operation(
            "The estimated round trip between two members.", _OBJECT, (404,), parameters=_ENDS
        )
    },
    "/doctor": {
        "post": operation(
            "The nodes look at each other, and say what is wrong.", _OBJECT, _COMMAND_STATUSES
        )
    },
    "/healthz": {"get": operation("200 while the process lives.", fields(status={"const": "ok"}))},
    "/readyz": {
        "get": operation(
            "200 once reads are answered as truth, 503 before.", fields(settled={"const": True})
        )
    },
    "/join": {
        "post": operation(
            "Join through any of these addresses.", _OBJECT, _COMMAND_STATUSES, body=JoinBody
        )
    },
    "/leave": {
        "post": operation(
            "Leave the cluster; the agent ends.", fields(left={"const": True}), _COMMAND_STATUSES
        )
    },
    "/settle": {
        "post": operation("Say that what this node has is the truth.", _OBJECT, _COMMAND_STATUSES)
    },
    "/block": {
        "post": operation(
            "Drop all that comes from a member or a network.",
            _BLOCKED,
            _COMMAND_STATUSES,
            body=BlockBody,
        )
    },
    "/unblock": {
        "post": operation("Take a block back.", _BLOCKED, _COMMAND_STATUSES, body=BlockBody)
    },
    "/force-leave": {
        "post": operation(
            "Declare a member left that does not answer.",
            _OBJECT,
            _COMMAND_STATUSES,
            body=ForceLeaveBody,
        )
    },
    "/keyring": {
        "get": operation(
            "Who has which keys of the keyring: their ids.", _NODES, _COMMAND_STATUSES
        ),
        "post": operation(
            "Install, use or remove a key on all nodes.",
            _NODES,
            _COMMAND_STATUSES,
            body=KeyringBody,
        ),
    },
}


class ClusterRoutes:
    """Questions about the cluster and commands to this node. `left` is set once the node has left
    on request: then the process may end.

    `watching` tells of those who watch over HTTP, `connections` of all connections.
    """

    def __init__(
        self,
        node: Node,
        answers: Answers,
        watching: Callable[[], dict[str, Any]],
        connections: Callable[[], dict[str, int]],
    ) -> None:
        self._node = node
        self._answers = answers
        self._watching, self._connections = watching, connections
        self.left = asyncio.Event()

    async def healthz(self, request: web.BaseRequest, query: str) -> Answer:
        """200 as long as the process answers."""
        return self._answers.json(200, ALIVE)

    async def readyz(self, request: web.BaseRequest, query: str) -> Answer:
        """200 once reads are answered as truth, 503 before."""
        if self._node.settled:
            return self._answers.json(200, {"settled": True})
        hint = (
            "the node answers reads once it has exchanged with a settled member, or after "
            "`kvgossip settle`"
        )
        document = {"error": "the node has not settled yet", "hint": hint, "settled": False}
        return self._answers.json(503, document, RETRY_AFTER)

    async def members(self, request: web.BaseRequest, query: str) -> Answer:
        """The members of the own datacenter; on a gateway then those of the WAN pool, which has
        addresses of its own."""
        pools = {PoolKind.LAN: self._node.members(), PoolKind.WAN: self._node.gateways()}
        told = [self._member(member, pool) for pool, members in pools.items() for member in members]
        return self._answers.json(200, {"members": told})

    async def status(self, request: web.BaseRequest, query: str) -> Answer:
        told = {"watching": self._watching(), "connections": self._connections()}
        return self._answers.json(200, {"version": __version__, **self._node.status(), **told})

    async def rtt(self, request: web.BaseRequest, query: str) -> Answer:
        """The round trip between two members, `from` (this node, where it is left out) and `to`."""
        told = parameters(query, ("from", "to"))
        if "to" not in told:
            raise RequestError(400, "whom to?", "ask for /rtt?to=NAME, or /rtt?from=NAME&to=NAME")
        return self._answers.json(
            200, await self._node.round_trip(told.get("from") or self._node.name, told["to"])
        )

    async def doctor(self, request: web.BaseRequest, query: str) -> Answer:
        """Examines the cluster through this node: who reaches whom, whose clock is wrong, what else
        is."""
        refuse_foreign_page(request)
        return self._answers.json(200, await self._node.doctor())

    async def converge(self, request: web.BaseRequest, query: str) -> Answer:
        """Which members have the same data as this node, and by how many keys the others differ;
        ?timeout= is how long to wait for them."""
        asked = parameters(query, ("timeout",))
        timeout_s = (
            duration_s("timeout", asked["timeout"], CONVERGE_TIMEOUT_MAX_S)
            if "timeout" in asked
            else CONVERGE_TIMEOUT_S
        )
        told = await self._node.converge(timeout_s)
        alive = [each for each in told if each.state <= MemberState.SUSPECT]
        document = {
            "equal": all(each.equal for each in alive),
            "root": f"{self._node.root:016x}",
            "asked": self._node.name,
            "members": [_compared(each) for each in told],
        }
        return self._answers.json(200, document)

    async def join(self, request: web.BaseRequest, query: str) -> Answer:
        """Joins through any of these addresses; answers when a member has answered, or with the
        reason why none did."""
        told = await self._command(request, JoinBody, 'send {"addresses": ["HOST:PORT", ...]}')
        await self._node.join(*told.addresses, wan=told.wan)
        return self._answers.json(
            200,
            {
                "joined": True,
                "members": len(self._node.gateways() if told.wan else self._node.members()),
            },
        )

    async def leave(self, request: web.BaseRequest, query: str) -> Answer:
        """Leaves the cluster gracefully; the agent process ends after this answer."""
        refuse_foreign_page(request)
        await self._node.leave()
        self.left.set()
        return self._answers.json(200, {"left": True})

    async def settle(self, request: web.BaseRequest, query: str) -> Answer:
        """An operator's word that what this node has may be answered as truth."""
        refuse_foreign_page(request)
        self._node.settle()
        return self._answers.json(200, {"settled": self._node.settled})

    async def block(self, request: web.BaseRequest, query: str) -> Answer:
        """From now on this node drops everything of a member, an address or a network."""
        told = await self._command(request, BlockBody, BLOCK_HINT)
        self._node.block(told.target)
        return self._answers.json(200, {"blocked": self._node.status()["blocked"]})

    async def unblock(self, request: web.BaseRequest, query: str) -> Answer:
        told = await self._command(request, BlockBody, BLOCK_HINT)
        self._node.unblock(told.target)
        return self._answers.json(200, {"blocked": self._node.status()["blocked"]})

    async def force_leave(self, request: web.BaseRequest, query: str) -> Answer:
        """Declares a member left that does not answer; with "prune" everybody forgets it."""
        told = await self._command(
            request, ForceLeaveBody, 'send {"name": NAME, "prune": true|false}'
        )
        self._node.force_leave(told.name, prune=told.prune)
        return self._answers.json(200, {"name": told.name, "pruned": told.prune})

    async def keyring(self, request: web.BaseRequest, query: str) -> Answer:
        """Who has which keys, on all nodes of all datacenters: ids, and no keys."""
        return self._holdings(await self._node.rotate())

    async def change_keyring(self, request: web.BaseRequest, query: str) -> Answer:
        """Installs, uses or removes a key on all nodes; answers what they have then."""
        try:
            told = await self._command(request, KeyringBody, KEYRING_HINT)
        except RequestError as error:
            # what does not fit may be a key: show nothing of it
            raise (
                RequestError(error.status, "the order does not fit", KEYRING_HINT)
                if error.status == 400
                else error
            ) from None
        return self._holdings(await self._node.rotate(told.action, told.key))

    def _holdings(self, found: list[Holding]) -> Answer:
        nodes = [
            {
                "name": held.name,
                "datacenter": held.datacenter,
                "answered": held.answered,
                "primary": next(iter(ids_of(held)), None),
                "keys": ids_of(held),
                "problem": held.problem,
            }
            for held in found
        ]
        return self._answers.json(
            200, {"nodes": nodes, "complete": not any(held.problem for held in found)}
        )

    async def _command(self, request: web.BaseRequest, kind: type[Command], hint: str) -> Command:
        return await read_command(request, kind, hint, self._node.config.http_body_timeout_s)

    def _member(self, member: Member, pool: PoolKind) -> dict[str, Any]:
        way = self._node.round_trip_to(member, pool)
        return {
            **_record(member, pool),
            "self": member.name == self._node.name,
            "blocked": self._node.is_blocked(member),
            **way,
        }


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
    # A node that serves HTTP on all its addresses tells the port only: its host is the one that
    # peers reach.
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
