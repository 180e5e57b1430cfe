"""History: earlier versions of keys, as this node has seen them. They live in memory, bounded, and
are no part of the replicated data.

Laws
- The history of a key is the versions that its merges on this node have replaced, and those taken
  out of the store; so a key that was written once costs nothing here. Two nodes may have seen
  different versions: of two writes that met somewhere else, this node saw the winner alone.
- A write that has lost, although the other one's writer had not seen it, is here on every node to
  which both were offered, whichever came first: so it can be written again.
- At most `versions_max` versions of a key are shown, the present one among them, and at most
  `bytes_max` bytes of memory are taken for all keys together: the key that has not changed for
  longest goes first, and of a key the older versions. `versions_max` 0 keeps and shows nothing.
- While a key changes, its records are kept as they are. The others are packed, with the records of
  many keys in one chunk of bytes: those that were taken out of the store, those that have not
  changed for longest when half of the memory is taken, and all of them when much has gone (`tidy`).
  As objects of their own, old records and keys lie scattered among all that comes and goes in the
  store, and CPython gives back no megabyte of which one of them is left.
- Bytes are those that the objects take. Most keys have one or two small records here, and what
  holds them takes more than they do.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import chain, islice
from operator import itemgetter
from sys import getsizeof
from typing import NamedTuple

import msgspec

from kvgossip.protocol.effect import Dropped, MemberChanged
from kvgossip.protocol.model.entry import HEAD_BYTES, Entry, is_dead
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.typed.views import view_of
from kvgossip.runtime.changes.packing import packed

SITES_MAX = 8192
KEY_OVERHEAD_BYTES = 192
"""A key takes so much beside itself and its records: a place in the table, which doubles when it
grows, a link, and an empty tuple."""
RECORD_OVERHEAD_BYTES = 56
"""The object around the bytes, a place in the tuple, and the allocator's rounding up."""
PAST_OVERHEAD_BYTES = 64
"""A key that waits to be packed is a pair, and has a place in a list."""
CHUNK_KEYS = 256
"""Keys in a packed chunk, and in a step of tidying: about a millisecond."""

_VERSION = slice(1, HEAD_BYTES)

Past = tuple[str, tuple[bytes, ...]]
"""A key and its earlier records, oldest first."""

_unpack = msgspec.msgpack.Decoder(list[Past]).decode


class HistoryEntry(NamedTuple):
    """One version of a key. `writer`: the member that wrote it, None where this node has never met
    it. `present`: nothing newer is here."""

    entry: Entry
    writer: str | None
    present: bool


class History:
    """Of all keys of one life of a node: at most `versions_max` versions of each, and `bytes_max`
    bytes together."""

    def __init__(self, versions_max: int, bytes_max: int) -> None:
        self._earlier_max, self._bytes_max = max(versions_max - 1, 0), bytes_max
        #: records as they are, of keys that change; the key that changed last is the last one
        self._earlier: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        #: keys that wait to be packed
        self._gone: list[Past] = []
        #: chunks of packed keys, oldest first
        self._packed: deque[bytes] = deque()
        #: names by site, the one that was met last at the end
        self._writers: Newest[int, str] = Newest(SITES_MAX)
        self._earlier_bytes = self._gone_bytes = self._packed_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """The memory that it takes, bytes."""
        return self._earlier_bytes + self._gone_bytes + self._packed_bytes

    def dropped(self, dropped: Dropped) -> None:
        """A record was taken out of the store."""
        self.keep(dropped.key, dropped.record)
        if dropped.key in self._earlier:
            self._put_away(dropped.key)
            self._forget()

    def keep(self, key: str, record: bytes) -> None:
        """A merge has replaced this record."""
        if not self._earlier_max:
            return
        records, size = self._earlier.get(key, ()), _record_bytes(record)
        if not records:
            size += _key_bytes(key)
        elif len(records) == self._earlier_max:
            size -= _record_bytes(records[0])
            records = records[1:]
        self._earlier[key] = records + (record,)  # noqa: RUF005 - two tuples are joined without a list between
        self._earlier.move_to_end(key)
        self._earlier_bytes += size
        while self._earlier_bytes > self._bytes_max // 2:
            self._put_away(next(iter(self._earlier)))
        self._forget()

    def lost(self, key: str, record: bytes) -> None:
        """A merge has refused this record, or replaced it, in favour of one whose writer had not
        seen it."""
        if record not in self._earlier.get(key, ()):
            self.keep(key, record)
        if key in self._earlier:
            self._earlier[key] = tuple(sorted(self._earlier[key], key=itemgetter(_VERSION)))

    def _put_away(self, key: str) -> None:
        records = self._earlier.pop(key)
        size = _key_bytes(key) + sum(map(_record_bytes, records))
        self._earlier_bytes -= size
        self._gone_bytes += size + PAST_OVERHEAD_BYTES
        self._gone.append((key, records))
        if len(self._gone) >= CHUNK_KEYS:
            self._pack_gone()

    def _pack_gone(self) -> None:
        chunk = packed(self._gone)
        self._packed.append(chunk)
        self._packed_bytes += getsizeof(chunk)
        self._gone, self._gone_bytes = [], 0

    def _forget(self) -> None:
        """Forget the oldest, while all together take too much. Records that are not put away take
        half of it at most."""
        while self._earlier_bytes + self._gone_bytes + self._packed_bytes > self._bytes_max:
            if not self._packed:
                self._pack_gone()
            self._packed_bytes -= getsizeof(self._packed.popleft())

    def earlier(self, key: str) -> list[bytes]:
        """The records before the present one, oldest first."""
        wanted = key.encode()
        put_away = chain.from_iterable(_unpack(chunk) for chunk in self._packed if wanted in chunk)
        found = [
            record
            for name, records in chain(put_away, self._gone)
            if name == key
            for record in records
        ]
        found += self._earlier.get(key, ())
        return found[max(len(found) - self._earlier_max, 0) :]

    def entries(self, key: str, record: bytes | None) -> list[HistoryEntry]:
        """The versions of the key, newest first; `record` is the present one."""
        earlier = self.earlier(key)
        # a tombstone that was collected is still true
        is_deleted = record is None and bool(earlier) and is_dead(earlier[-1])
        records = earlier if record is None else [*earlier, record]
        entries = [view_of(key, each) for each in reversed(records)]
        present = record is not None or is_deleted
        return [
            HistoryEntry(each, self.writer(each.version.site), present and each is entries[0])
            for each in entries
        ]

    def tidy(self) -> bool:
        """Pack a chunk, the keys that have not changed for longest; true if there is more to
        pack."""
        for key in list(islice(self._earlier, CHUNK_KEYS)):
            self._put_away(key)
        if not self._earlier and self._gone:
            self._pack_gone()
        return bool(self._earlier)

    # -- the writers of versions ------------------------------------------------------------------

    def met(self, changed: MemberChanged) -> None:
        """Remember which name a site belongs to: also after the member has gone."""
        if changed.new is not None:
            self.name_site(changed.new.site, changed.new.name)

    def name_site(self, site: int, name: str) -> None:
        self._writers.pop(site, None)
        self._writers[site] = name

    def writer(self, site: int) -> str | None:
        """The name of the member whose life this was; None where this node has never met it."""
        return self._writers.get(site)


def _key_bytes(key: str) -> int:
    return getsizeof(key) + KEY_OVERHEAD_BYTES


def _record_bytes(record: bytes) -> int:
    return len(record) + RECORD_OVERHEAD_BYTES
