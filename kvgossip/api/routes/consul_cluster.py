"""/v1/agent, /v1/status, /v1/catalog: the members of the cluster, in Consul's words. The leader of
a node is the node itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvgossip import __version__
from kvgossip.api.access.rights import Right
from kvgossip.api.http.response import Answer
from kvgossip.api.http.route import Call, Family, Handler, Parameter, Route
from kvgossip.api.http.schema import SWITCH
from kvgossip.api.routes.consul_answer import ANYWHERE, FAMILY, ConsulAnswers
from kvgossip.api.routes.consul_form import encoded
from kvgossip.protocol.model.member import Member, MemberState

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_SERF_STATES = {
    MemberState.ALIVE: 1,
    MemberState.SUSPECT: 1,
    MemberState.LEFT: 3,
    MemberState.DEAD: 4,
}
"""Serf's numbers; a suspect is alive there until it is dead."""
_PROTOCOLS = {
    "ProtocolMin": 1,
    "ProtocolMax": 5,
    "ProtocolCur": 2,
    "DelegateMin": 2,
    "DelegateMax": 5,
    "DelegateCur": 4,
}
"""A Consul agent says these of Serf: clients decode them, and they mean nothing here."""
_WAN = Parameter("query", "wan", SWITCH, "the WAN pool is meant")


def _route(path: str, handler: Handler, summary: str) -> Route:
    return Route(
        "GET",
        path,
        handler,
        Right.METRICS,
        summary,
        {},
        (431,),
        parameters=(_WAN, *ANYWHERE),
        counted_as=FAMILY,
    )


class ConsulClusterRoutes(Family):
    """The routes of one node. The answers have the index of the latest change of all."""

    def __init__(self, node: Node, consul: ConsulAnswers) -> None:
        self._node, self._consul = node, consul

    async def members(self, call: Call) -> Answer:
        """The members, in Serf's words; with ?wan, the gateways that this one knows."""
        self._consul.check(call)
        found = self._node.gateways() if call.is_on("wan") else self._node.members()
        return self._json(call, [_member(member) for member in found])

    async def agent_self(self, call: Call) -> Answer:
        """This node, its version and its place."""
        self._consul.check(call)
        node, config = self._node, self._node.config
        own = next(member for member in node.members() if member.name == node.name)
        named = {
            "Datacenter": config.datacenter,
            "NodeName": node.name,
            "Server": True,
            "Revision": "",
            "Version": __version__,
        }
        leads = {"leader": "true", "leader_addr": str(node.address), "server": "true"}
        return self._json(
            call,
            {
                "Config": named,
                "DebugConfig": {},
                "Stats": {"consul": leads},
                "Member": _member(own),
                "Meta": {},
            },
        )

    async def leader(self, call: Call) -> Answer:
        """The node's own address: it needs no other to lead it."""
        self._consul.check(call)
        return self._json(call, str(self._node.address))

    async def peers(self, call: Call) -> Answer:
        """The addresses of all that can be reached, the node's own among them."""
        self._consul.check(call)
        node = self._node
        return self._json(
            call,
            [
                str(node.address if member.name == node.name else member.address)
                for member in node.members()
                if member.reachable
            ],
        )

    async def datacenters(self, call: Call) -> Answer:
        """All that are known, the own one first."""
        self._consul.check(call)
        own = self._node.config.datacenter
        others = {member.datacenter for member in self._node.gateways()} - {own}
        return self._json(call, [own, *sorted(others)])

    def _json(self, call: Call, document: Any) -> Answer:
        text = encoded(document, call.is_on("pretty"))
        return self._consul.json(200, text, self._node.feed.index)

    ROUTES = (
        _route("/v1/agent/members", members, "Consul: Who is in the cluster, in Serf's words."),
        _route("/v1/agent/self", agent_self, "Consul: What this node is."),
        _route(
            "/v1/status/leader",
            leader,
            "Consul: The node's own address: it needs no other to lead it.",
        ),
        _route(
            "/v1/status/peers",
            peers,
            "Consul: The addresses of all that can be reached, the node's own among them.",
        ),
        _route(
            "/v1/catalog/datacenters",
            datacenters,
            "Consul: All that are known, the own one first.",
        ),
    )


def _member(member: Member) -> dict[str, Any]:
    return {
        "Name": member.name,
        "Addr": member.host,
        "Port": member.port,
        "Tags": {
            "dc": member.datacenter,
            "role": "consul",
            "gateway": "true" if member.gateway else "false",
        },
        "Status": _SERF_STATES[member.state],
        **_PROTOCOLS,
    }
