"""Rides: the entries that are news, and ride on messages of the application (pools/piggyback.py).

What rides is counted by itself: a rumor is hot until K contacts have answered that they knew it,
and a ride has no answer. So it cools no rumor, and does not end with one either: where gossip is
cut, rumors cool within seconds, and the rides are what is left.

Laws
- News rides `retransmit_multiplier` * ceil(log2(members + 1)) times: as often as rumors have
  rounds, several times each, for nobody says which rides arrived, or found a node that knew.
- What never rode comes first, oldest first; then what rode least lately.
- What was superseded or collected since rides no more: the record is the store's, if it has that
  version still. So no part of a batch rides by itself; a batch rides as one, as long as any of it
  is still true here.
- All is bounded, also where nobody takes it: RIDES_MAX entries and batches wait. What does not fit
  into a message that has nothing else in it has missed one of its rides; a batch of more than
  BATCH_BYTES_MAX does not ride. Gossip and exchanges carry the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.protocol.model.entry import HEAD_BYTES
from kvgossip.protocol.rumors.batches import key_of
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.message import Bundle, Pair, Rumor
from kvgossip.protocol.wire.unit import encode

RIDES_MAX = 1024
BATCH_BYTES_MAX = 4096
LOOKS_MAX = 300
"""As many rumors as a packet of gossip has; about a millisecond."""


class Ride(NamedTuple):
    """How often this is still to ride: the entries of a batch, or, where they are none, the
    `version` under the key, encoded."""

    left: int
    version: bytes = b""
    entries: tuple[Pair, ...] = ()


class Rides:
    """`members`: as many as there are decide how often news rides."""

    def __init__(self, config: Config, store: Store, members: Sized) -> None:
        self._multiplier, self._store, self._members = config.retransmit_multiplier, store, members
        #: by key, those that never rode, and those that have, each the next one first
        self._fresh: dict[str, Ride] = {}
        self._ridden: dict[str, Ride] = {}

    def __len__(self) -> int:
        return len(self._fresh) + len(self._ridden)

    def add(self, key: str, version: bytes) -> None:
        """This version, which the store has, is news."""
        self._add(key, Ride(self._times, version))

    def add_batch(self, entries: tuple[Pair, ...]) -> None:
        if sum(len(record) for _, record in entries) <= BATCH_BYTES_MAX:
            self._add(key_of(entries), Ride(self._times, entries=entries))

    @property
    def _times(self) -> int:
        return self._multiplier * math.ceil(math.log2(len(self._members) + 1))

    def _add(self, key: str, ride: Ride) -> None:
        self._ridden.pop(key, None)
        self._fresh.pop(key, None)
        self._fresh[key] = ride
        if len(self) > RIDES_MAX:
            waiting = self._ridden or self._fresh
            del waiting[next(iter(waiting))]

    def take(self, room: int) -> list[bytes]:
        """Encoded Rumors and Bundles that fit into so many bytes, each counted as one ride."""
        units: list[bytes] = []
        for _ in range(min(len(self), LOOKS_MAX)):
            waiting = self._fresh or self._ridden
            key = next(iter(waiting))
            unit = self._unit(key, waiting[key], room)
            if units and unit is not None and len(unit) > room:
                break
            ride = waiting.pop(key)
            if unit is None:
                continue
            if ride.left > 1:
                self._ridden[key] = ride._replace(left=ride.left - 1)
            if len(unit) <= room:
                units.append(unit)
                room -= len(unit)
        return units

    def _unit(self, key: str, ride: Ride, room: int) -> bytes | None:
        """Its bytes, more than `room` of any kind where it does not fit; None: it is no longer
        here."""
        if ride.entries:
            still = any(self._store.record(key) == record for key, record in ride.entries)
            return encode(Bundle(entries=ride.entries)) if still else None
        record = self._store.record(key)
        if record is None or record[1:HEAD_BYTES] != ride.version:
            return None
        return record if len(record) > room else encode(Rumor(key=key, record=record))
