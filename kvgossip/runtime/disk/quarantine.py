"""Quarantine: live values that this node had and the cluster had deleted and collected meanwhile.
Never silently merged, never lost.

A node that was away for long may come back with values whose tombstones are gone everywhere
(protocol.md section 6). They leave the store and are kept here, until an operator has looked at
them and writes them again, or not.

With a data directory they are on the disk, in the same commit as what they were removed by, and all
are kept. Without one the newest VALUES_MAX are in memory, as long as they have no more than
BYTES_MAX together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from kvgossip.errors import NotFoundError
from kvgossip.protocol.effect import Quarantined
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.typed.views import view_of

if TYPE_CHECKING:
    from kvgossip.runtime.disk.rocksdb import RocksDB

QUARANTINE = b"q"
VALUES_MAX = 1000
BYTES_MAX = 16 * 2**20
SCAN = 100


class Suspect(NamedTuple):
    """A value in quarantine: `number` names it, `peer` is the member that said that it was deleted,
    `wall_ms` when."""

    number: str
    entry: Entry
    record: bytes
    peer: str
    wall_ms: int


class _Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    key: str
    record: bytes
    peer: str
    wall_ms: int


class Quarantine:
    """`storage` None: in memory, and no more than `values_max`."""

    def __init__(self, storage: RocksDB | None, values_max: int = VALUES_MAX) -> None:
        self._storage, self._values_max = storage, values_max
        #: values in memory, by number
        self._kept: dict[bytes, bytes] = {}
        self._bytes = 0
        #: how many values the storage has
        self._stored = 0
        #: the greatest number that was given
        self._latest = 0
        #: how many values were forgotten for want of memory
        self.dropped = 0

    def open(self) -> None:
        """Count what the storage has, once it is open."""
        if self._storage is not None:
            self._stored = self._storage.count(QUARANTINE)

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self._kept) if self._storage is None else self._stored

    def add(self, effect: Quarantined) -> tuple[bytes, bytes]:
        """The number and the bytes of this value, for the writer of the disk; without one they are
        kept here."""
        wall_ns = time.time_ns()
        self._latest = max(wall_ns, self._latest + 1)
        number = self._latest.to_bytes(8, "big")
        kept = msgspec.msgpack.encode(
            _Kept(effect.key, effect.record, effect.peer, wall_ns // 1_000_000)
        )
        if self._storage is None:
            self._keep(number, kept)
        self._stored += 1
        return number, kept

    def _keep(self, number: bytes, kept: bytes) -> None:
        self._kept[number] = kept
        self._bytes += len(kept)
        while len(self._kept) > self._values_max or self._bytes > BYTES_MAX:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))))
            self.dropped += 1

    def page(self, after: str = "", limit: int = SCAN) -> list[Suspect]:
        """At most `limit` values, oldest first, beginning after this number. Raises NotFoundError
        for text that is no number."""
        since = _bytes_of(after) if after else b""
        return [_suspect(number, kept) for number, kept in self._scan(since, limit)]

    def get(self, number: str) -> Suspect:
        """Raises NotFoundError."""
        wanted = _bytes_of(number)
        before = (
            (int.from_bytes(wanted, "big") - 1).to_bytes(8, "big")
            if int.from_bytes(wanted, "big")
            else b""
        )
        for found, kept in self._scan(before, 1):
            if found == wanted:
                return _suspect(found, kept)
        raise NotFoundError(
            f"there is no value {number} in quarantine",
            "`kvgossip quarantine list` shows what is there",
        )

    def forget(self, number: str) -> bytes:
        """Take a value that is there out of the memory; returns its number for the writer of the
        disk."""
        wanted = _bytes_of(number)
        self._stored -= 1
        self._bytes -= len(self._kept.pop(wanted, b""))
        return wanted

    def _scan(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        if self._storage is not None:
            return self._storage.scan(QUARANTINE, after, limit)
        return list(
            _first(((number, kept) for number, kept in self._kept.items() if number > after), limit)
        )


def _first(items: Iterator[tuple[bytes, bytes]], limit: int) -> Iterator[tuple[bytes, bytes]]:
    for _, item in zip(range(limit), items, strict=False):
        yield item


def _bytes_of(number: str) -> bytes:
    try:
        number_bytes = bytes.fromhex(number)
    except ValueError:
        number_bytes = b""
    if len(number_bytes) != 8:
        raise NotFoundError(
            f"{number!r} is no number of a value in quarantine",
            "`kvgossip quarantine list` shows the numbers",
        )
    return number_bytes


def _suspect(number: bytes, kept: bytes) -> Suspect:
    value = _decode(kept)
    return Suspect(
        number.hex(), view_of(value.key, value.record), value.record, value.peer, value.wall_ms
    )


_decode = msgspec.msgpack.Decoder(_Kept).decode
