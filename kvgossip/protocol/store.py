"""Store: the only owner of entries. It holds records (see entry.py). All that enters goes through `merge`; what leaves, by `remove`.

An entry that has expired is hidden: its record stays, and the digest does not change, but no question finds its value any more.

The digest tree, the sketch and the sorted index of live keys are kept in step here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from sys import getsizeof

from kvgossip.protocol.digest import FAN_OUT, FAN_OUT_BITS, POSITION_BITS, DigestTree
from kvgossip.protocol.effect import Changed
from kvgossip.protocol.entry import Entry, entry_of, is_dead, is_fleeting, may_expire, supersedes, value_in
from kvgossip.protocol.index import SortedKeys
from kvgossip.protocol.sketch import Sketch


def _rooms(keys: int) -> list[int]:
    """What a table takes that has never held more than so many keys, from none on: bytes."""
    table: dict[str, bytes] = {}
    rooms = [getsizeof(table)]
    for number in range(keys):
        table[str(number)] = b""
        rooms.append(getsizeof(table))
    return rooms


ROOMS = _rooms(64)
SPARSE_BYTES = 100
"""A larger table that takes more than this for each key has much too much room: one that has just grown takes half of it."""
UNTIDY_MIN, UNTIDY_SHARE = 1024, 16
TIDY_PORTION = 1024


class Store:
    """All entries of one replica, by key. `record_bytes` counts the bytes of all records.

    A table for each bucket of the digest's deepest level, so that a fingerprint finds its key in one small table. A table of strings
    and bytes is nothing that the garbage collector visits, and none ever grows so large that growing it takes long.
    """

    __slots__ = ("_count", "_hidden", "_live", "_removed", "_shift", "_tables", "_tidied", "digest", "record_bytes", "sketch")

    def __init__(self, digest: DigestTree) -> None:
        self.digest = digest
        self.sketch = Sketch()
        self._shift = 64 - FAN_OUT_BITS * digest.levels
        self._tables: list[dict[str, bytes] | None] = [None] * FAN_OUT**digest.levels
        self._live = SortedKeys()
        self._hidden: dict[str, None] = {}
        self._count = self._removed = 0
        self._tidied = len(self._tables)
        self.record_bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def live(self) -> int:
        """How many keys have a value."""
        return len(self._live)

    def merge(self, key: str, record: bytes) -> Changed | None:
        """Take a record if it supersedes ours; what changed, or None if nothing did. The one door into the store."""
        key_hash = self.digest.hash_of(key)
        table = self._tables[key_hash >> self._shift]
        if table is None:
            table = self._make_table(key_hash >> self._shift)
        old = table.get(key)
        if old is not None and not supersedes(record, old):
            return None
        table[key] = record
        went, came = self.digest.replace(key_hash, old, record)
        if went:
            self.sketch.toggle(went)
        self.sketch.toggle(came)
        if old is None or is_fleeting(old) or is_fleeting(record):
            self._index(key, old, record)
        else:
            self.record_bytes += len(record) - len(old)
        return Changed(key, old, record)

    def _make_table(self, place: int) -> dict[str, bytes]:
        """With those beside it: they will be needed, and lie among what stays then, not among what comes and goes (see index.py)."""
        first = place - place % FAN_OUT
        self._tables[first : first + FAN_OUT] = [{} for _ in range(FAN_OUT)]
        made = self._tables[place]
        assert made is not None
        return made

    def remove(self, key: str) -> bytes:
        """Take out the record under a key that is known to be here."""
        key_hash = self.digest.hash_of(key)
        table = self._tables[key_hash >> self._shift]
        if table is None:
            raise KeyError(key)
        record = table.pop(key)
        went, _ = self.digest.replace(key_hash, record, None)
        self.sketch.toggle(went)
        if not self.is_spent(key, record):
            self._live.remove(key)
        self._hidden.pop(key, None)
        self._count -= 1
        self._removed += 1
        self.record_bytes -= len(record)
        return record

    def tidy(self) -> bool:
        """One portion, about a millisecond, of giving back the room that removed keys took; whether there is more of that to do.

        Where much has gone, and only then: while it goes, what is moved would come to lie among it (see index.py).
        """
        if self._tidied == len(self._tables):
            if self._removed < max(UNTIDY_MIN, self._count // UNTIDY_SHARE):
                return False
            self._tidied = self._removed = 0
        for table in self._tables[self._tidied : self._tidied + TIDY_PORTION]:
            if table is not None and _is_roomy(table):
                _tighten(table)
        self._tidied = min(self._tidied + TIDY_PORTION, len(self._tables))
        return self._tidied < len(self._tables)

    def hide(self, key: str) -> None:
        """The entry under this key, which is live, has expired."""
        self._live.remove(key)
        self._hidden[key] = None

    def is_hidden(self, key: str) -> bool:
        return key in self._hidden

    def is_spent(self, key: str, record: bytes) -> bool:
        """Whether this record, which is here under that key, is a death certificate or has expired."""
        return is_dead(record) or (may_expire(record) and key in self._hidden)

    def _index(self, key: str, old: bytes | None, new: bytes) -> None:
        was_live, live = old is not None and not self.is_spent(key, old), not is_dead(new)
        self._hidden.pop(key, None)
        if live and not was_live:
            self._live.add(key)
        elif was_live and not live:
            self._live.remove(key)
        if old is None:
            self._count += 1
        else:
            self.record_bytes -= len(old)
        self.record_bytes += len(new)

    def __getitem__(self, key: str) -> bytes:
        """The record under a key that is known to be here."""
        record = self.record(key)
        if record is None:
            raise KeyError(key)
        return record

    def record(self, key: str) -> bytes | None:
        table = self._tables[self.digest.hash_of(key) >> self._shift]
        return None if table is None else table.get(key)

    def value(self, key: str) -> bytes | None:
        record = self.record(key)
        return None if record is None or key in self._hidden else value_in(record)

    def get(self, key: str) -> Entry | None:
        """The live entry under the key."""
        record = self.record(key)
        return None if record is None or self.is_spent(key, record) else entry_of(key, record)

    def scan(self, prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """At most `limit` live keys, with records, that start with `prefix` and are greater than `after`, sorted by code point."""
        found: list[tuple[str, bytes]] = []
        for key in self._live.since(max(prefix, after)):
            if not key.startswith(prefix) or len(found) == limit:
                break
            if key != after:
                found.append((key, self[key]))
        return found

    def entries_in(self, level: int, bucket: int) -> Iterator[tuple[str, bytes]]:
        """The key and record of every entry in a bucket of the digest tree, in no particular order."""
        width = FAN_OUT ** (self.digest.levels - level)
        for table in self._tables[bucket * width : (bucket + 1) * width]:
            if table is not None:
                yield from table.items()

    def fingerprints_in(self, level: int, bucket: int) -> list[int]:
        """The fingerprint of every entry in a bucket of the digest tree, in the order of `entries_in`."""
        return self.digest.fingerprints(self.entries_in(level, bucket))

    def find(self, fingerprints: Iterable[int]) -> dict[int, str]:
        """The keys of those of these fingerprints that are here."""
        by_table: dict[int, list[int]] = {}
        for fingerprint in fingerprints:
            by_table.setdefault(fingerprint >> self._shift, []).append(fingerprint)
        found: dict[int, str] = {}
        for place, asked in by_table.items():
            table = self._tables[place] or {}
            here = dict(zip(self.digest.fingerprints(table.items()), table, strict=True))
            found.update((fingerprint, here[fingerprint]) for fingerprint in asked if fingerprint in here)
        return found

    def work_on_sketch(self) -> None:
        """One portion, some milliseconds, of what waits to go into the sketch."""
        self.sketch.work(self._fingerprints_at)

    def _fingerprints_at(self, position: int) -> tuple[int, list[int]]:
        width = 1 << (POSITION_BITS - FAN_OUT_BITS * self.digest.levels)
        return position + width, self.fingerprints_in(self.digest.levels, position // width)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every key with its record, also death certificates. The store must not change meanwhile."""
        return self.entries_in(0, 0)

    def _check(self) -> None:
        """Asserts that index, digest and count are what the records say."""
        live = sorted(key for key, record in self.records() if not self.is_spent(key, record))
        assert all(may_expire(self[key]) for key in self._hidden), "an entry is hidden that never expires"
        assert list(self._live.since("")) == live, "the index of live keys is wrong"
        self._live._check()
        assert self._count == sum(1 for _ in self.records()), "the count of entries is wrong"
        assert self.record_bytes == sum(len(record) for _, record in self.records()), "the count of bytes is wrong"
        for place, table in enumerate(self._tables):
            assert all(self.digest.hash_of(key) >> self._shift == place for key in table or ()), "a key is in the wrong table"
        self.digest._check(self.records())


def _is_roomy(table: dict[str, bytes]) -> bool:
    return getsizeof(table) > (ROOMS[len(table)] if len(table) < len(ROOMS) else SPARSE_BYTES * len(table))


def _tighten(table: dict[str, bytes]) -> None:
    """A dict never gives back room by itself. The same dict goes on, where it is."""
    held = list(table.items())
    table.clear()
    table.update(held)
