"""History: earlier versions of keys, as this node has seen them. They live in memory, bounded, and are no part of the replicated data.

Laws
- The history of a key is what its merges on this node have replaced, and what was taken out of the store; so a key that was written once
  costs nothing here. Two nodes may have seen different versions: of two writes that met somewhere else, this node saw the winner alone.
- At most `versions_max` versions of a key are told, the present one among them, and at most `bytes_max` bytes of memory are taken for all
  keys together: the key that has not changed for longest loses its history first. `versions_max` 0 keeps and tells nothing.
- When much has gone from the store, `tidy` packs what is kept into large pieces of bytes, and there it stays. As objects of their own, old
  records and keys lie scattered among all that came and went with them, and CPython gives back no megabyte of which one of them is left.
- Bytes are those that the objects take. Most keys have one or two small records here, and what holds them takes more than they do.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from sys import getsizeof
from typing import NamedTuple

import msgspec

from kvgossip.protocol.effect import Changed, Dropped, MemberChanged
from kvgossip.protocol.entry import Entry

SITES_MAX = 8192
KEY_OVERHEAD_BYTES = 192
"""What a key takes beside itself and its records: a place in the table, which doubles when it grows, a link, and an empty tuple."""
RECORD_OVERHEAD_BYTES = 56
"""What makes bytes an object, a place in the tuple, and what the allocator rounds up."""
PACKED_KEYS = 256
"""Keys in a piece, and in a portion of tidying: about a millisecond."""

Past = tuple[str, tuple[bytes, ...]]
"""A key and its earlier records, oldest first."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Past]).decode


class Edition(NamedTuple):
    """One version of a key. `writer`: the member that wrote it, None where this node has never met it. `present`: nothing newer is here."""

    entry: Entry
    writer: str | None
    present: bool


class History:
    def __init__(self, versions_max: int, bytes_max: int) -> None:
        self._earlier_max, self._bytes_max = max(versions_max - 1, 0), bytes_max
        self._earlier: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._packed: deque[bytes] = deque()
        self._writers: dict[int, str] = {}
        self.bytes = 0

    def changed(self, changed: Changed) -> None:
        """A merge has replaced a record, if there was one."""
        if changed.old_record is not None:
            self._keep(changed.key, changed.old_record)

    def dropped(self, dropped: Dropped) -> None:
        """A record was taken out of the store."""
        self._keep(dropped.key, dropped.record)

    def _keep(self, key: str, record: bytes) -> None:
        if not self._earlier_max:
            return
        records = self._earlier.get(key, ())
        if not records:
            self.bytes += _key_bytes(key)
        elif len(records) == self._earlier_max:
            self.bytes -= _record_bytes(records[0])
            records = records[1:]
        self._earlier[key] = records + (record,)  # noqa: RUF005 - two tuples are joined without a list between
        self._earlier.move_to_end(key)
        self.bytes += _record_bytes(record)
        while self.bytes > self._bytes_max:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        if self._packed:
            self.bytes -= getsizeof(self._packed.popleft())
            return
        key, records = next(iter(self._earlier.items()))
        self.bytes -= _record_bytes(records[0])
        if len(records) > 1:
            self._earlier[key] = records[1:]
        else:
            del self._earlier[key]
            self.bytes -= _key_bytes(key)

    def earlier(self, key: str) -> list[bytes]:
        """The records before the present one, oldest first."""
        wanted = key.encode()
        packed = [records for piece in self._packed if wanted in piece for name, records in _unpack(piece) if name == key]
        found = [record for records in (*packed, self._earlier.get(key, ())) for record in records]
        return found[max(len(found) - self._earlier_max, 0) :]

    def tidy(self) -> bool:
        """Pack a portion, the keys that have not changed for longest; whether there is more to pack."""
        some = [self._earlier.popitem(last=False) for _ in range(min(PACKED_KEYS, len(self._earlier)))]
        if some:
            piece = _pack(some)
            self._packed.append(piece)
            self.bytes += getsizeof(piece) - sum(_key_bytes(key) + sum(map(_record_bytes, records)) for key, records in some)
        return bool(self._earlier)

    # -- who wrote it --------------------------------------------------------------------------------------------------

    def met(self, changed: MemberChanged) -> None:
        """Remember which name a site belongs to: also after the member has gone."""
        if changed.new is not None:
            self.name_site(changed.new.site, changed.new.name)

    def name_site(self, site: int, name: str) -> None:
        self._writers.pop(site, None)
        self._writers[site] = name
        if len(self._writers) > SITES_MAX:
            del self._writers[next(iter(self._writers))]

    def writer(self, site: int) -> str | None:
        """The name of the member whose life this was; None where this node has never met it."""
        return self._writers.get(site)


def _key_bytes(key: str) -> int:
    return getsizeof(key) + KEY_OVERHEAD_BYTES


def _record_bytes(record: bytes) -> int:
    return len(record) + RECORD_OVERHEAD_BYTES
