"""Expiry: hides the entries whose time has come, and shows them again where the clock by which it
had come is set back (protocol.md section 6).

Laws
- An entry expires by the clock of this node (ClockGuard.expiry_ms), and by no other.
- Where that clock is set back so far that an entry which has expired is to live for more than
  `drift_ms`, it is served again: whether an entry has expired follows from the clock alone. A
  smaller step back brings nothing back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.effect import Expired, Revived
from kvgossip.protocol.model.entry import expires_in
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store

SPARE = 1024
BATCH = 512
PAUSE_S = 0.002
LOOK_AGAIN_S = 60.0
CROWD_LOOKS = 1024
CROWD_MS = 60_000
CROWD_SHARE = 0.25
CROWD_MIN = 10_000


class ExpiryQueue:
    """The entries that will expire, by their time: a heap that is cleaned now and then, for keys
    are overwritten and deleted before their time. Times are milliseconds since 1970."""

    __slots__ = ("_heap", "_store", "_useful")

    def __init__(self, store: Store) -> None:
        self._store = store
        #: (when, key); a key whose entry has changed since stays until its time, or the next
        #: cleaning
        self._heap: list[tuple[int, str]] = []
        #: how many were true after the last cleaning
        self._useful = 0

    @property
    def next_ms(self) -> float:
        """The time at which to look again; infinite where nothing will expire."""
        return self._heap[0][0] if self._heap else math.inf

    def add(self, key: str, expires_ms: int) -> None:
        heappush(self._heap, (expires_ms, key))
        if len(self._heap) > 2 * self._useful + SPARE:
            self._heap = [
                (at_ms, key)
                for at_ms, key in dict.fromkeys(self._heap)
                if self._is_true(at_ms, key)
            ]
            heapify(self._heap)
            self._useful = len(self._heap)

    def due(self, clock_ms: int) -> Iterator[str]:
        """A batch of the keys whose entries have expired by now."""
        for _ in range(BATCH):
            if self.next_ms > clock_ms:
                break
            at_ms, key = heappop(self._heap)
            if self._is_true(at_ms, key):
                yield key

    def crowd(self, from_ms: int, until_ms: int) -> tuple[int, int] | None:
        """The minute of that time in which a fourth of all that will expire does, CROWD_MIN at
        least, and about how many: by a sample, since there may be millions. None: there is none."""
        step = -(-len(self._heap) // CROWD_LOOKS)
        if not step or len(self._heap) < CROWD_MIN:
            return None
        minutes = Counter(at_ms // CROWD_MS for at_ms, _ in self._heap[::step])
        minute, seen = max(minutes.items(), key=lambda each: (each[1], -each[0]))
        at_ms, count = minute * CROWD_MS, seen * step
        is_crowd = count >= CROWD_MIN and seen >= CROWD_SHARE * minutes.total()
        return (at_ms, count) if is_crowd and from_ms <= at_ms <= until_ms else None

    def _is_true(self, at_ms: int, key: str) -> bool:
        record = self._store.record(key)
        return (
            record is not None
            and not self._store.is_deleted_or_expired(key, record)
            and expires_in(record) == at_ms
        )


class Expiry:
    """Of the entries of one store. `expired(key, now)` is called for each entry that is served no
    more, `revived(key, record)` for each that is served again."""

    def __init__(
        self,
        store: Store,
        clocks: ClockGuard,
        drift_ms: int,
        outbox: Outbox,
        expired: Callable[[str, Now], None],
        revived: Callable[[str, bytes], None],
    ) -> None:
        self._store, self._clocks, self._drift_ms = store, clocks, drift_ms
        self._outbox, self._expired, self._revived = outbox, expired, revived
        self._queue = ExpiryQueue(store)
        #: the latest time of all entries that are taken to have expired
        self._latest_ms: float = -math.inf
        #: keys that are looked at, since the clock was set back
        self._doubted: list[str] = []
        #: the time at which to look again, monotonic seconds
        self.look_s = math.inf

    def holds(self, key: str, record: bytes, now: Now) -> None:
        """The store has taken an entry that expires some day."""
        expires_ms = expires_in(record) or 0
        if expires_ms <= self._clocks.expiry_ms(now):
            self._expire(key, record, now)
        else:
            self._queue.add(key, expires_ms)
            self._plan(now)

    def loaded(self, key: str, record: bytes) -> None:
        """The store has taken it from the disk. The first tick looks at it."""
        self._queue.add(key, expires_in(record) or 0)
        self.look_s = -math.inf

    def crowd(self, from_ms: int, until_ms: int) -> tuple[int, int] | None:
        """As ExpiryQueue."""
        return self._queue.crowd(from_ms, until_ms)

    def tick(self, now: Now) -> None:
        clock_ms = self._clocks.expiry_ms(now)
        if self._queue.next_ms <= clock_ms or now.monotonic_s >= self.look_s:
            for key in self._queue.due(clock_ms):
                self._expire(key, self._store[key], now)
            self.look_s = math.inf
            self._plan(now)
        if self._doubted or clock_ms + self._drift_ms < self._latest_ms:
            self._doubt(clock_ms, now)

    def _expire(self, key: str, record: bytes, now: Now) -> None:
        self._latest_ms = max(self._latest_ms, expires_in(record) or 0)
        self._store.expire(key)
        self._outbox.emit(Expired(key, record))
        self._expired(key, now)

    def _doubt(self, clock_ms: int, now: Now) -> None:
        """The clock was set back: look at some of the entries that had expired by then."""
        if not self._doubted:
            self._doubted, self._latest_ms = list(self._store.expired), -math.inf
        for _ in range(min(BATCH, len(self._doubted))):
            key = self._doubted.pop()
            if not self._store.is_expired(key):
                continue
            record = self._store[key]
            expires_ms = expires_in(record) or 0
            if expires_ms <= clock_ms + self._drift_ms:
                self._latest_ms = max(self._latest_ms, expires_ms)
                continue
            self._store.revive(key)
            self._outbox.emit(Revived(key, record))
            self._revived(key, record)
            self._queue.add(key, expires_ms)
        self._plan(now)
        if self._doubted:
            self.look_s = now.monotonic_s + PAUSE_S

    def _plan(self, now: Now) -> None:
        """The wall clock may be set meanwhile, so it is looked at now and then."""
        if self._queue.next_ms < math.inf:
            in_s = min((self._queue.next_ms - self._clocks.expiry_ms(now)) / 1000, LOOK_AGAIN_S)
            self.look_s = min(self.look_s, now.monotonic_s + max(in_s, PAUSE_S))
