"""Packets: the laws of every one that a replica sends, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable

from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Send
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.frame import frame_bytes_max, is_refusal, is_sealed
from kvgossip.sim.checks.violation import require
from kvgossip.sim.layout import Layout


class PacketCheck:
    """A packet keeps its limit and its pool, and is sealed where all are."""

    def __init__(
        self, layout: Layout, config: Config, owner_of: Callable[[Address], int | None]
    ) -> None:
        self._layout = layout
        self._datagram_bytes_max = config.datagram_bytes_max
        self._frame_bytes_max = frame_bytes_max(config)
        #: The node that has an address; None for strangers and for the ends of links.
        self._owner_of = owner_of

    def check(self, sender: int, effect: Send, *, sealed: bool) -> None:
        """Raises BrokenLawError. `sender` is the number of the node, `sealed`: it has a keyring."""
        size = len(effect.data)
        limit = self._frame_bytes_max if effect.reliable else self._datagram_bytes_max
        if size > limit:
            require(False, "a packet is longer than its limit", size, limit, effect.reliable)
        if self._layout.datacenters > 1 or effect.pool is PoolKind.WAN:
            self._stays_in_its_pool(sender, effect)
        require(
            is_sealed(effect.data) == sealed or is_refusal(effect.data),
            "a frame that is not sealed as all are",
        )

    def _stays_in_its_pool(self, sender: int, effect: Send) -> None:
        """Datacenters meet through gateways only. The ends of links are known by the addresses that
        were dialled."""
        layout, owner = self._layout, self._owner_of(effect.to)
        if effect.pool is PoolKind.WAN:
            among_gateways = layout.is_gateway(sender) and (
                owner is None or layout.is_gateway(owner)
            )
            require(among_gateways, "a WAN packet of or to no gateway", effect.to)
        elif owner is not None:
            inside = layout.datacenter_of(owner) == layout.datacenter_of(sender)
            require(inside, "a LAN packet leaves its datacenter", effect.to)
