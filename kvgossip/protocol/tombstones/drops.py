"""Drops: what this replica takes out of its store on another's word, which says that it held the
entry once, and has collected it since.

Laws
- A live value goes to the quarantine, counted, and each dropping is one WARNING with the peer's
  name. One member's word takes out so many, and no more (fuse.py). A tombstone, or an entry that
  has expired, goes in silence, and only where the version vector covers it here as well. An entry
  that is still served goes neither way once its time has come, as where a clock was just set
  forward: first watchers hear that it has expired.
- With its word a member says by which time at the latest it may have collected anything for its
  expiry: a value that is to live longer was deleted. One that is not, and is live here, stays: its
  time has not come by this node's clock. That of the member may have been set back since.
- The word is one that a member gave to an offer of ours: in an exchange that both are in, over its
  link, of entries that were offered there (responder.py, scheduler.py); or as feedback to a rumor.
- What was dropped so is hearsay: refused here from now on, but not as collected, and what this
  replica tells of its context ends before it. So a false word makes no third node drop anything.
  Whoever holds it hears of a true word from others, too. If somebody still offers it after
  DOUBT_S, the word was false, or does not reach them but through here: then it is taken again, and
  doubted no more if it is dropped a second time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.effect import Dropped, Quarantined
from kvgossip.protocol.model.entry import HEAD_BYTES, TYPED, Version, expires_in, may_expire
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.collection import TombstoneCollection
from kvgossip.protocol.tombstones.fact import VERSION, Fact, Kind, fact_of
from kvgossip.protocol.tombstones.fuse import Fuse
from kvgossip.protocol.typed.body import type_in, versions_in

HEARSAY_MAX = 131_072
HEARSAY_S = 30.0
"""By then whoever is connected has exchanged; and while it lasts no entry goes out that others need
for their tombstones."""
DOUBT_S = 10.0


class MembersPort(Protocol):
    def holders(self) -> Sequence[Member]:
        """All members that count."""

    def cool(self, key: str) -> None:
        """The rumors of this key are to spread no further."""


class Verdict(Enum):
    """What hearsay says of an entry that is offered: refuse it, or take it again."""

    NONE = "none"
    REFUSE = "refuse"
    TAKE = "take"


class Hearsay(NamedTuple):
    """The peer whose word it is, until when it is remembered, and from when on an offer is taken:
    inf before the first. Monotonic seconds."""

    peer: str
    end_s: float
    taken_s: float = math.inf


class Drops:
    """Clocks may be `drift_ms` apart. `durable`: this node has a disk."""

    def __init__(
        self,
        store: Store,
        context: CausalContext,
        collecting: TombstoneCollection,
        members: MembersPort,
        clocks: ClockGuard,
        drift_ms: int,
        outbox: Outbox,
        counters: Counter[str],
        *,
        durable: bool,
    ) -> None:
        self.fuse = Fuse(store, members, outbox, counters, durable=durable)
        self._store, self._context, self._collecting = store, context, collecting
        self._members, self._outbox, self._counters = members, outbox, counters
        self._clocks, self._drift_ms = clocks, drift_ms
        #: the latest time of all expired entries that were collected here, in whichever life,
        #: milliseconds since 1970
        self.expired_ms = 0
        #: by version, as records have it; the oldest first
        self.hearsay: dict[bytes, Hearsay] = {}
        #: by key, the version that was dropped there last
        self._dropped: Newest[str, bytes] = Newest(HEARSAY_MAX)
        #: versions that were taken again
        self._taken: Newest[bytes, None] = Newest(HEARSAY_MAX)

    # -- what was dropped -------------------------------------------------------------------------

    def judge(self, record: bytes, now: Now) -> Verdict:
        """Whether a record that a peer offers was dropped on another's word; to be asked where
        there is any hearsay."""
        return self.judge_version(record[1:HEAD_BYTES], now)

    def judge_version(self, version: bytes, now: Now) -> Verdict:
        """`judge` for a version, or a dot, as records have it."""
        heard = self.hearsay.get(version)
        if heard is None:
            return Verdict.NONE
        if now.monotonic_s >= min(heard.taken_s, heard.end_s):
            del self.hearsay[version]
            self._taken[version] = None
            return Verdict.TAKE
        if heard.taken_s == math.inf:
            self.hearsay[version] = heard._replace(taken_s=now.monotonic_s + DOUBT_S)
        return Verdict.REFUSE

    def superseded(self, key: str, record: bytes) -> None:
        """This record was merged: what was dropped there before, and is older, has gone indeed,
        whoever still offers it; to be called where there is any hearsay."""
        version = self._dropped.get(key)
        if version is not None and version < record[1:HEAD_BYTES]:
            del self._dropped[key]
            if self.hearsay.pop(version, None) is not None:
                self._context.add(Version(*VERSION.unpack(version)))

    def confirm(self, facts: Sequence[Fact], peer: str) -> None:
        """An exchange with this peer has completed, of whose context these facts were new: what it
        covers, and has not offered, is hearsay no more, if the word was another's."""
        if not self.hearsay:
            return
        covered = {fact[8:16]: fact[:8] for fact in facts if fact[16] == Kind.VECTOR_ENTRY}
        dots = OrderedSet(fact[:16] for fact in facts if fact[16] == Kind.DOT)
        for version, heard in list(self.hearsay.items()):
            covers = covered.get(version[8:], b"") >= version[:8] or version in dots
            if covers and heard.peer != peer and heard.taken_s == math.inf:
                del self.hearsay[version]

    def sure(self, facts: list[Fact], now: Now) -> list[Fact]:
        """The facts of this replica's context without what is hearsay."""
        while self.hearsay and next(iter(self.hearsay.values())).end_s <= now.monotonic_s:
            del self.hearsay[next(iter(self.hearsay))]
        if not self.hearsay:
            return facts
        first: dict[bytes, bytes] = {}
        for version in self.hearsay:
            first[version[8:]] = min(version[:8], first.get(version[8:], version[:8]))
        sure: list[Fact] = []
        for fact in facts:
            bound = first.get(fact[8:16])
            if bound is None or fact[16] not in (Kind.VECTOR_ENTRY, Kind.DOT) or fact[:8] < bound:
                sure.append(fact)
            elif fact[16] == Kind.VECTOR_ENTRY:
                before = int.from_bytes(bound, "big") - 1
                sure.append(fact_of(before, int.from_bytes(fact[8:16], "big"), fact[16]))
        return sorted(sure, reverse=True)

    # -- dropping ---------------------------------------------------------------------------------

    def in_exchange(self, fingerprints: Iterable[int], peer: str, expired_ms: int, now: Now) -> int:
        """Take out the entries that this peer has collected, perhaps for an expiry of up to
        `expired_ms`; returns how many there were."""
        tombstones, values = list[str](), list[str]()
        for key in self._store.find(fingerprints).values():
            record = self._store[key]
            if not self._is_deleted_or_expired(key, record, expired_ms, now):
                if type_in(record) is None:  # of one that joins, parts go (typed_drops.py)
                    values.append(key)
            elif self._store.is_deleted_or_expired(key, record) and self._collecting.may_drop(
                record, self._clocks.earliest_ms(now)
            ):
                tombstones.append(key)
        for key in tombstones:
            self.drop(key)
        return len(tombstones) + self._quarantine(values, peer, now)

    def as_rumors(
        self, rumors: Iterable[tuple[str, bytes]], peer: str, expired_ms: int, now: Now
    ) -> None:
        """The same of rumors, as key and version: but a tombstone goes only with the context of an
        exchange."""
        values = []
        for key, version in rumors:
            record = self._store.record(key)
            if (
                record is not None
                and type_in(record) is None
                and record[1:HEAD_BYTES] == version
                and not self._is_deleted_or_expired(key, record, expired_ms, now)
            ):
                values.append(key)
        self._quarantine(values, peer, now)

    def _is_deleted_or_expired(self, key: str, record: bytes, expired_ms: int, now: Now) -> bool:
        """Also an entry that has expired by the time that the peer tells which speaks of it, by the
        clocks of most peers, or will as soon as this node's clock has caught up with others'."""
        return self._store.is_deleted_or_expired(key, record) or (
            may_expire(record) and (expires_in(record) or 0) <= self.clock_ms(expired_ms, now)
        )

    def clock_ms(self, expired_ms: int, now: Now) -> int:
        """What expires by then may have been collected for that elsewhere."""
        return max(expired_ms, self._clocks.latest_ms(now)) + self._drift_ms

    def _quarantine(self, keys: list[str], peer: str, now: Now) -> int:
        versions = [self._store[key][1:HEAD_BYTES] for key in keys]
        admitted = self.fuse.admit(versions, peer, now)
        keys = [key for key, may in zip(keys, admitted, strict=True) if may]
        if not keys:
            return 0
        for key in keys:
            record = self._store.remove(key)
            self._outbox.emit(Quarantined(key, record, peer))
            version = record[1:HEAD_BYTES]
            if version not in self._taken:
                self._dropped.pop(key, None)
                self._dropped[key] = version
            self.note([version], peer, now)
            self._forget(key, record)
        self.warn(len(keys), keys, peer)
        return len(keys)

    def note(self, versions: Iterable[bytes], peer: str, now: Now) -> None:
        """These, as records have them, were dropped on the word of this peer."""
        for version in versions:
            if version in self._taken:
                self._context.add(Version(*VERSION.unpack(version)))
            else:
                self.hearsay[version] = Hearsay(peer, now.monotonic_s + HEARSAY_S)
        while len(self.hearsay) > HEARSAY_MAX:
            del self.hearsay[next(iter(self.hearsay))]

    def warn(self, count: int, keys: Sequence[str], peer: str) -> None:
        """So many values of these keys went to the quarantine."""
        self._counters["entries_quarantined"] += count
        shown = ", ".join(repr(key) for key in keys[:3]) + (", ..." if len(keys) > 3 else "")
        self._outbox.log(
            "WARNING",
            f"{count} live values that {peer!r} says were deleted went to the quarantine: "
            f"{shown} (`kvgossip quarantine list`)",
        )

    def drop(self, key: str) -> None:
        """Take out what this replica may drop by its own context."""
        if self._store.is_expired(key):
            self.expired_ms = max(self.expired_ms, expires_in(self._store[key]) or 0)
        record = self._store.remove(key)
        if record[0] & TYPED:
            for version in versions_in(record):
                self._context.add(version)
        else:
            self._context.add_record(record)
        self._forget(key, record)

    def _forget(self, key: str, record: bytes) -> None:
        self._collecting.discard(key, record)
        self._members.cool(key)
        self._outbox.emit(Dropped(key, record))
