"""Store: the only owner of entries. It holds records (see entry.py). All that enters goes through
`merge`, or, at a restart, through `load`, which does the same for many at once; a record leaves by
`remove`, and a part of a typed one by `rewrite`.

The record of an entry that has expired stays, and the digest does not change, but no question finds
its value any more.

The digest tree, the sketch and the sorted index of live keys are kept in step here and nowhere
else. Positions follow from a seed, which may change in the life of a store (reseeding.py): then the
digest and the sketch are other ones from one moment to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import (
    MUST_GO,
    TYPED,
    Entry,
    entry_of,
    is_dead,
    may_expire,
    supersedes,
    value_in,
)
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.digest import FAN_OUT_BITS, POSITION_BITS, DigestTree
from kvgossip.protocol.store.hash_table import HashTable
from kvgossip.protocol.store.reseeding import STEP_KEYS, Reseeding
from kvgossip.protocol.store.sketch import Sketch
from kvgossip.protocol.store.sorted_keys import SortedKeys
from kvgossip.protocol.typed.body import fingerprinted, merged

UNTIDY_MIN, UNTIDY_SHARE = 1024, 16


class Store:
    """All entries of one replica, by key."""

    __slots__ = (
        "_live",
        "_next",
        "_removed",
        "_reseeds",
        "_tables",
        "_tidies",
        "digest",
        "expired",
        "record_bytes",
        "sketch",
    )

    def __init__(self, digest: DigestTree) -> None:
        self.digest = digest
        self.sketch = Sketch()
        self._tables = HashTable(digest)
        self._live = SortedKeys()
        #: keys whose entry has expired, and is here still
        self.expired: OrderedSet[str] = OrderedSet()
        #: how many keys' worth of room is too much, since the last `tidy`
        self._removed = 0
        #: the tidying under way
        self._tidies: Iterator[None] | None = None
        #: what is being made under another seed, and the work on it
        self._next: Reseeding | None = None
        self._reseeds: Iterator[None] | None = None
        #: of all records
        self.record_bytes = 0

    def __len__(self) -> int:
        return self._tables.count

    @property
    def live(self) -> int:
        """How many keys have a value."""
        return len(self._live)

    def merge(self, key: str, record: bytes) -> Changed | None:
        """Take a record if it supersedes ours, or what both come to where they join: the change has
        the record that is here then. None: there was no change. Raises RemoteError where what they
        come to is too long."""
        key_hash = self.digest.hash_of(key)
        old = self._tables.at(key_hash).get(key)
        bits = record[0] if old is None else old[0] | record[0]
        if bits & TYPED:
            before = None
            if old is not None:
                both = merged(old, record)
                if both == old or (both is None and not supersedes(record, old)):
                    return None
                if both is not None:
                    record, bits = both, bits | both[0]  # of two that live nothing may be left
                before = fingerprinted(old)
            went, came = self.digest.replace(key_hash, before, fingerprinted(record))
        elif old is not None and not supersedes(record, old):
            return None
        else:
            went, came = self.digest.replace(key_hash, old, record)
        self._tables.put(key_hash, key, record, old is None)
        if went:
            self.sketch.toggle_both(went, came)
        else:
            self.sketch.toggle(came)
        if old is None or bits & MUST_GO:
            self._index(key, old, record)
        else:
            self.record_bytes += len(record) - len(old)
        if self._next is not None:
            self._next.changed(key, record)
        return Changed(key, old, record)

    def rewrite(self, key: str, record: bytes) -> None:
        """Let the typed record under a key that is known to be here have these bytes: it is what it
        was, less something that has gone from it."""
        key_hash = self.digest.hash_of(key)
        old = self._tables.at(key_hash)[key]
        self._tables.put(key_hash, key, record, False)
        went, came = self.digest.replace(key_hash, fingerprinted(old), fingerprinted(record))
        if went != came:
            self.sketch.toggle_both(went, came)
        if key in self.expired:
            self.record_bytes += len(record) - len(old)
        else:
            self._index(key, old, record)
        if self._next is not None:
            self._next.changed(key, record)

    def expect(self, keys: int) -> None:
        """About so many keys are going to be loaded into this store, which is empty."""
        self._tables.expect(keys)
        self._removed = keys

    def load(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """`merge` of each of these; in half the time where they are new and sorted, as a disk has
        them."""
        # room for an entry that was expected, and does not come, is as much too much as that of one
        # that has gone
        self._removed = max(self._removed - len(entries), 0)
        known = self._tables.add(entries)
        fresh = (
            [entry for place, entry in enumerate(entries) if place not in known]
            if known
            else entries
        )
        self.sketch.toggle_all(self.digest.add(fresh))
        self._live.extend(key for key, record in fresh if not is_dead(record))
        self.record_bytes += sum(len(record) for _, record in fresh)
        for place in known:
            self.merge(*entries[place])

    def loaded(self) -> None:
        """Nothing more is going to be loaded. Later questions need not wait for the index to be
        sorted."""
        self._live.sort()

    def remove(self, key: str) -> bytes:
        """Take out the record under a key that is known to be here."""
        key_hash = self.digest.hash_of(key)
        record = self._tables.pop(key_hash, key)
        went, _ = self.digest.replace(key_hash, fingerprinted(record), None)
        self.sketch.toggle(went)
        if not self.is_deleted_or_expired(key, record):
            self._live.remove(key)
        self.expired.pop(key, None)
        self._removed += 1
        self.record_bytes -= len(record)
        if self._next is not None:
            self._next.changed(key, None)
        return record

    def tidy(self) -> bool:
        """Give back some of the room that removed keys took, for about a millisecond; true if there
        is more of that to do.

        It is done when much has gone, and only then: while it goes, a list that is moved would come
        to lie among it (see hash_table.py).
        """
        if self._tidies is None:
            if self._removed < max(UNTIDY_MIN, len(self) // UNTIDY_SHARE):
                return False
            self._tidies, self._removed = self._tables.tidy(), 0
        for _ in self._tidies:
            return True
        self._tidies = None
        return False

    def reseed(self, seed: int) -> None:
        """Let positions follow from this seed: at once where the keys are few, else as
        `work_on_seed` gets its turns."""
        if seed == (self._next or self).digest.seed:
            return
        self._next = self._reseeds = None
        if seed != self.digest.seed:
            self._next = Reseeding(self.digest.levels, seed)
            self._reseeds = self._reseeded(self._next)
            self.work_on_seed()

    @property
    def reseeding(self) -> bool:
        """True if there is work on another seed."""
        return self._reseeds is not None

    def work_on_seed(self) -> None:
        """Some milliseconds of it."""
        for _ in self._reseeds or ():
            return
        self._reseeds = None

    def _reseeded(self, new: Reseeding) -> Iterator[None]:
        yield from new.steps(self._tables, self.record)
        old, self._next, self._tidies, self._removed = self._tables, None, None, 0
        self._tables, self.digest, self.sketch = new.tables, new.digest, new.sketch
        if old.count > STEP_KEYS:
            yield from old.drain()

    def expire(self, key: str) -> None:
        """The entry under this key, which is live, has expired."""
        self._live.remove(key)
        self.expired.add(key)

    def revive(self, key: str) -> None:
        """The entry under this key, which has expired, is live again: the clock was set back."""
        del self.expired[key]
        self._live.add(key)

    def is_expired(self, key: str) -> bool:
        return key in self.expired

    def is_deleted_or_expired(self, key: str, record: bytes) -> bool:
        """True if this record, which is here under that key, is a tombstone or has expired."""
        return is_dead(record) or (may_expire(record) and key in self.expired)

    def _index(self, key: str, old: bytes | None, new: bytes) -> None:
        was_live, live = (
            old is not None and not self.is_deleted_or_expired(key, old),
            not is_dead(new),
        )
        self.expired.pop(key, None)
        if live and not was_live:
            self._live.add(key)
        elif was_live and not live:
            self._live.remove(key)
        self.record_bytes += len(new) - (len(old) if old is not None else 0)

    def __getitem__(self, key: str) -> bytes:
        """The record under a key that is known to be here."""
        record = self.record(key)
        if record is None:
            raise KeyError(key)
        return record

    def record(self, key: str) -> bytes | None:
        return self._tables.at(self.digest.hash_of(key)).get(key)

    def value(self, key: str) -> bytes | None:
        record = self.record(key)
        return None if record is None or key in self.expired else value_in(record)

    def get(self, key: str) -> Entry | None:
        """The live entry under the key."""
        record = self.record(key)
        return (
            None
            if record is None or self.is_deleted_or_expired(key, record)
            else entry_of(key, record)
        )

    def visible(self, key: str) -> bytes | None:
        """The record of an entry or a tombstone; None for one that has expired."""
        record = self.record(key)
        return None if record is None or key in self.expired else record

    def scan_entries(self, prefix: str = "", after: str = "", limit: int = 1000) -> list[Entry]:
        """`scan`, as entries."""
        return [entry_of(key, record) for key, record in self.scan(prefix, after, limit)]

    def scan(self, prefix: str, after: str, limit: int, offset: int = 0) -> list[tuple[str, bytes]]:
        """At most `limit` live keys, with records, that start with `prefix` and are greater than
        `after`, sorted by code point. `offset`: so many that are not less than both are left out
        first, at no cost."""
        found: list[tuple[str, bytes]] = []
        for key in self._live.since(max(prefix, after), offset):
            if not key.startswith(prefix) or len(found) == limit:
                break
            if key != after:
                found.append((key, self[key]))
        return found

    @property
    def live_keys(self) -> SortedKeys:
        """The keys that have a value: to be read, and changed by nobody else."""
        return self._live

    def entries_in(self, level: int, bucket: int) -> Iterator[tuple[str, bytes]]:
        """The key and record of every entry in a bucket of the digest tree, in no particular
        order."""
        width = POSITION_BITS - FAN_OUT_BITS * level
        return self._tables.between(bucket << width, (bucket + 1) << width)

    def parts_of(self, level: int, bucket: int) -> Iterator[list[tuple[str, bytes]]]:
        """`entries_in`, some at a time: few, but where the tree has too few levels for its keys.
        The store may change between two parts."""
        width = POSITION_BITS - FAN_OUT_BITS * level
        first, end = bucket << width, (bucket + 1) << width
        while first < end:
            stop = min(self._tables.end_of(first), end)
            yield list(self._tables.between(first, stop))
            first = stop

    def fingerprints_in(self, level: int, bucket: int) -> list[int]:
        """The fingerprint of every entry in a bucket of the digest tree, in the order of
        `entries_in`."""
        return self.digest.fingerprints(self.entries_in(level, bucket))

    def find(self, fingerprints: Iterable[int]) -> dict[int, str]:
        """The keys of those of these fingerprints that are here."""
        return self._tables.find(fingerprints)

    def work_on_sketch(self) -> None:
        """Fold some of the changes that wait into the sketch, for some milliseconds."""
        self.sketch.work(self._fingerprints_at)

    def _fingerprints_at(self, position: int) -> tuple[int, list[int]]:
        end = self._tables.end_of(position)
        return end, self.digest.fingerprints(self._tables.between(position, end))

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every key with its record, also tombstones. The store must not change
        meanwhile."""
        return self.entries_in(0, 0)

    def _check(self) -> None:
        """Asserts that index, digest and count agree with the records."""
        live = sorted(
            key for key, record in self.records() if not self.is_deleted_or_expired(key, record)
        )
        assert all(may_expire(self[key]) for key in self.expired), (
            "an entry has expired that never expires"
        )
        assert list(self._live.since("")) == live, "the index of live keys is wrong"
        self._live._check()
        assert self.record_bytes == sum(len(record) for _, record in self.records()), (
            "the count of bytes is wrong"
        )
        self._tables._check()
        self.digest._check(self.records())
