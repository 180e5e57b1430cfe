"""/join, /leave, /settle, /block, /unblock, /force-leave and /keyring: the orders of an
operator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Body, Call, Family, Route
from kvgossip.api.http.schema import TEXT, WHOLE, YES_OR_NO, many, named, or_null
from kvgossip.protocol.key_rotation import ids_of
from kvgossip.protocol.wire.message import Holding

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

KEYRING_HINT = (
    'send {"action": "install", "key": 64 hexadecimal digits} or {"action": "use" or '
    '"remove", "key": the 8 digits of its id}'
)


class JoinBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /join. `wan`: the addresses are of gateways, and this node joins their
    pool. `merge`: where they are of another cluster, the two become one."""

    addresses: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=300)]], Meta(min_length=1, max_length=64)
    ]
    wan: bool = False
    merge: bool = False


class BlockBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /block and POST /unblock: a member's name, an IP address, or a network in
    CIDR notation."""

    target: Annotated[str, Meta(min_length=1, max_length=200)]


class ForceLeaveBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /force-leave."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    prune: bool = False


class KeyringBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /keyring. `key`: the key to install, or the id of the one to use or
    remove."""

    action: Literal["install", "use", "remove"]
    key: Annotated[str, Meta(max_length=64)]


COMMAND_STATUSES = (403, 404, 408, 409, 413, 431)
_JOIN = Body(
    JoinBody,
    'send {"addresses": ["HOST:PORT", ...]}',
    example={"addresses": ["10.0.0.5:7481"], "wan": False, "merge": False},
)
_BLOCK = Body(
    BlockBody,
    'send {"target": "NAME"} or {"target": "10.2.0.0/16"}',
    example={"target": "10.2.0.0/16"},
)
_FORCE_LEAVE = Body(
    ForceLeaveBody,
    'send {"name": NAME, "prune": true|false}',
    example={"name": "web-7", "prune": False},
)
_KEYRING = Body(KeyringBody, KEYRING_HINT, example={"action": "use", "key": "1f2e3d4c"})
_BLOCKED = named("Blocked", blocked=many(TEXT))
_BLOCKED_EXAMPLE = {"blocked": ["10.2.0.0/16"]}
_HOLDER = named(
    "KeyringOfNode",
    name=TEXT,
    datacenter=TEXT,
    answered=YES_OR_NO,
    primary=or_null(TEXT),
    keys=many(TEXT),
    problem=or_null(TEXT),
)
_NODES = named("Keyrings", nodes=many(_HOLDER), complete=YES_OR_NO)
_NODES_EXAMPLE = {
    "nodes": [
        {"name": "web-1", "datacenter": "dc1", "answered": True, "primary": "1f2e3d4c",
         "keys": ["1f2e3d4c"], "problem": ""}
    ],
    "complete": True,
}  # fmt: skip


class ClusterRoutes(Family):
    """Commands to a node. `left` is set once it has left on request: then the process may end."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers
        self.left = asyncio.Event()

    async def join(self, call: Call) -> Answer:
        """Joins through any of these addresses; answers when a member has answered, or with the
        reason why none did."""
        command = await call.command(JoinBody)
        await self._node.join(*command.addresses, wan=command.wan, merge=command.merge)
        members = self._node.gateways() if command.wan else self._node.members()
        return self._answers.json(200, {"joined": True, "members": len(members)})

    async def leave(self, call: Call) -> Answer:
        """Leaves the cluster gracefully; the agent process ends after this answer."""
        await self._node.leave()
        self.left.set()
        return self._answers.json(200, {"left": True})

    async def settle(self, call: Call) -> Answer:
        """An operator's word that what this node has may be answered as truth."""
        self._node.settle()
        return self._answers.json(200, {"settled": self._node.settled})

    async def block(self, call: Call) -> Answer:
        """From now on this node drops everything of a member, an address or a network."""
        self._node.block((await call.command(BlockBody)).target)
        return self._answers.json(200, {"blocked": self._node.status()["blocked"]})

    async def unblock(self, call: Call) -> Answer:
        self._node.unblock((await call.command(BlockBody)).target)
        return self._answers.json(200, {"blocked": self._node.status()["blocked"]})

    async def force_leave(self, call: Call) -> Answer:
        """Declares a member left that does not answer; with "prune" everybody forgets it."""
        command = await call.command(ForceLeaveBody)
        self._node.force_leave(command.name, prune=command.prune)
        return self._answers.json(200, {"name": command.name, "pruned": command.prune})

    async def keyring(self, call: Call) -> Answer:
        """The ids of the keys that each node of each datacenter has, and no keys."""
        return self._holdings(await self._node.rotate())

    async def change_keyring(self, call: Call) -> Answer:
        """Installs, uses or removes a key on all nodes; answers what they have then."""
        try:
            command = await call.command(KeyringBody)
        except RequestError as error:
            # text that does not fit may be a key: show nothing of it
            raise (
                RequestError(error.status, "the order does not fit", KEYRING_HINT)
                if error.status == 400
                else error
            ) from None
        return self._holdings(await self._node.rotate(command.action, command.key))

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

    ROUTES = (
        Route(
            "POST",
            "/join",
            join,
            Right.OPERATE,
            "Join through any of these addresses.",
            named("Joined", joined={"const": True}, members=WHOLE),
            COMMAND_STATUSES,
            body=_JOIN,
            example={"joined": True, "members": 3},
        ),
        Route(
            "POST",
            "/leave",
            leave,
            Right.OPERATE,
            "Leave the cluster; the agent ends.",
            named("Left", left={"const": True}),
            COMMAND_STATUSES,
            example={"left": True},
        ),
        Route(
            "POST",
            "/settle",
            settle,
            Right.OPERATE,
            "Say that what this node has is the truth.",
            named("Settled", settled=YES_OR_NO),
            COMMAND_STATUSES,
            example={"settled": True},
        ),
        Route(
            "POST",
            "/block",
            block,
            Right.OPERATE,
            "Drop all that comes from a member or a network.",
            _BLOCKED,
            COMMAND_STATUSES,
            body=_BLOCK,
            example=_BLOCKED_EXAMPLE,
        ),
        Route(
            "POST",
            "/unblock",
            unblock,
            Right.OPERATE,
            "Take a block back.",
            _BLOCKED,
            COMMAND_STATUSES,
            body=_BLOCK,
            example=_BLOCKED_EXAMPLE,
        ),
        Route(
            "POST",
            "/force-leave",
            force_leave,
            Right.OPERATE,
            "Declare a member left that does not answer.",
            named("ForcedToLeave", name=TEXT, pruned=YES_OR_NO),
            COMMAND_STATUSES,
            body=_FORCE_LEAVE,
            example={"name": "web-7", "pruned": False},
        ),
        Route(
            "GET",
            "/keyring",
            keyring,
            Right.OPERATE,
            "Who has which keys of the keyring: their ids.",
            _NODES,
            COMMAND_STATUSES,
            local=True,
            example=_NODES_EXAMPLE,
        ),
        Route(
            "POST",
            "/keyring",
            change_keyring,
            Right.OPERATE,
            "Install, use or remove a key on all nodes.",
            _NODES,
            COMMAND_STATUSES,
            local=True,
            body=_KEYRING,
            example=_NODES_EXAMPLE,
        ),
    )
