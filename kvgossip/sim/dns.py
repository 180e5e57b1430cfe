"""DNS of the simulator: where each host is, or was before it went down."""

from __future__ import annotations

from collections.abc import Sequence

from kvgossip.config import Address
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.sim.host import Host
from kvgossip.sim.layout import Layout

DELAY_S = (0.001, 0.02)
"""A look-up takes from so long to so long, virtual seconds."""


def addresses_of(
    target: str, pool: PoolKind, hosts: Sequence[Host], layout: Layout
) -> list[Address]:
    """The addresses of a join target. A name of many hosts does not have the dead."""
    named = [hosts[number] for number in layout.named(target)]
    return [
        host.address if pool is PoolKind.LAN else host.wan_address
        for host in named
        if not host.dead or len(named) == 1
    ]
