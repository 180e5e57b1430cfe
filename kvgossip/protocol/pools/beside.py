"""Beside: the other pool of a gateway, as one of its two pools sees it; of another node there is
none."""

from __future__ import annotations

from kvgossip.config import Address
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.pools.shared import OtherPool, OtherPools


class Beside:
    """`kind` is that of the pool that looks."""

    def __init__(self, kind: PoolKind, pools: OtherPools) -> None:
        self._kind, self._pools = kind, pools

    @property
    def _pool(self) -> OtherPool | None:
        return self._pools.beside(self._kind)

    @property
    def membership(self) -> Membership | None:
        pool = self._pool
        return None if pool is None else pool.membership

    def address(self) -> Address | None:
        """The address at which this node is reached there."""
        membership = self.membership
        return None if membership is None else membership.me.address

    def knows(self, member: Member | None) -> bool:
        """True if one and the same node, a gateway, is a member there, too."""
        membership = self.membership
        if member is None or membership is None:
            return False
        there = membership.members.get(member.name)
        return there is not None and there.site == member.site

    def reaches(self, gateway: Member) -> bool:
        """True if this node reaches this gateway, in its present life, there too."""
        pool = self._pool
        return pool is not None and self.knows(gateway) and pool.is_member(gateway.name)
