"""Settling: the moment at which a life has caught up, and answers reads as truth (protocol.md
section 8).

Laws
- A life settles by any pool, by an exchange with a settled member of either. So the first nodes of
  a new datacenter wait for the data of the others, not for each other.
- Whoever knows nobody waits for a while for somebody who knew it (founding_s), and then founds a
  cluster. Where all join addresses, of both pools, have answered and exchanged, and nobody of them
  is settled, they settle together: after FRESH_FACTOR times as long, since those whom a list of
  seeds does not name may yet come. `found` says that there is nobody.
- Whose disk names members, but who has never settled and is to join nobody, was about to found a
  cluster when it ended: its members wait for it. It looks for a settled one as long as they do, and
  after that any exchange settles it, unless it has seen one.
- A life with the data of a disk is settled at once where that knows nobody and nobody is to be
  joined. Else it asks, and is *stale* until its first exchange: it answers what it has, and says
  that it is stale. For a while it looks for a settled member, then any one will do. While nobody
  answers it is ready, but does not settle.
- A life that rebuilds lost data is settled by a settled member alone.
- An exchange in which something was refused settles nobody: it has not brought everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from kvgossip.config import Config
from kvgossip.protocol.effect import Settled
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.membership.known_peers import KnownPeers
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import NOT_SETTLED, Reason

FRESH_FACTOR = 10
KEPT_EVERY_MS = 10_000
"""An exchange is a commit of its own where the disk knows of none that is younger than this."""
HINT = (
    "the node answers reads once it has exchanged with a settled member, or after `kvgossip settle`"
)


class JoiningPool(Protocol):
    """A pool, as far as joining it settles a replica."""

    @property
    def join_targets(self) -> JoinTargets: ...

    @property
    def known_peers(self) -> KnownPeers: ...

    @property
    def has_company(self) -> bool:
        """True if some other member is reachable."""


class Settling:
    """`was_settled`: an earlier life on this disk was; `found`: the operator says that there is
    nobody to wait for; `kept_ms`: when the disk was written to last, and `exchanged_ms`: when an
    earlier life last completed an exchange, wall time, 0 where none did. `own_facts()` are the
    facts about this life that have changed since they were last asked for; `on_settled()` is called
    when it settles."""

    def __init__(
        self,
        config: Config,
        now: Now,
        *,
        was_settled: bool,
        rebuilding: bool,
        found: bool,
        kept_ms: int,
        exchanged_ms: int,
        pools: Sequence[JoiningPool],
        own_facts: Callable[[], Iterable[Persist]],
        on_settled: Callable[[], None],
        outbox: Outbox,
    ) -> None:
        #: true once this life has caught up
        self.settled = False
        #: true if this node has last known good data of an earlier life
        self.has_data = was_settled and not rebuilding
        #: the data of this node was lost, and only a settled member may say that it is back
        self.rebuilding = rebuilding
        self._config, self._begin_s, self._found = config, now.monotonic_s, found
        self._kept_ms = kept_ms
        #: wall time of the last exchange that completed, in whichever life; 0: none did
        self.exchanged_ms = exchanged_ms
        #: that of which the disk knows
        self._persisted_ms = exchanged_ms
        #: true if there is somebody to join
        self._targets = bool(config.join or config.join_wan)
        self._pools, self._own_facts, self._outbox = pools, own_facts, outbox
        self._on_settled = on_settled
        #: true if some member has said that it is settled
        self._saw_settled = False
        #: true if an exchange of this life has completed, with whomever
        self._exchanged = False
        #: until then this node looks for a settled member, monotonic seconds
        self._looks_until_s = math.inf
        #: true until then
        self._looks = True

    def begin(self) -> None:
        """The pools are there: who has nobody to wait for is settled before its first input."""
        known = any(pool.known_peers.absent for pool in self._pools)
        alone = not (known or self._targets or self.rebuilding)
        founding_s = self._config.founding_s
        if self._found or (alone and (self.has_data or not founding_s)):
            self.settled = True
        elif self.has_data:
            self._looks_until_s = self._begin_s + max(founding_s, self._config.probe_interval_s)
        elif alone:
            self._looks_until_s = self._begin_s + founding_s
        elif self._may_settle_fresh:
            self._looks_until_s = self._begin_s + FRESH_FACTOR * founding_s
        elif self._founds_again:
            looks_s = max(FRESH_FACTOR * founding_s, self._config.probe_interval_s)
            self._looks_until_s = self._begin_s + looks_s
        self._founds = alone and not self.has_data

    # -- questions --------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Data of this node turns out to be lost: before its first input."""
        self.settled, self.has_data, self.rebuilding = False, False, True
        self._founds, self._looks_until_s = False, math.inf

    @property
    def sync_state(self) -> SyncState:
        """The sync state that peers see: how much this replica's answers are worth."""
        if self.settled:
            return SyncState.SETTLED
        answered = all(pool.join_targets.all_answered() for pool in self._pools)
        return SyncState.FRESH if self._may_settle_fresh and answered else SyncState.WAITING

    @property
    def _may_settle_fresh(self) -> bool:
        return self._targets and not self.rebuilding and not self.has_data

    @property
    def _founds_again(self) -> bool:
        """True if nobody is to be joined, and there is no data that was ever settled."""
        return not (self._targets or self.rebuilding or self.has_data)

    @property
    def has_company(self) -> bool:
        """True if some other member is reachable, in whichever pool."""
        return any(pool.has_company for pool in self._pools)

    @property
    def stale(self) -> bool:
        """True if this node has but last known good data: it answers that, and says so."""
        return self.has_data and not self.settled

    def is_cut_off(self, now: Now) -> bool:
        """True if this node has last known good data, has looked for others, and reaches nobody."""
        return self.stale and now.monotonic_s >= self._looks_until_s and not self.has_company

    def stale_s(self, now: Now) -> float | None:
        """How long ago that data was the cluster's, seconds: since the last exchange, or, where
        there never was one, since the last of it was kept. None where this node is not stale."""
        if not self.stale:
            return None
        return max(now.wall_ms - (self.exchanged_ms or self._kept_ms), 0) / 1000

    def not_ready(self, now: Now) -> list[Reason]:
        """The reason for which reads are not answered as truth."""
        if self.settled or self.is_cut_off(now):
            return []
        if self.stale:
            text = "it has the data of its disk, and has not exchanged with its cluster yet"
            return [Reason(NOT_SETTLED, text, HINT)]
        return [Reason(NOT_SETTLED, "it has not caught up with its cluster yet", HINT)]

    def learns_from(self, sync_state: SyncState) -> bool:
        """True if an exchange with a peer in this state would settle this node."""
        if self.settled or sync_state is SyncState.SETTLED:
            return not self.settled
        return not self._looks and (self.has_data or (self._founds_again and not self._saw_settled))

    # -- inputs -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Take the data of this node as the truth. Harmless when repeated."""
        if not self.settled:
            self.settled = True
            # a commit of its own, where nothing else is going to be written
            self._outbox.emit(Settled(), *self._own_facts())
            self._on_settled()

    def saw(self, sync_state: SyncState) -> None:
        """A member has said how much its answers are worth."""
        self._saw_settled |= sync_state is SyncState.SETTLED

    def is_known(self, now: Now) -> None:
        """Somebody whom this life has not met knows this node: it takes a moment to meet."""
        if self._looks:
            wait_s = now.monotonic_s + self._config.founding_s
            self._looks_until_s = max(self._looks_until_s, wait_s)

    def introduced(self) -> None:
        """A join address turned out to be our own: perhaps there is no other one."""
        self._settle_with_the_others()

    def exchanged(
        self, peer: Peer, sync_state: SyncState, now: Now, *, refused: bool = False
    ) -> None:
        """An exchange with this peer completed: perhaps this node waited for that. `refused`:
        something that it brought was not taken."""
        if refused:
            return
        self.exchanged_ms = now.wall_ms
        if abs(self.exchanged_ms - self._persisted_ms) >= KEPT_EVERY_MS:
            self._persisted_ms = self.exchanged_ms
            self._outbox.persist(self._own_facts())
        for pool in self._pools:
            pool.join_targets.exchanged(peer.name, sync_state)
        self._exchanged = True
        if sync_state is SyncState.SETTLED:
            self.settle()
        else:
            self._settle_with_the_others()

    def _settle_with_the_others(self) -> None:
        """Settle where nobody knows more than the others: not while this node looks for somebody
        who does."""
        if self._looks:
            return
        if self.has_data:
            caught_up = self._exchanged
        elif self._founds_again:
            caught_up = self._exchanged and not self._saw_settled
        else:
            caught_up = self._may_settle_fresh and all(
                pool.join_targets.all_exchanged() for pool in self._pools
            )
        if caught_up:
            self.settle()

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Monotonic seconds; infinite where nothing is due."""
        return self._looks_until_s if self._looks and not self.settled else math.inf

    def tick(self, now: Now) -> None:
        """The time to look for others is over: whoever has found somebody settled waits for the
        exchange with that."""
        if now.monotonic_s < self.deadline():
            return
        self._looks = False
        if self._saw_settled:
            return
        if self._founds:
            self.settle()
        else:
            self._settle_with_the_others()
