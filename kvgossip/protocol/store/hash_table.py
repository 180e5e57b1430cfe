"""HashTable: the records of a store by key, in many dicts, each of which holds the keys of a range
of positions (see digest.py).

None of them ever grows so large that growing it takes long; and a fingerprint, whose top bits are
its key's position, finds its key in one of them. The garbage collector of CPython does not visit
dicts of strings and bytes up to 3.13; from 3.14 on it does (gh-127010), where they are not frozen
(kvgossip/cli/process/memory.py).

This is extendible hashing (Fagin et al. 1979): a directory of slots, where a table takes 2^k slots
that lie side by side. One that has more than KEYS_MAX keys is split, and when much has been
removed, those beside each other that have few are joined.

Why not a small dict for each bucket of the digest, as there once was? Because of what is left when
many keys have come and gone. A dict never gives back room by itself, and takes new room after some
more insertions, wherever memory happens to be free then: among what comes and goes. CPython's
allocator gives back a megabyte when nothing of it is in use, and sixty-five thousand little dicts
left something in nearly each. Larger ones are taken from the system's allocator, which gives back
pages, and they are few.

Law: keys of one table come in the order in which they were put, whatever was split and joined
meanwhile.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from sys import getsizeof

from kvgossip.protocol.store.digest import FAN_OUT_BITS, POSITION_BITS, DigestTree
from kvgossip.protocol.store.free_list import FreeList

KEYS_MAX = 64
JOINED_MAX = 56
EXPECTED_KEYS = 40
TIDY_TABLES = 64
"""So many tables take about a millisecond."""


def _rooms(keys: int) -> list[int]:
    """The bytes that a dict takes which has never held more than so many keys, from none on."""
    table: dict[str, bytes] = {}
    rooms = [getsizeof(table)]
    for number in range(keys):
        table[str(number)] = b""
        rooms.append(getsizeof(table))
    return rooms


ROOMS = _rooms(2 * KEYS_MAX)
DRAINED_SLOTS = 1024
"""The keys of so many are let go in about a millisecond."""
SPARSE_BYTES = 100
"""A larger dict that takes more than this for each key has much too much room: one that has just
grown takes three quarters of it."""

Table = dict[str, bytes]


class HashTable:
    """Records by key, as above."""

    __slots__ = ("_bits", "_digest", "_seen", "_shift", "_slots", "_spares", "_widths", "count")

    def __init__(self, digest: DigestTree) -> None:
        bits = min(POSITION_BITS, FAN_OUT_BITS * digest.levels)
        #: how many keys there are
        self.count = 0
        self._digest, self._shift, self._bits = digest, 64 - bits, POSITION_BITS - bits
        #: by slot, its table
        self._slots: list[Table] = [{}] * (1 << bits)
        #: by slot, how many slots its table takes
        self._widths = array("I", [1 << bits]) * (1 << bits)
        self._spares = FreeList[bytes]()
        #: the table of which a part was asked for last, and the positions of its keys; None where
        #: it has changed since
        self._seen: tuple[Table, list[int]] | None = None

    def expect(self, keys: int) -> None:
        """About so many keys will come into these tables, which are empty: split them now, while
        that moves nothing."""
        assert not self.count, "what is here would be lost"
        width = len(self._slots)
        while width > 1 and keys * width > EXPECTED_KEYS * len(self._slots):
            width //= 2
        self._slots = [
            table for _ in range(len(self._slots) // width) for table in [Table()] * width
        ]
        self._widths = array("I", [width]) * len(self._slots)

    def at(self, key_hash: int) -> Table:
        """The table in which a key with this hash lies. Read only."""
        return self._slots[key_hash >> self._shift]

    def put(self, key_hash: int, key: str, record: bytes, is_new: bool) -> None:
        """Let this record lie under the key; `is_new`: nothing does yet."""
        place = key_hash >> self._shift
        table = self._slots[place]
        table[key] = record
        if is_new:
            self._change(table)
            self.count += 1
            if len(table) > KEYS_MAX:
                self._split(place)

    def add(self, entries: Collection[tuple[str, bytes]]) -> dict[int, None]:
        """`put` of many. The places of those whose keys lie here already: nothing was done about
        these."""
        slots, shift, known = self._slots, self._shift, dict[int, None]()
        self._seen = None
        for number, (key_hash, (key, record)) in enumerate(
            zip(self._digest.hashes(entries), entries, strict=True)
        ):
            table = slots[key_hash >> shift]
            size = len(table)
            table.setdefault(key, record)
            if len(table) == size:
                known[number] = None
            elif size == KEYS_MAX:
                self._split(key_hash >> shift)
        self.count += len(entries) - len(known)
        return known

    def pop(self, key_hash: int, key: str) -> bytes:
        """Take out a key. Raises KeyError where it is not there."""
        table = self._slots[key_hash >> self._shift]
        record = table.pop(key)
        self._change(table)
        self.count -= 1
        return record

    def _change(self, table: Table) -> None:
        if self._seen is not None and self._seen[0] is table:
            self._seen = None

    def __iter__(self) -> Iterator[Table]:
        """Every table, once."""
        place = 0
        while place < len(self._slots):
            yield self._slots[place]
            place += self._widths[place]

    # -- questions --------------------------------------------------------------------------------

    def between(self, first: int, end: int) -> Iterator[tuple[str, bytes]]:
        """The keys, and records, whose positions are `first` or greater, and less than `end`."""
        while first < end:
            start, stop = self._range_of(first)
            table = self._slots[first >> self._bits]
            if start == first and stop <= end:
                yield from table.items()
            else:
                places = self._positions(table)
                yield from (
                    pair
                    for place, pair in zip(places, table.items(), strict=True)
                    if first <= place < end
                )
            first = stop

    def end_of(self, position: int) -> int:
        """The end of the range of the table that holds this position."""
        return self._range_of(position)[1]

    def _range_of(self, position: int) -> tuple[int, int]:
        place = position >> self._bits
        width = self._widths[place]
        first = place - place % width
        return first << self._bits, (first + width) << self._bits

    def _positions(self, table: Table) -> list[int]:
        """Kept, as the next small range is asked for after this one."""
        if self._seen is None or self._seen[0] is not table:
            self._seen = (
                table,
                [
                    key_hash >> (64 - POSITION_BITS)
                    for key_hash in self._digest.hashes(table.items())
                ],
            )
        return self._seen[1]

    def find(self, fingerprints: Iterable[int]) -> dict[int, str]:
        """The keys of those of these fingerprints that are here."""
        by_table: dict[int, list[int]] = {}
        for fingerprint in fingerprints:
            place = fingerprint >> self._shift
            by_table.setdefault(place - place % self._widths[place], []).append(fingerprint)
        found: dict[int, str] = {}
        for place, asked in by_table.items():
            here = self._digest.those_at(
                {fingerprint >> (64 - POSITION_BITS) for fingerprint in asked},
                self._slots[place].items(),
            )
            found.update(
                (fingerprint, here[fingerprint]) for fingerprint in asked if fingerprint in here
            )
        return found

    # -- tables come and go -----------------------------------------------------------------------

    def _split(self, place: int) -> None:
        """In two halves, if there is more than one slot. The lower one goes on in the same dict."""
        width = self._widths[place]
        if width == 1:
            return
        half, first, table = width // 2, place - place % width, self._slots[place]
        bound = (first + half) << self._shift
        low, high = Table(), self._spares.take()
        for key_hash, (key, record) in zip(
            self._digest.hashes(table.items()), table.items(), strict=True
        ):
            (low if key_hash < bound else high)[key] = record
        _refill(table, low)
        self._seen = None
        self._slots[first + half : first + width] = [high] * half
        self._widths[first : first + width] = array("I", [half]) * width
        if len(table) > KEYS_MAX or len(high) > KEYS_MAX:
            self._split(first if len(table) > KEYS_MAX else first + half)

    def tidy(self) -> Iterator[None]:
        """Join and tighten, in steps of about a millisecond. Keys may come and go
        meanwhile."""
        place = seen = 0
        while place < len(self._slots):
            if self._join(place):
                place -= place % self._widths[place]
            else:
                table = self._slots[place]
                if _is_roomy(table):
                    _refill(table, dict(table))
                place += self._widths[place] - place % self._widths[place]
            seen += 1
            if seen % TIDY_TABLES == 0:
                yield

    def _join(self, place: int) -> bool:
        """Join the table of this slot with the one beside it, if both take as many slots, and have
        few keys together."""
        width = self._widths[place]
        if width == len(self._slots):
            return False
        first = place - place % (2 * width)
        low, high = self._slots[first], self._slots[first + width]
        if (
            not self._widths[first] == self._widths[first + width] == width
            or len(low) + len(high) > JOINED_MAX
        ):
            return False
        _refill(low, low | high)
        self._spares.give(high)
        self._slots[first + width : first + 2 * width] = [low] * width
        self._widths[first : first + 2 * width] = array("I", [2 * width]) * (2 * width)
        self._seen = None
        return True

    def drain(self) -> Iterator[None]:
        """Let go of all keys, in steps: nobody needs these tables any more."""
        while len(self._slots) > DRAINED_SLOTS:
            del self._slots[-DRAINED_SLOTS:]
            yield

    def _check(self) -> None:
        """Asserts that every key is in the table of its range, and that the directory holds
        together."""
        place = count = 0
        while place < len(self._slots):
            width, table = self._widths[place], self._slots[place]
            assert place % width == 0, "a table begins where it cannot"
            assert all(each is table for each in self._slots[place : place + width]), (
                "a table has not all of its slots"
            )
            assert self._widths[place : place + width].tolist() == [width] * width, (
                "slots of a table disagree"
            )
            assert len(table) <= KEYS_MAX or width == 1, "a table was not split"
            assert all(
                place <= self._digest.hash_of(key) >> self._shift < place + width for key in table
            ), "a key is in the wrong table"
            count += len(table)
            place += width
        assert self.count == count, "the count of keys is wrong"
        self._spares._check()


def _is_roomy(table: Table) -> bool:
    return getsizeof(table) > (
        ROOMS[len(table)] if len(table) < len(ROOMS) else SPARSE_BYTES * len(table)
    )


def _refill(table: Table, held: Table) -> None:
    """Let this dict hold just that, in no more room than it needs."""
    table.clear()
    table.update(held)
