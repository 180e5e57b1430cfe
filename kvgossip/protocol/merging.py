"""Merging: the one way by which an entry comes into a replica, no matter which side offers it.

    a client's write --+
    a rumor -----------+--> Merging --> Store.merge --> news: Changed, and a rumor in every pool
    an exchange -------+            --> known, refused, or collected before
                                    --> of two that did not know of each other: Conflict

Laws
- A local write and a heard rumor are the same event: both end in `_news`, which merges and emits
  Changed, and become rumors.
- An entry becomes a rumor only by a merge that was news, which happens once a version and node,
  whatever pools it came from: so there is no storm.
- An entry that is news is a rumor in every pool. In the pool that did not bring it, it is spread at
  once: nobody there has heard it yet.
- An entry that an exchange brings is no rumor in that pool, where others see the difference
  themselves (see scheduler.py). In the other pool it is one while fewer than REKINDLED_MAX rumors
  are hot there: a few entries are those that rumors have lost, or one write of an empty moment, and
  as rumors they cross the pool in milliseconds instead of one exchange after the other. Many are a
  cut that has healed: they travel by exchanges, whose cost follows the difference, instead of being
  sent to everybody one by one. A node that catches up kindles nothing.
- An entry that cannot be accepted is counted by reason and costs nothing else (lesson 8).
- Of the entries of peers that are news, one each SAMPLE_S says how long it took (model/lag.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from kvgossip.errors import BadKeyError, RemoteError
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.effect import Rewritten
from kvgossip.protocol.model.conflicts import Conflicts
from kvgossip.protocol.model.entry import HEAD_BYTES, TYPED, check_record, timestamp_in
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.lag import SAMPLE_S, Lag
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.news_ports import (
    AckPort,
    NewsPool,
    RidePort,
    SettlingPort,
    speaker_in,
)
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.story import Story
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.drops import Verdict
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.tombstones.typed_offers import TypedOffers
from kvgossip.protocol.typed.body import do_join, fingerprinted, parse, type_in
from kvgossip.protocol.wire.message import Pair

REKINDLED_MAX = 64


class Outcome(Enum):
    """The fate of an entry that was offered. COLLECTED: it was here once, and was collected (see
    tombstones.py). LOST: this node wrote it, and was set back since (see set_back.py)."""

    NEWS = "news"
    KNOWN = "known"
    REFUSED = "refused"
    COLLECTED = "collected"
    LOST = "lost"


class Spread(Enum):
    """How news is spread further in the pool that it came from. OTHER_POOLS: not there, where its
    author sends it to every member. In its other pool a node spreads whatever is news at once."""

    NONE = "none"
    OTHER_POOLS = "other pools"
    NEXT_ROUND = "next round"
    NOW = "now"


class Origin(NamedTuple):
    """The source of an entry, and how it is to be spread if it is news. `peer` is None for a client
    of this node; its name is empty where the member is not known. `shows`: it is surely that
    member that sends it, so it holds it; else somebody on its host may speak in its name."""

    peer: Peer | None
    spread: Spread
    shows: bool = True


# CPython 3.11 runs Python code wherever a member of an enumeration is named by its class, and these
# are named for every entry.
_LAN = PoolKind.LAN
_NEWS, _KNOWN, _REFUSED, _COLLECTED, _LOST = Outcome
_, _REFUSE, _TAKE = Verdict
_NONE, _OTHER_POOLS, _NEXT_ROUND, _NOW = Spread
_FIRST = bytes(2)
"""The counter of a timestamp that is the time of its writer's clock."""

CLIENT = Origin(None, Spread.NOW)
"""A client of this node: its peers hear of it at once."""

BACKUP = Origin(Peer(_LAN, ""), _NEXT_ROUND)
"""An entry of a backup: no member sent it, and peers may have it. One that is older than what is
here is no write that is lost now."""


