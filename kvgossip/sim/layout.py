"""Layout: the datacenter of each node, the gateways, their names in DNS, and how far apart
datacenters are."""

from __future__ import annotations

from dataclasses import dataclass

from kvgossip.config import GOSSIP_PORT

WAN_OFFSET = 1000
"""A gateway's WAN port is its gossip port and so much."""
WAN_PORT = GOSSIP_PORT + WAN_OFFSET
EVERY_GATEWAY = f"wan.simulated:{WAN_PORT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """The way between two datacenters adds this to every packet: a delay, one way, and a
    probability to be lost."""

    delay_s: float = 0.0
    loss: float = 0.0


NEAR = Far()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Nodes are dealt out to the datacenters in turn; the first `gateways` of each are its
    gateways. One datacenter has none."""

    nodes: int
    datacenters: int = 1
    gateways: int = 1
    far: Far = NEAR

    def datacenter_of(self, node: int) -> int:
        return node % self.datacenters

    def place_of(self, node: int) -> int:
        """How many nodes of its datacenter come before it."""
        return node // self.datacenters

    def is_gateway(self, node: int) -> bool:
        return self.datacenters > 1 and self.place_of(node) < self.gateways

    def nodes_of(self, datacenter: int) -> list[int]:
        return list(range(datacenter, self.nodes, self.datacenters))

    def gateways_of(self, datacenter: int) -> list[int]:
        return [node for node in self.nodes_of(datacenter) if self.is_gateway(node)]

    def between(self, source: int, target: int) -> Far:
        """The way from one node to another; strangers have negative numbers and are near
        everybody."""
        apart = source >= 0 <= target and self.datacenter_of(source) != self.datacenter_of(target)
        return self.far if apart else NEAR

    def named(self, target: str) -> list[int]:
        """The nodes that DNS has under the name of this join address."""
        if target == EVERY_GATEWAY:
            return [node for node in range(self.nodes) if self.is_gateway(node)]
        for datacenter in range(self.datacenters):
            if target == self.everybody_of(datacenter):
                return self.nodes_of(datacenter)
        return [
            node
            for node in range(self.nodes)
            if target in (dns_name(node), dns_name(node, WAN_PORT))
        ]

    def everybody_of(self, datacenter: int) -> str:
        """The join address that stands for all nodes of a datacenter."""
        return f"all{'' if self.datacenters == 1 else datacenter}.simulated:{GOSSIP_PORT}"


def dns_name(node: int, port: int = GOSSIP_PORT) -> str:
    return f"n{node}.simulated:{port}"
