"""TypedDrops: what this replica takes out of typed records: values that another member says it has
collected (drops.py has the laws, and keeps what is hearsay), and what nobody needs, by proof.

Laws
- A part goes as a whole entry does: a live value to the quarantine, with a WARNING, through the
  fuse; one that has expired for others, and is live here, stays; a delete, or what has expired
  here, in silence, and only where entries of the own version vector cover it and all that its
  record has seen.
- What is left stays under the key, also where that is nothing but what was seen: others may need
  it. A record of which nothing is left that anybody needs is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kvgossip.protocol.effect import Dropped, Quarantined, Rewritten
from kvgossip.protocol.model.entry import expires_in
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.collection import TombstoneCollection
from kvgossip.protocol.tombstones.drops import Drops
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.body import decode, encode, type_in
from kvgossip.protocol.typed.typed_record import (
    DOT_BYTES,
    TypedRecord,
    pairs_of,
    prune,
    version_of_dot,
)


class TypedDrops:
    """Of one replica. `left(key, old, now)` is called when something has gone from the record `old`
    under a key, perhaps all of it."""

    def __init__(
        self,
        store: Store,
        context: CausalContext,
        collecting: TombstoneCollection,
        drops: Drops,
        outbox: Outbox,
        left: Callable[[str, bytes, Now], None],
    ) -> None:
        self._store, self._context, self._collecting = store, context, collecting
        self._drops, self._outbox, self._changed = drops, outbox, left

    def in_exchange(self, parts: Iterable[bytes], peer: str, expired_ms: int, now: Now) -> int:
        """Take out these parts, a fingerprint and a dot each, which this peer has collected,
        perhaps for an expiry of up to `expired_ms`; returns how many there were."""
        named: dict[int, OrderedSet[bytes]] = {}
        for part in parts:
            named.setdefault(int.from_bytes(part[:8], "big"), OrderedSet()).add(part[8:])
        clock_ms = self._drops.clock_ms(expired_ms, now)
        dropped, live = 0, list[tuple[str, bytes]]()
        for fingerprint, key in self._store.find(named).items():
            if type_in(self._store[key]) is None:
                continue
            dots = named[fingerprint]
            values = [v for v in decode(self._store[key]).values if v[:DOT_BYTES] in dots]
            dead = [value for value in values if self._is_dead(key, value)]
            live += [
                (key, value)
                for value in values
                if value not in dead and not self._has_expired(key, value, clock_ms)
            ]
            dropped += self._drop_dead(key, dead, now)
        return dropped + self._quarantine(live, peer, now)

    def _is_dead(self, key: str, value: bytes) -> bool:
        return len(value) == DOT_BYTES or self._store.is_expired(key)

    def _has_expired(self, key: str, value: bytes, clock_ms: int) -> bool:
        """True if it has by that clock, perhaps for others alone."""
        if type_in(self._store[key]) != siblings.TYPE:
            return False
        expires_ms = siblings.expires_ms([value])
        return expires_ms is not None and expires_ms <= clock_ms

    def _drop_dead(self, key: str, dead: Sequence[bytes], now: Now) -> int:
        record = decode(self._store[key])
        if not dead or not all(self._knows(dot, now) for dot in (*pairs_of(record), *dead)):
            return 0
        self._leave(key, self._less(record, dead, now), now)
        self._forget(dead)
        return len(dead)

    def _quarantine(self, values: Sequence[tuple[str, bytes]], peer: str, now: Now) -> int:
        admitted = self._drops.fuse.admit([value[:DOT_BYTES] for _, value in values], peer, now)
        by_key: dict[str, list[bytes]] = {}
        for (key, value), may in zip(values, admitted, strict=True):
            if may:
                by_key.setdefault(key, []).append(value)
        for key, gone in by_key.items():
            record = decode(self._store[key])
            left = self._less(record, gone, now)
            part = encode(record._replace(values=OrderedSet(gone)))
            self._outbox.emit(Quarantined(key, part, peer, None if left is None else encode(left)))
            self._drops.note([value[:DOT_BYTES] for value in gone], peer, now)
            self._leave(key, left, now)
        count = sum(map(len, by_key.values()))
        if count:
            self._drops.warn(count, list(by_key), peer)
        return count

    def prune(self, key: str, left: TypedRecord, now: Now) -> None:
        """This is what is left that somebody may need."""
        gone = [value for value in decode(self._store[key]).values if value not in left.values]
        self._leave(key, left, now)
        self._forget(gone)

    def _less(self, record: TypedRecord, gone: Sequence[bytes], now: Now) -> TypedRecord | None:
        """The record without these of its values."""
        left = record._replace(values=OrderedSet(v for v in record.values if v not in gone))
        return left if left.values else prune(left, lambda dot: self._knows(dot, now))[0]

    def _leave(self, key: str, left: TypedRecord | None, now: Now) -> None:
        old = self._store[key]
        if left is None:
            if self._store.is_expired(key):
                self._drops.expired_ms = max(self._drops.expired_ms, expires_in(old) or 0)
            self._store.remove(key)
            self._outbox.emit(Dropped(key, old))
        else:
            new = encode(left)
            self._store.rewrite(key, new)
            self._outbox.emit(Rewritten(key, new))
        self._changed(key, old, now)

    def _forget(self, gone: Iterable[bytes]) -> None:
        for value in gone:
            self._context.add(version_of_dot(value))

    def _knows(self, dot: bytes, now: Now) -> bool:
        return self._collecting.knows_about(version_of_dot(dot), now.wall_ms)
