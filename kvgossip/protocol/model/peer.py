"""Peer: somebody in a pool, and which pools a node may be in."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class PoolKind(Enum):
    """Which of a node's pools: all nodes of its datacenter, or, on a gateway, the gateways of all
    datacenters.

    Each has sockets of its own. Inputs and effects that concern the network say which they mean.
    """

    LAN = "lan"
    WAN = "wan"


class Peer(NamedTuple):
    """Whom a name means: names are unique in a pool."""

    pool: PoolKind
    name: str
