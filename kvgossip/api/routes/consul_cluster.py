"""/v1/agent, /v1/status, /v1/catalog: who is in the cluster, in Consul's words. The leader of a
node is the node itself.

The second argument of each: whether the WAN pool is meant, and not the own datacenter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvgossip import __version__
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
"""What a Consul agent tells of Serf: clients decode them, and they mean nothing here."""


def members(node: Node, wan: bool) -> list[dict[str, Any]]:
    """Who is in the cluster, in Serf's words."""
    return [_member(member) for member in (node.gateways() if wan else node.members())]


def agent_self(node: Node, wan: bool) -> dict[str, Any]:
    """What this node is."""
    config = node.config
    own = next(member for member in node.members() if member.name == node.name)
    named = {
        "Datacenter": config.datacenter,
        "NodeName": node.name,
        "Server": True,
        "Revision": "",
        "Version": __version__,
    }
    return {
        "Config": named,
        "DebugConfig": {},
        "Stats": {"consul": {"leader": "true", "leader_addr": str(node.address), "server": "true"}},
        "Member": _member(own),
        "Meta": {},
    }


def leader(node: Node, wan: bool) -> str:
    """The node's own address: it needs no other to lead it."""
    return str(node.address)


def peers(node: Node, wan: bool) -> list[str]:
    """The addresses of all that can be reached, the node's own among them."""
    return [
        str(node.address if member.name == node.name else member.address)
        for member in node.members()
        if member.reachable
    ]


def datacenters(node: Node, wan: bool) -> list[str]:
    """All that are known, the own one first."""
    own = node.config.datacenter
    others = {member.datacenter for member in node.gateways()} - {own}
    return [own, *sorted(others)]


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
