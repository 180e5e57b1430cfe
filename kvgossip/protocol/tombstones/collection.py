"""TombstoneCollection: the tombstones and expired entries that wait until nobody needs them
any more, and the members for which they wait.

A tombstone that arrived here at time a (of this node's own HLC) may go when
- the version vector covers it: then the context also covers all that its writer had seen, and
  such values are refused from now on (a dot is not enough); or it is older than `forget_after_s`,
  and its writer is no member: it vanished before it had exchanged with anybody, so that no entry of
  the vector will ever come;
- and every member that counts has said that it holds all that had arrived here by a.

The first is for safety, and needs nobody else: a replica that drops a tombstone refuses every entry
that it had killed. The second is for quiet: were it dropped before all have it, those who lack it
would learn by refusals, and would put values into quarantine.

An entry that has expired waits for `drift_ms` more: where a clock is behind it is served until
then, and must not be taken from there.

Arrivals never go back, so one clock, that which all have confirmed, says how far down the list
one may go. A tombstone that all hold, but the vector does not cover, is put aside by its site, and
looked at again when the entry of that site advances.

A typed record waits, live as it may be, while there is anything in it to prune: what it has seen,
and deletes (typed/typed_record.py). It arrives anew with each change, so that what all have
confirmed holds for all of it. Then, as above, what the vector covers goes. One that has expired
goes as a delete of all that it holds does. So waits a counter with subtotals of former lives of
this node (former_lives.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain, islice
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.protocol.model.entry import TYPED, Version, expires_in, may_expire, version_of
from kvgossip.protocol.model.hlc import milliseconds_of, timestamp_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.former_lives import FormerLives
from kvgossip.protocol.typed.body import decode, is_prunable, type_in
from kvgossip.protocol.typed.typed_record import (
    DOT_BYTES,
    TypedRecord,
    pairs_of,
    prune,
    version_of_dot,
)

#: looked at in one input: 0.7 ms; four times as many at a time take 2.5 ms, and all of them three
#: quarters of the time
BATCH = 64
RETRY_MS = 30_000
PART_KEYS_MAX = 16_384


class Waiting:
    """Keys with their arrivals, the oldest first.

    In parts, since a dict from whose front much was taken is searched from its old front on, and
    gives back no room before it grows again. Up to CPython 3.13 the garbage collector does not
    visit dicts of plain values.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: deque[dict[str, int]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def oldest(self) -> int:
        """The first arrival; 0 where nothing waits."""
        return next(iter(self._parts[0].values())) if self._parts else 0

    def add(self, key: str, arrived: int) -> None:
        """`key` is not there, and no arrival is later."""
        if not self._parts or len(self._parts[-1]) >= PART_KEYS_MAX:
            self._parts.append({})
        self._parts[-1][key] = arrived

    def discard(self, key: str) -> bool:
        """True if it was there."""
        for part in self._parts:
            if part.pop(key, None) is not None:
                if not part:
                    self._parts.remove(part)
                return True
        return False

    def keys(self) -> list[str]:
        """All, the oldest first."""
        return [key for part in self._parts for key in part]

    def take(self, limit: int, until: int) -> list[tuple[str, int]]:
        """At most `limit` of those that arrived by then, the oldest first. Nothing: there are no
        more of them."""
        if not self._parts:
            return []
        part = self._parts[0]
        taken = [(key, arrived) for key, arrived in islice(part.items(), limit) if arrived <= until]
        for key, _ in taken:
            del part[key]
        if not part:
            self._parts.popleft()
        return taken


class Ripe(NamedTuple):
    """After a look at a batch: the keys that may go now, by key what is left of typed records of
    which a part may, and by key the dots of former lives that this one may take over. `more`: there
    is more to look at in this round."""

    keys: list[str]
    pruned: list[tuple[str, TypedRecord]]
    orphaned: list[tuple[str, list[bytes]]]
    more: bool


NOTHING = Ripe([], [], [], False)


class TombstoneCollection:
    """The keys that wait, in the order of arrival, and how far down that order one may go."""

    __slots__ = (
        "_again",
        "_aside",
        "_context",
        "_drift_ms",
        "_forget_ms",
        "_held",
        "_looked",
        "_present",
        "_retried_ms",
        "_store",
        "_waiting",
        "confirmed",
        "former",
    )

    def __init__(self, config: Config, store: Store, context: CausalContext, drift_ms: int) -> None:
        self._store, self._context = store, context
        self._forget_ms, self._drift_ms = int(config.forget_after_s * 1000), drift_ms
        self.former = FormerLives(config.name)
        #: keys with their arrivals
        self._waiting = Waiting()
        #: by site, keys that the vector does not cover, or that have just expired
        self._aside: dict[int, dict[str, int]] = {}
        #: by site, its entry of the vector when those aside were looked at
        self._looked: dict[int, int] = {}
        #: keys that were aside, and are looked at again in this round
        self._again: list[dict[str, int]] = []
        #: the last time that all that is aside was looked at, whatever the vector
        self._retried_ms = 0
        #: by life of a member, up to which time of our clock it holds all that arrived here
        self._held: dict[int, int] = {}
        #: the lives of all members when the last round began
        self._present: OrderedSet[int] = OrderedSet()
        #: the time up to which all members that count held everything when the round under way
        #: began
        self.confirmed = 0

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._aside.values())) + sum(map(len, self._again))

    def waits(self, record: bytes) -> bool:
        """True if this record, live as it may be, holds what goes by proof."""
        return is_prunable(record) or bool(self.former.orphans(record))

    def add(self, key: str, arrived: int) -> None:
        """A tombstone has come into the store, an entry there has expired, or a record `waits`."""
        self._waiting.add(key, arrived)

    def discard(self, key: str, record: bytes) -> None:
        """It is in the store no longer."""
        if not self._waiting.discard(key) and (self._aside or self._again):
            # a typed one may lie with the site of any write that it has seen
            sites = list(self._aside) if record[0] & TYPED else [version_of(record).site]
            for site in sites:
                aside = self._aside.get(site, {})
                if aside.pop(key, None) is not None and not aside:
                    del self._aside[site]
            for batch in self._again:
                batch.pop(key, None)

    def begin_life(self, arrived: int, former: int) -> None:
        """All that waits arrived just now, since the clock of this life is another one: nobody has
        confirmed anything of it. `former`: the life until now."""
        self.former.begin_life(former)
        keys = self._waiting.keys()
        for batch in [*self._aside.values(), *self._again]:
            keys += batch
        self._waiting = Waiting()
        self._aside, self._again, self._held, self.confirmed = {}, [], {}, 0
        for key in keys:
            self.add(key, arrived)

    # -- the versions that the members hold -------------------------------------------------------

    def heard(self, site: int, clock: int) -> None:
        """This life of a member holds all that had arrived here by then."""
        if clock > self._held.get(site, 0):
            self._held[site] = clock

    def confirmed_by(self, members: Iterable[Member], clock: int) -> int:
        """The time up to which all of them hold everything; that is everything up to `clock`, where
        there are none."""
        held = self._held
        return min((held.get(member.site, 0) for member in members), default=clock)

    def late(self, members: Iterable[Member]) -> list[str]:
        """The names of the members for which the oldest one waits."""
        oldest = self._waiting.oldest
        return sorted(
            {member.name: None for member in members if self._held.get(member.site, 0) < oldest}
        )

    # -- rounds -----------------------------------------------------------------------------------

    def begin(self, members: Iterable[Member], confirmed: int, wall_ms: int) -> None:
        """A round: `members` are all that are known, `confirmed` what those that count hold."""
        self._present = OrderedSet(member.site for member in members)
        self._held = {site: self._held[site] for site in self._present if site in self._held}
        self.end_gaps(wall_ms)
        self.confirmed = 0 if self._context.gaps else confirmed
        retry = wall_ms - self._retried_ms > min(self._forget_ms // 8, RETRY_MS)
        if retry:
            self._retried_ms = wall_ms
        vector = self._context.vector
        for site in [
            site for site in self._aside if retry or vector.get(site, 0) > self._looked[site]
        ]:
            self._again.append(self._aside.pop(site))

    def end_gaps(self, wall_ms: int) -> int:
        """Of the context, those that are over; returns the time before which all are."""
        over = timestamp_of(wall_ms - self._forget_ms)
        self._context.end_gaps(over)
        return over

    def gap_s(self, wall_ms: int) -> int:
        """For how many seconds at most nothing is collected, since a dot found no room; 0: there is
        no gap."""
        newest = max(self._context.gaps.values(), default=0)
        left_ms = milliseconds_of(newest) + self._forget_ms - wall_ms
        return max(-(-left_ms // 1000), 0) if newest else 0

    def next_batch(self, wall_ms: int) -> Ripe:
        """What may go of the next ones."""
        if not self.confirmed:
            return NOTHING
        if self._again:
            batch = self._again[-1]
            looked = [batch.popitem() for _ in range(min(BATCH, len(batch)))]
            if not batch:
                self._again.pop()
            return self._sort(looked, wall_ms, more=True)
        looked = self._waiting.take(BATCH, self.confirmed)
        return self._sort(looked, wall_ms, more=bool(looked))

    def _sort(self, looked: list[tuple[str, int]], wall_ms: int, *, more: bool) -> Ripe:
        ripe = Ripe([], [], [], more)
        for key, arrived in looked:
            record = self._store[key]
            if arrived <= self.confirmed:
                if self.may_drop(record, wall_ms):
                    ripe.keys.append(key)
                    continue
                typed = self._pruned(record, wall_ms)
                if typed is not None:
                    ripe.pruned.append((key, typed))
                    continue
                orphans = self._proved_orphans(record, wall_ms)
                if orphans:
                    ripe.orphaned.append((key, orphans))
            self._put_aside(self._site_of(record, wall_ms), key, arrived)
        if len(self._looked) > len(self._aside) + BATCH:
            self._looked = {site: self._looked[site] for site in self._aside}
        return ripe

    def _put_aside(self, site: int, key: str, arrived: int) -> None:
        self._aside.setdefault(site, {})[key] = arrived
        self._looked[site] = self._context.vector.get(site, 0)

    def _site_of(self, record: bytes, wall_ms: int) -> int:
        """That of a write for whose entry of the vector this record waits."""
        if type_in(record) is not None:
            typed = decode(record)
            for dot in chain(pairs_of(typed), typed.values):
                version = version_of_dot(dot)
                if not self.knows_about(version, wall_ms):
                    return version.site
        return version_of(record).site

    def _pruned(self, record: bytes, wall_ms: int) -> TypedRecord | None:
        """What is left of a typed record; None where nothing of it may go."""
        if type_in(record) is None:
            return None
        typed = decode(record)
        left, _ = prune(typed, lambda dot: self.knows_about(version_of_dot(dot), wall_ms))
        return None if left is typed else left

    def _proved_orphans(self, record: bytes, wall_ms: int) -> list[bytes]:
        dots = self.former.orphans(record) if self.former.has_exchanged else []
        return [dot for dot in dots if self.knows_about(version_of_dot(dot), wall_ms)]

    def may_drop(self, record: bytes, wall_ms: int) -> bool:
        """True if this replica may drop a tombstone, as far as its own context is concerned."""
        if wall_ms < (expires_in(record) or -self._drift_ms) + self._drift_ms:
            return False
        if record[0] & TYPED and type_in(record) is not None:
            return self._may_prune_all(record, wall_ms)
        return self.knows_about(version_of(record), wall_ms)

    def _may_prune_all(self, record: bytes, wall_ms: int) -> bool:
        """Of a typed one that is deleted, or has expired: then its values are as deletes."""
        typed = decode(record)
        if may_expire(record):
            typed = typed._replace(values=OrderedSet(v[:DOT_BYTES] for v in typed.values))
        return prune(typed, lambda dot: self.knows_about(version_of_dot(dot), wall_ms))[0] is None

    def knows_about(self, version: Version, wall_ms: int) -> bool:
        """True if all that its writer had seen has come here, or never will any more."""
        if self._context.vector_covers(version):
            return True
        # by its version, so that all nodes think alike
        return (
            milliseconds_of(version.timestamp) < wall_ms - self._forget_ms
            and version.site not in self._present
        )
