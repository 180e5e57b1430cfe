"""Tombstones: the mechanism by which deletes stay deleted (protocol.md section 6), over one store.
Refusing, collecting and expiring, and the times up to which each member is known to hold
everything.

Laws
- A tombstone leaves the store only when the version vector covers it (or `forget_after_s` has
  passed): whatever it had killed is then covered as well. A version that leaves the store, or is
  too old to enter it, is covered from then on.
- An entry that is offered, that is covered, and that supersedes what is here, was here before and
  was collected: it is refused, and the peer that offers it takes it out. A write that the deleter
  had not seen is not covered: it lives.
- What is taken out on another's word: see drops.py.
- Contexts are not believed beyond what can be true: no fact counts beyond this node's own time.
- An entry expires on each node by its own clock (expiry.py). An expired entry is kept and
  collected as a tombstone is: it keeps away what it had superseded. But it is collected only when
  its time has come by the clocks of peers too; and what has expired for others stays where it has
  not yet.

Members that count (protocol.md says: every known member, alive, suspect or dead, but not
forgotten). Of a member its present life counts: it may have lost what an earlier one had. Those
that an earlier life of this node knew, and this one has not met yet, count as well. Not:
- a member that has left: its operator, or it itself, said that it goes. Should it come back, what
  the cluster deleted meanwhile is refused.
- a member that is blocked here: an operator's word too; nothing comes from it anyway, and after it
  is unblocked it is as one that was away.

Gateways answer for what lies behind them (vouching.py). So equal roots prove that a plain member
holds all that is here; of a gateway they prove nothing.

Deviation from the model: a covered entry is refused also where something older is here, which came
after the collection from somebody whom the deleter had not heard. The model would let the deleted
one replace it.

When tombstones go: in rounds that begin at the same times by the wall clocks of all, so that most
nodes drop them together, and roots differ no longer than need be. A node that is late
learns so by the first exchange.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from kvgossip.config import Config
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    MUST_GO,
    TYPED,
    Version,
    is_dead,
    may_expire,
    version_of,
)
from kvgossip.protocol.model.hlc import HybridLogicalClock, milliseconds_of, timestamp_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.collection import NOTHING, TombstoneCollection
from kvgossip.protocol.tombstones.drops import Drops
from kvgossip.protocol.tombstones.expiry import Expiry
from kvgossip.protocol.tombstones.fact import Fact, Kind, encoded, fact_timestamp, until
from kvgossip.protocol.tombstones.set_back import SetBack
from kvgossip.protocol.tombstones.typed_drops import TypedDrops
from kvgossip.protocol.tombstones.vouching import GatewayWord
from kvgossip.protocol.typed.body import versions_in

ROUND_SETTLINGS = 5
# so that none has collected anything since: tables are moved well where the rest has gone
TIDY_ROUNDS = 1.5
PAUSE_S = 0.002
_WAITS = MUST_GO | TYPED


class MembersPort(Protocol):
    """The members of all pools, as far as tombstones wait for them."""

    def holders(self) -> Sequence[Member]:
        """All members that count."""

    def absent(self) -> bool:
        """True if an earlier life knew members that this one has not met."""

    def cool(self, key: str) -> None:
        """The rumors of this key are to spread no further."""


class Tombstones:
    """Deletes and expiry of one replica. `site` is this life's; `set_back` hears what shows that
    this machine was set back. `durable`: this node has a disk."""

    def __init__(
        self,
        config: Config,
        site: int,
        store: Store,
        hlc: HybridLogicalClock,
        members: MembersPort,
        clocks: ClockGuard,
        outbox: Outbox,
        counters: Counter[str],
        set_back: SetBack,
        *,
        durable: bool,
    ) -> None:
        self.context = CausalContext(site)
        self._drift_ms = int(config.clock_drift_max_s * 1000)
        self.collecting = TombstoneCollection(config, store, self.context, self._drift_ms)
        self._members, self.set_back = members, set_back
        self.drops = Drops(
            store,
            self.context,
            self.collecting,
            members,
            clocks,
            self._drift_ms,
            outbox,
            counters,
            durable=durable,
        )
        self._store, self._hlc, self._outbox, self._counters = store, hlc, outbox, counters
        self._clocks = clocks
        self.expiry = Expiry(store, clocks, self._drift_ms, outbox, self._expired, self._revived)
        self.typed_drops = TypedDrops(
            store, self.context, self.collecting, self.drops, outbox, self._left
        )
        #: writes that take over these dots of former lives under a key (former_lives.py)
        self.adopt: Callable[[str, Sequence[bytes], Now], object] = lambda key, dots, now: None
        self._gateway = config.gateway
        self._word = GatewayWord(self._confirmed_behind)
        #: how long a round of collection takes at least
        self._round_s = max(ROUND_SETTLINGS * config.rumor_settling_s, 0.1)
        #: the time at which the round, or its next batch, is due, monotonic seconds; -inf: plan it
        #: at the first tick
        self._next_round_s = math.inf
        self._in_round = False
        #: the time at which to look for room to give back, monotonic seconds
        self._tidy_s = math.inf
        #: the time that `clock` has named last: the next arrival is later
        self._sealed = -1

    @property
    def site(self) -> int:
        return self.context.site

    # -- this node's clock ------------------------------------------------------------------------

    def clock(self) -> int:
        """The time that stands for all that has arrived here until now: the next arrival is
        later."""
        self._sealed = self._hlc.latest
        return self._sealed

    def _arrive(self) -> int:
        if self._hlc.latest <= self._sealed:
            self._hlc.latest = self._sealed + 1
        return self._hlc.latest

    # -- merging ----------------------------------------------------------------------------------

    def refuses(self, key: str, record: bytes) -> bool:
        """True if this is an entry that was here, and was collected. A tombstone is so only if it
        could go here: a dot alone may be a lie, which would keep it out here and elsewhere in."""
        version = record[1:HEAD_BYTES]
        if not (self.context.covers_dot(version) and self._is_news(key, version)):
            return False
        wall_ms = milliseconds_of(self._hlc.latest)
        return not is_dead(record) or self.collecting.knows_about(version_of(record), wall_ms)

    def expired_ms(self, now: Now) -> int:
        """By then at the latest this node may have collected anything for its expiry: of what it
        has collected, what was to live longer was deleted."""
        return max(self._clocks.expiry_ms(now), self.drops.expired_ms)

    def has_collected(self, key: str, version: Version) -> bool:
        return self.context.covers(version) and self._is_news(key, encoded(version))

    def _is_news(self, key: str, version: bytes) -> bool:
        mine = self._store.record(key)
        return mine is None or mine[1:HEAD_BYTES] < version

    def merged(self, changed: Changed, now: Now) -> None:
        """The store has taken a record."""
        key, old, new = changed
        if self.drops.hearsay:
            self.drops.superseded(key, new)
        if old is not None:
            if old[0] & TYPED:
                self._joined(old, new)
            else:
                self.context.add_record(old)
            if old[0] & _WAITS:
                self.collecting.discard(key, old)
        if new[0] & _WAITS:
            self._holds(key, new, now)

    def _joined(self, old: bytes, new: bytes) -> None:
        """A typed record was here: what it held and the new one does not has gone."""
        held = OrderedSet(versions_in(new))
        for version in versions_in(old):
            if version not in held:
                self.context.add(version)

    def _left(self, key: str, old: bytes, now: Now) -> None:
        """Something has gone from the typed record under this key."""
        self.collecting.discard(key, old)
        new = self._store.record(key)
        if new is None:
            self._members.cool(key)
        elif is_dead(new) or self._store.is_expired(key) or self.collecting.waits(new):
            self._wait(key, now)

    def _holds(self, key: str, record: bytes, now: Now) -> None:
        if is_dead(record) or self.collecting.waits(record):
            self._wait(key, now)
        if may_expire(record) and not is_dead(record):
            self.expiry.holds(key, record, now)

    def _wait(self, key: str, now: Now) -> None:
        self.collecting.add(key, self._arrive())
        if self._next_round_s == math.inf:
            self._plan_round(now)

    def _expired(self, key: str, now: Now) -> None:
        self._members.cool(key)
        if self._store[key][0] & TYPED:  # perhaps it has waited to be pruned
            self.collecting.discard(key, self._store[key])
        self._wait(key, now)

    def _revived(self, key: str, record: bytes) -> None:
        self.collecting.discard(key, record)
        if self.collecting.waits(record):
            self._wait_on(key)

    def _wait_on(self, key: str) -> None:
        """As `_wait`; the first tick plans the round."""
        self.collecting.add(key, self._arrive())
        self._next_round_s = -math.inf

    # -- contexts and what members hold -----------------------------------------------------------

    def facts(self, now: Now) -> list[Fact]:
        """The context as an exchange that begins now tells it."""
        return self.drops.sure(self.context.facts(self.clock()), now)

    def show_set_back(self, facts: Sequence[Fact], peer: str, now: Now) -> bool:
        """True if a peer's context has more of the own site than there is. Then another life may
        have begun."""
        lost = self.context.lost_in(facts, self._hlc.latest)
        if lost is None:
            return False
        self.set_back.found(lost, peer, now)
        return True

    def begin_life(self, site: int, lost: int) -> None:
        """From now on this is the life `site`: nothing that members held for the one before
        counts."""
        former = self.context.site
        self.context.begin_life(site, lost)
        self.collecting.begin_life(self._arrive(), former)
        self._word.begin_life()

    def learn(self, facts: Sequence[Fact], peer: str, now: Now) -> bool:
        """An exchange with this peer has completed. If it was whole, these facts of the peer's
        context are true of this one too: but nothing is, beyond this node's own time. Of those that
        are farther ahead than clocks may be none is believed, nor those that came with them."""
        if facts and not self._clocks.takes(fact_timestamp(max(facts)), now):
            self._counters["contexts_refused"] += 1
            return False
        members = self._members.holders()
        present = OrderedSet(member.site for member in members)
        latest = max(self._hlc.latest, timestamp_of(now.wall_ms) - 1)
        believed, from_the_future = until(facts, latest)
        self._counters["facts_from_the_future"] += from_the_future
        ended = self.collecting.end_gaps(now.wall_ms).to_bytes(8, "big")
        believed = [fact for fact in believed if fact[16] != Kind.GAP or fact[:8] >= ended]
        self.collecting.former.has_exchanged = True
        self.drops.confirm(believed, peer)
        if self.context.join(believed, present) and self._gateway:
            seen, clock = self.context.seen, self.clock()
            self._word.note(clock, {site: seen[site] for site in present if site in seen})
        return True

    def held_for(self, member: Member) -> int:
        """The time, of this member's clock, up to which this node, and all that lies behind it,
        holds what had reached the member."""
        if not self._gateway:
            return self.context.seen.get(member.site, 0)
        return self._word.held_for(member)

    def _confirmed_behind(self, gateways: bool) -> int | None:
        if self._members.absent():
            return None
        behind = [other for other in self._members.holders() if other.gateway is gateways]
        return self.collecting.confirmed_by(behind, self._hlc.latest)

    def heard(self, member: Member, held: int, root: int) -> None:
        """A member holds all that had arrived here at this time of our clock, and has this root."""
        clock = min(held, self._hlc.latest)
        if root == self._store.digest.root and not member.gateway:
            clock = self.clock()
        self.collecting.heard(member.site, clock)

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        look_s = self.expiry.look_s
        nearest_s = self._next_round_s if self._next_round_s < look_s else look_s
        return nearest_s if nearest_s < self._tidy_s else self._tidy_s

    def tick(self, now: Now, *, settled: bool) -> None:
        self.expiry.tick(now)
        if now.monotonic_s >= self._tidy_s:
            self._tidy_s = now.monotonic_s + PAUSE_S if self._store.tidy() else math.inf
        if self._next_round_s == -math.inf:
            self._plan_round(now)
        elif now.monotonic_s >= self._next_round_s:
            self._collect(now, settled)

    def _plan_round(self, now: Now) -> None:
        self._next_round_s = now.monotonic_s + self._round_s - now.wall_ms / 1000 % self._round_s

    def _collect(self, now: Now, settled: bool) -> None:
        if not self._in_round:
            able = settled and not self._clocks.is_ahead(now)
            self._in_round = able and not self._members.absent()
            members = self._members.holders()
            self.collecting.begin(
                members, self.collecting.confirmed_by(members, self.clock()), now.wall_ms
            )
        ripe = NOTHING
        if self._in_round:
            ripe = self.collecting.next_batch(self._clocks.earliest_ms(now))
        for key in ripe.keys:
            self.drops.drop(key)
        for key, left in ripe.pruned:
            self.typed_drops.prune(key, left, now)
        for key, dots in ripe.orphaned:
            self.adopt(key, dots, now)
        if ripe.keys:
            self._tidy_s = now.monotonic_s + TIDY_ROUNDS * self._round_s
        self._counters["certificates_collected"] += len(ripe.keys)
        self._in_round = ripe.more
        if ripe.more:
            self._next_round_s = now.monotonic_s + PAUSE_S
        elif len(self.collecting):
            self._plan_round(now)
        else:
            self._next_round_s = math.inf

    # -- the disk ---------------------------------------------------------------------------------

    def expect(self, keys: int) -> None:
        """About so many keys are on the disk. The first tick sees to the room of those that did not
        come."""
        self._store.expect(keys)
        self._tidy_s = -math.inf

    def loaded(self, key: str, record: bytes) -> None:
        """The store has taken this from the disk. The first tick does what is to be done about
        it."""
        if is_dead(record) or self.collecting.waits(record):
            self._wait_on(key)
        if may_expire(record) and not is_dead(record):
            self.expiry.loaded(key, record)

    def checkpoint(self) -> list[Persist]:
        """For every commit, also the first one, before any input (disk_condition.py)."""
        return [self.context.own_entry(), *self.context.take_changes(), *self.context.take_dots()]

    def take_changes(self, *, commits: bool) -> list[Persist]:
        """The changes of the context since the last call, for the disk. `commits`: the same input
        makes a driver commit anyway; where nothing does, dots that have come ask for it."""
        changes = self.context.take_changes()
        if self.context.dots_came() and not (changes or commits):
            return [self.context.own_entry()]
        return changes

    # -- questions --------------------------------------------------------------------------------

    def late(self) -> list[str]:
        """The names of the members for which the oldest tombstone waits."""
        return self.collecting.late(self._members.holders())

    def statistics(self) -> dict[str, int]:
        context = self.context
        return {
            "writes": context.writes,
            "certificates_waiting": len(self.collecting),
            "drops_waiting": len(self.drops.fuse),
            "context_rows": len(context.vector),
            "context_dots": len(context.dots),
            "context_gaps": len(context.gaps),
        }
