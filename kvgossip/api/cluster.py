"""/members, /status, /healthz, /readyz, and what an operator asks of a node: /join, /leave, /settle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from kvgossip import __version__
from kvgossip.api.answer import Answer, Answers
from kvgossip.api.body import read_body
from kvgossip.api.errors import RETRY_AFTER_S, RequestError
from kvgossip.protocol.member import Member

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

COMMAND_BYTES_MAX = 64 * 1024


class JoinBody(msgspec.Struct, forbid_unknown_fields=True):
    """What POST /join takes."""

    addresses: Annotated[list[Annotated[str, Meta(min_length=1, max_length=300)]], Meta(min_length=1, max_length=64)]


class ClusterRoutes:
    """Questions about the cluster and commands to this node. `left` is set once the node has left on request: then the process may end."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node = node
        self._answers = answers
        self.left = asyncio.Event()

    async def healthz(self, request: web.BaseRequest, query: str) -> Answer:
        """200 as long as the process answers."""
        return self._answers.json(200, {"status": "ok"})

    async def readyz(self, request: web.BaseRequest, query: str) -> Answer:
        """200 once reads are answered as truth, 503 before."""
        if self._node.settled:
            return self._answers.json(200, {"settled": True})
        hint = "the node answers reads once it has exchanged with a settled member, or after `kvgossip settle`"
        document = {"error": "the node has not settled yet", "hint": hint, "settled": False}
        return self._answers.json(503, document, f"Retry-After: {RETRY_AFTER_S}\r\n")

    async def members(self, request: web.BaseRequest, query: str) -> Answer:
        return self._answers.json(200, {"members": [_member(member, self._node.name) for member in self._node.members()]})

    async def status(self, request: web.BaseRequest, query: str) -> Answer:
        return self._answers.json(200, {"version": __version__, **self._node.status()})

    async def join(self, request: web.BaseRequest, query: str) -> Answer:
        """Joins through any of these addresses; answers when a member has answered, or with the reason why none did."""
        _refuse_foreign_page(request)
        body = await read_body(request, COMMAND_BYTES_MAX)
        try:
            addresses = msgspec.json.decode(body, type=JoinBody).addresses
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(400, f"the body does not fit: {error}", 'send {"addresses": ["HOST:PORT", ...]}') from None
        await self._node.join(*addresses)
        return self._answers.json(200, {"joined": True, "members": len(self._node.members())})

    async def leave(self, request: web.BaseRequest, query: str) -> Answer:
        """Leaves the cluster gracefully; the agent process ends after this answer."""
        _refuse_foreign_page(request)
        await self._node.leave()
        self.left.set()
        return self._answers.json(200, {"left": True})

    async def settle(self, request: web.BaseRequest, query: str) -> Answer:
        """An operator's word that what this node has may be answered as truth."""
        _refuse_foreign_page(request)
        self._node.settle()
        return self._answers.json(200, {"settled": self._node.settled})


def _refuse_foreign_page(request: web.BaseRequest) -> None:
    # A browser lets any web page POST to 127.0.0.1 without asking, but it always names the page's origin.
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
        raise RequestError(
            403, "this request was sent by a page of another site", "commands come from the command line, or from this address"
        )


def _member(member: Member, own_name: str) -> dict[str, Any]:
    # A node that serves HTTP on all its addresses tells the port only: its host is the one that peers reach.
    http = f"{member.host}{member.http}" if member.http.startswith(":") else member.http
    return {
        "name": member.name,
        "state": member.state.name.lower(),
        "address": str(member.address),
        "http": http or None,
        "datacenter": member.datacenter,
        "generation": member.generation,
        "incarnation": member.incarnation,
        "site": f"{member.site:016x}",
        "self": member.name == own_name,
    }