class MergePort(Protocol):
    """The port by which a mechanism of a pool offers the entries that it heard."""

    news_s: float
    """The time of the last merge that was news, monotonic seconds."""

    def merge(self, key: str, record: bytes, now: Now, origin: Origin) -> Outcome:
        """Offer a record that a peer sent."""

    def merge_parts(
        self, key: str, record: bytes, now: Now, origin: Origin
    ) -> tuple[Outcome, Sequence[bytes]]:
        """`merge`; and of a typed record the dots of those values that were collected here."""

    def merge_batch(self, entries: tuple[Pair, ...], now: Now, origin: Origin) -> Outcome:
        """Offer a batch that a peer sent: all of it is merged now, or nothing."""

    def exchanged(self, peer: Peer, sync_state: SyncState, since_s: float, now: Now) -> None:
        """An exchange with this peer, whose sync state this is, has completed; it began at
        `since_s`, monotonic seconds."""


class Merging:
    """The MergePort of a replica."""

    def __init__(
        self,
        clock_guard: ClockGuard,
        store: Store,
        tombstones: Tombstones,
        acks: AckPort,
        settling: SettlingPort,
        lag: Lag,
        story: Story,
        pools: Sequence[NewsPool],
        outbox: Outbox,
        counters: Counter[str],
        now: Now,
    ) -> None:
        self.news_s = now.monotonic_s
        self._clock_guard, self._store, self._tombstones = clock_guard, store, tombstones
        # both are asked of every entry that is offered
        self._context, self._drops = tombstones.context, tombstones.drops
        self._typed_offers = TypedOffers(store, tombstones)
        self._acks, self._settling, self._outbox, self._lag = acks, settling, outbox, lag
        self._conflicts, self._story = Conflicts(), story
        #: no arrival before this time is measured, monotonic seconds
        self._measure_s = now.monotonic_s
        #: the replica's own, which have all pools before the first input, and counters by name
        self._pools, self._counters = pools, counters
        #: None: nothing rides
        self.rides: RidePort | None = None

    # -- entries of peers -------------------------------------------------------------------------

    def merge(self, key: str, record: bytes, now: Now, origin: Origin) -> Outcome:
        """Offer an entry of a peer, or of an import. Its kind and its fate are counted."""
        if not self._accepts(key, record, now, origin):
            return _REFUSED
        if record[0] & TYPED and type_in(record) is not None:
            return self._merge_typed(key, record, now, origin)[0]
        taken = False
        if self._drops.hearsay:
            verdict = self._drops.judge(record, now)
            taken = verdict is _TAKE
            if verdict is _REFUSE:
                self._counters["entries_refused.hearsay"] += 1
                return _REFUSED
        if record[9:HEAD_BYTES] == self._context.own and self._is_lost(record, now, origin):
            return _LOST
        if self._acks.waits and origin.peer is not None and origin.shows:
            self._acks.showed(origin.peer, key, record[1:HEAD_BYTES])
        if not taken and self._tombstones.refuses(key, record):
            self._counters["offers_collected"] += 1
            return _COLLECTED
        if self.take(key, record, now, origin):
            if self.news_s >= self._measure_s and record[7:9] == _FIRST:
                self._measure(record, now, origin)
            return _NEWS
        self._known(key, record, now, origin)
        return _KNOWN

    def merge_parts(
        self, key: str, record: bytes, now: Now, origin: Origin
    ) -> tuple[Outcome, Sequence[bytes]]:
        if not self._accepts(key, record, now, origin):
            return _REFUSED, ()
        if type_in(record) is None:
            return self.merge(key, record, now, origin), ()
        return self._merge_typed(key, record, now, origin)

    def merge_batch(self, entries: tuple[Pair, ...], now: Now, origin: Origin) -> Outcome:
        """Offer a batch: all of it is merged now, or, where a part cannot be accepted, nothing."""
        if not all(self._accepts_part(key, record, now, origin) for key, record in entries):
            return _REFUSED
        taken: list[Pair] = []
        if self._drops.hearsay:
            verdicts = [(pair, self._drops.judge(pair[1], now)) for pair in entries]
            if any(verdict is _REFUSE for _, verdict in verdicts):
                self._counters["entries_refused.hearsay"] += 1
                return _REFUSED
            taken = [pair for pair, verdict in verdicts if verdict is _TAKE]
        offered: list[Pair] = []
        for key, record in entries:
            if self._acks.waits and origin.peer is not None and origin.shows:
                self._acks.showed(origin.peer, key, record[1:HEAD_BYTES])
            if (key, record) in taken or not self._tombstones.refuses(key, record):
                offered.append((key, record))
        if not self.take_batch(entries, offered, now, origin):
            return _KNOWN
        first = entries[0][1]
        if self.news_s >= self._measure_s and first[7:9] == _FIRST:
            self._measure(first, now, origin)
        return _NEWS

    def _measure(self, record: bytes, now: Now, origin: Origin) -> None:
        """It has arrived, and was written when it says."""
        self._measure_s = now.monotonic_s + SAMPLE_S
        if self._settling.settled and origin is not BACKUP:
            self._lag.arrived(record, now, by_exchange=origin.spread is _NONE)

    def _merge_typed(
        self, key: str, record: bytes, now: Now, origin: Origin
    ) -> tuple[Outcome, Sequence[bytes]]:
        """`merge_parts` of a record of a known type that may be merged: value by value."""
        offers, peer = self._typed_offers, origin.peer
        try:
            parse(record)
        except RemoteError as fault:
            self._counters[f"entries_refused.{fault.reason}"] += 1
            return _REFUSED, ()
        lost = offers.lost(record)
        if lost is not None:
            self._tombstones.set_back.found(lost, "" if peer is None else peer.name, now)
            if origin.spread is _NONE or offers.lost(record) is not None:
                return _LOST, ()
        if self._acks.waits and peer is not None and origin.shows:
            self._acks.showed_record(peer, key, record)
        offer = offers.sort_out(key, record, now)
        if offer.gone:
            self._counters["offers_collected"] += 1
        news = False
        if offer.rest is not None:
            try:
                news = self.take(key, offer.rest, now, origin)
            except RemoteError as fault:
                self._counters[f"entries_refused.{fault.reason}"] += 1
                return _REFUSED, ()
            offers.merged(key, offer.rest)
            mine = self._store[key]
            if not news and origin is not BACKUP and not do_join(mine, record):
                self._met(key, mine, record, now)
        if offer.doubted:
            self._counters["entries_refused.hearsay"] += 1
            return _REFUSED, offer.gone
        return _NEWS if news else _COLLECTED if offer.all_gone else _KNOWN, offer.gone

    def _accepts_part(self, key: str, record: bytes, now: Now, origin: Origin) -> bool:
        """`_accepts` for a part of a batch. A typed one is none: it may be merged in part."""
        if not self._accepts(key, record, now, origin):
            return False
        if record[0] & TYPED:
            self._counters["entries_refused.bad_record"] += 1
            return False
        return not self._is_lost(record, now, origin)

    def exchanged(self, peer: Peer, sync_state: SyncState, since_s: float, now: Now) -> None:
        if self._clock_guard.may_settle(peer.name, since_s, now):
            self._settling.exchanged(peer, sync_state, now)

    def _is_lost(self, record: bytes, now: Now, origin: Origin) -> bool:
        """True if it is of the own site, not written by this life, and not to be taken: after a new
        life has begun an exchange starts again, while a rumor is another's by now."""
        context = self._context
        if not context.is_foreign(record):
            return False
        peer = "" if origin.peer is None else origin.peer.name
        self._tombstones.set_back.found(timestamp_in(record), peer, now)
        return origin.spread is _NONE or context.is_foreign(record)

    def _accepts(self, key: str, record: bytes, now: Now, origin: Origin) -> bool:
        """True if it may be merged; if so, the clock has taken over its time."""
        try:
            check_key(key)
            check_record(record)
            self._clock_guard.observe(timestamp_in(record), now)
        except RemoteError as fault:
            self._counters[f"entries_refused.{fault.reason}"] += 1
            if fault.reason == "clock_ahead" and origin.peer is not None:
                ahead_ms = milliseconds_of(timestamp_in(record)) - now.wall_ms
                self._clock_guard.refused(origin.peer.name, ahead_ms, now)
            return False
        except BadKeyError:
            self._counters["entries_refused.bad_key"] += 1
            return False
        return True

    # -- the merge --------------------------------------------------------------------------------

    def take(self, key: str, record: bytes, now: Now, origin: Origin) -> bool:
        """Merge; if it is news, say so and spread it. The record is one that may be merged."""
        news = self._news(key, record, now, origin)
        if news is None:
            return False
        peer, spread, _ = origin
        if self.rides is not None and spread is not _NONE:
            self.rides.add(key, news[1:HEAD_BYTES])
        home = _LAN if peer is None else peer.pool
        for pool in self._pools:
            if pool.kind is not home:
                if spread is not _NONE or self._kindles(pool):
                    pool.mongering.heat(key, news, speaker_in(pool, peer), at_once=True)
            elif spread is _NOW or spread is _NEXT_ROUND:
                # who has sent one of two that have joined lacks what they have come to
                joined = news is not record
                heard_from = None if peer is None else "" if joined else peer.name
                pool.mongering.heat(key, news, heard_from, at_once=spread is _NOW)
        return True

    def take_batch(
        self, entries: tuple[Pair, ...], offered: Iterable[Pair], now: Now, origin: Origin
    ) -> bool:
        """Merge those of the entries that are offered; if any of it is news, spread the whole: what
        was collected since is superseded."""
        news = False
        for key, record in offered:
            if self._news(key, record, now, origin) is not None:
                news = True
            else:
                self._known(key, record, now, origin)
        peer, spread, _ = origin
        if news and self.rides is not None:
            self.rides.add_batch(entries)
        home = _LAN if peer is None else peer.pool
        for pool in self._pools if news else ():
            if pool.kind is not home:
                pool.mongering.heat_batch(entries, speaker_in(pool, peer), at_once=True)
            elif spread is not _OTHER_POOLS:
                heard_from = None if peer is None else peer.name
                pool.mongering.heat_batch(entries, heard_from, at_once=spread is _NOW)
        return news

    def _news(self, key: str, record: bytes, now: Now, origin: Origin) -> bytes | None:
        """Merge; if it is news, say so, and return what is here then. Every entry that this replica
        ever holds came through here."""
        changed = self._store.merge(key, record)
        if changed is None:
            return None
        _, old, record = changed
        joined = False
        if record[0] & TYPED and old is not None:
            if fingerprinted(old) == fingerprinted(record):
                # it arrives anew, so that it is waited for until all have it, and is news to nobody
                self._outbox.emit(Rewritten(key, record))
                self._tombstones.merged(changed, now)
                return None
            joined = do_join(old, record)
        self.news_s = now.monotonic_s
        self._outbox.changed(changed)
        if self._story.on:
            peer, spread, shows = origin
            self._story.heard(key, record, now, peer, by_exchange=spread is _NONE, shows=shows)
        if old is not None and old[9:HEAD_BYTES] != record[9:HEAD_BYTES] and not joined:
            self._met(key, record, old, now)
        self._tombstones.merged(changed, now)
        for pool in self._pools:
            if pool.version_queries.open:
                pool.version_queries.merged(key, record, now)
        return record

    def _known(self, key: str, record: bytes, now: Now, origin: Origin) -> None:
        """It is no news: a record that is here, or one that is older than what is here."""
        mine = self._store.record(key)
        if mine is None or record[1:HEAD_BYTES] >= mine[1:HEAD_BYTES]:
            return
        self._context.add_record(record)
        if record[9:HEAD_BYTES] != mine[9:HEAD_BYTES] and origin is not BACKUP:
            self._met(key, mine, record, now)

    def _met(self, key: str, kept: bytes, lost: bytes, now: Now) -> None:
        """Records of two sites have met under this key."""
        conflict = self._conflicts.between(key, kept, lost, self._clock_guard.expiry_ms(now))
        if conflict is not None:
            self._outbox.emit(conflict)

    def _kindles(self, pool: NewsPool) -> bool:
        """True if an entry that an exchange brought elsewhere becomes a rumor in this one."""
        return self._settling.settled and pool.mongering.hot < REKINDLED_MAX
