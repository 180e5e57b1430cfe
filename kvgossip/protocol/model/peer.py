"""Peer: a member of one pool; PoolKind: the pools that a node may be in."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class PoolKind(Enum):
    """One of a node's pools: all nodes of its datacenter, or, on a gateway, the gateways of all
    datacenters.

    Each has sockets of its own. Inputs and effects that concern the network say which they mean.
    """

    LAN = "lan"
    WAN = "wan"

    # each datagram looks its pool up, and that of Enum is Python code
    __hash__ = object.__hash__


class Peer(NamedTuple):
    """A name and its pool: names are unique in a pool."""

    pool: PoolKind
    name: str
