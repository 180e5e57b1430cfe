"""Settling: the moment at which a replica has caught up once, and answers reads as truth
(protocol.md section 8).

Laws
- A life settles by any pool: by an exchange with a settled member of either; or, in a fresh
  cluster, when all its join addresses, of both pools, have answered and exchanged. So the first
  nodes of a new datacenter wait for the data of the others, not for each other.
- A life that is configured to join nobody, and whose disk knows no members, is settled at once; so
  is one whose earlier life was.
- A life that rebuilds lost data is settled by a settled member alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from kvgossip.protocol.effect import Settled
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.outbox import Outbox


class JoiningPool(Protocol):
    """A pool, as far as joining it settles a replica."""

    @property
    def join_targets(self) -> JoinTargets: ...

    @property
    def known_peers(self) -> KnownPeers: ...


class Settling:
    """`own_facts()` are the facts about this life that have changed since they were last asked
    for."""

    def __init__(
        self,
        *,
        was_settled: bool,
        rebuilding: bool,
        targets: bool,
        pools: Sequence[JoiningPool],
        own_facts: Callable[[], Iterable[Persist]],
        outbox: Outbox,
    ) -> None:
        self.settled = was_settled
        #: the data of this node was lost, and only a settled member may say that it is back
        self.rebuilding = rebuilding
        #: true if there is somebody to join
        self._targets = targets
        self._pools, self._own_facts, self._outbox = pools, own_facts, outbox

    def begin(self) -> None:
        """The pools are there: a founder is settled before its first input."""
        known = any(pool.known_peers.absent for pool in self._pools)
        self.settled = self.settled or not (known or self._targets or self.rebuilding)

    def rebuild(self) -> None:
        """Data of this node turns out to be lost: before its first input."""
        self.settled, self.rebuilding = False, True

    @property
    def sync_state(self) -> SyncState:
        """The sync state that peers see: how much this replica's answers are worth."""
        if self.settled:
            return SyncState.SETTLED
        answered = all(pool.join_targets.all_answered() for pool in self._pools)
        return SyncState.FRESH if self._may_settle_fresh and answered else SyncState.WAITING

    @property
    def _may_settle_fresh(self) -> bool:
        return self._targets and not self.rebuilding

    def settle(self) -> None:
        """Take the data of this node as the truth. Harmless when repeated."""
        if not self.settled:
            self.settled = True
            # a commit of its own, where nothing else is going to be written
            self._outbox.emit(Settled(), *self._own_facts())

    def introduced(self) -> None:
        """A join address turned out to be our own: perhaps there is no other one."""
        if self._all_exchanged():
            self.settle()

    def exchanged(self, peer: Peer, sync_state: SyncState) -> None:
        """An exchange with this peer completed: perhaps this node waited for that."""
        for pool in self._pools:
            pool.join_targets.exchanged(peer.name, sync_state)
        if sync_state is SyncState.SETTLED or self._all_exchanged():
            self.settle()

    def _all_exchanged(self) -> bool:
        return self._may_settle_fresh and all(
            pool.join_targets.all_exchanged() for pool in self._pools
        )
