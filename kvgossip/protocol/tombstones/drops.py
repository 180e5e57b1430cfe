"""Drops: what this replica takes out of its store on another's word, which says that it held the
entry once, and has collected it since.

Laws
- A live value goes to the quarantine, counted, and each dropping is one WARNING with the peer's
  name. A tombstone, or an entry that has expired, goes in silence, and only where the version
  vector covers it here as well.
- The word is one that a member gave to an offer of ours: in an exchange that both are in, over its
  link, of entries that were offered there (responder.py, scheduler.py); or as feedback to a rumor.
- What was dropped so is hearsay: until the next completed exchange, whose context covers it or does
  not, it is refused here, but not as collected. So a false word makes no third node drop anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from kvgossip.protocol.effect import Dropped, Quarantined
from kvgossip.protocol.model.entry import HEAD_BYTES
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.collection import TombstoneCollection

HEARSAY_MAX = 131_072


class Cooling(Protocol):
    def cool(self, key: str) -> None:
        """The rumors of this key are to spread no further."""


class Drops:
    """`is_deleted_or_expired(key, record, now)`: it is, or will be as soon as clocks agree."""

    def __init__(
        self,
        store: Store,
        context: CausalContext,
        collecting: TombstoneCollection,
        members: Cooling,
        is_deleted_or_expired: Callable[[str, bytes, Now], bool],
        outbox: Outbox,
        counters: Counter[str],
    ) -> None:
        self._store, self._context, self._collecting = store, context, collecting
        self._members, self._outbox, self._counters = members, outbox, counters
        self._is_deleted_or_expired = is_deleted_or_expired
        #: versions, as records have them
        self._hearsay: OrderedSet[bytes] = OrderedSet()

    # -- what was dropped -------------------------------------------------------------------------

    def is_hearsay(self, record: bytes) -> bool:
        """True if this version was dropped on another's word, which is not proved yet."""
        return bool(self._hearsay) and record[1:HEAD_BYTES] in self._hearsay

    def exchanged(self) -> None:
        """An exchange has completed."""
        self._hearsay.clear()

    # -- dropping ---------------------------------------------------------------------------------

    def in_exchange(self, fingerprints: Iterable[int], peer: str, now: Now) -> int:
        """Take out the entries that this peer has collected; returns how many there were."""
        tombstones, values = list[str](), list[str]()
        for key in self._store.find(fingerprints).values():
            record = self._store[key]
            if not self._is_deleted_or_expired(key, record, now):
                values.append(key)
            elif self._collecting.may_drop(record, now.wall_ms):
                tombstones.append(key)
        for key in tombstones:
            self.drop(key)
        return len(tombstones) + self._quarantine(values, peer)

    def as_rumors(self, rumors: Iterable[tuple[str, bytes]], peer: str, now: Now) -> None:
        """The same of rumors, as key and version: but a tombstone goes only with the context of an
        exchange."""
        values = []
        for key, version in rumors:
            record = self._store.record(key)
            if (
                record is not None
                and record[1:HEAD_BYTES] == version
                and not self._is_deleted_or_expired(key, record, now)
            ):
                values.append(key)
        self._quarantine(values, peer)

    def _quarantine(self, keys: list[str], peer: str) -> int:
        if not keys:
            return 0
        for key in keys:
            record = self._store.remove(key)
            self._outbox.emit(Quarantined(key, record, peer))
            self._hearsay.add(record[1:HEAD_BYTES])
            self._context.uncover(record)
            self._forget(key, record)
        while len(self._hearsay) > HEARSAY_MAX:
            del self._hearsay[next(iter(self._hearsay))]
        self._counters["entries_quarantined"] += len(keys)
        shown = ", ".join(repr(key) for key in keys[:3]) + (", ..." if len(keys) > 3 else "")
        self._outbox.log(
            "WARNING",
            f"{len(keys)} live values that {peer!r} says were deleted went to the quarantine: "
            f"{shown} (`kvgossip quarantine list`)",
        )
        return len(keys)

    def drop(self, key: str) -> None:
        """Take out what this replica may drop by its own context."""
        record = self._store.remove(key)
        self._context.add_record(record)
        self._forget(key, record)

    def _forget(self, key: str, record: bytes) -> None:
        self._collecting.discard(key, record)
        self._members.cool(key)
        self._outbox.emit(Dropped(key, record))
