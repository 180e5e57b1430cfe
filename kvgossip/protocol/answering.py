"""The answering side of an exchange: functions of the store alone. They keep nothing, so whoever answers may restart, forget, or be
asked twice without harm. Questions that make no sense raise RemoteError.

No answer is longer than ENTRIES_MAX entries or the given number of bytes, but for one that holds a single larger entry: that bounds
how long the event loop is held, and how much waits for a peer. What found no room is said, and asked for again.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from sys import byteorder
from typing import TypeVar

from kvgossip.errors import RemoteError
from kvgossip.protocol.digest import FAN_OUT, DigestTree
from kvgossip.protocol.member import Standing
from kvgossip.protocol.message import Compare, Decoded, Differ, Entries, Leaves, Pair, Sketch, Symbols, Want
from kvgossip.protocol.sketch import SYMBOL_BYTES, SYMBOLS_MAX
from kvgossip.protocol.store import Store

T = TypeVar("T")
ENTRIES_MAX = 300
PARITY_LEVEL, PARITY_GROUP = 3, 4
SHARE_MAX = 0.9
_ENTRY_OVERHEAD_BYTES = 12


def pack(kind: str, numbers: Iterable[int]) -> bytes:
    """Big-endian numbers: `kind` "I" of 32 bits, "Q" of 64."""
    packed = array(kind, numbers)
    if byteorder == "little":
        packed.byteswap()
    return packed.tobytes()


def unpack(kind: str, data: bytes) -> array[int]:
    """What `pack` made. Raises RemoteError when the length is no multiple."""
    numbers = array(kind)
    if len(data) % numbers.itemsize:
        raise RemoteError("bad_message", "a list of numbers that is cut off")
    numbers.frombytes(data)
    if byteorder == "little":
        numbers.byteswap()
    return numbers


def answer_compare(store: Store, asked: Compare, members: int, standing: Standing) -> Differ:
    """Which of the buckets differ here. `members`: the digest of this node's member table."""
    digest, parents, theirs = store.digest, unpack("I", asked.parents), unpack("Q", asked.fingerprints)
    differing: list[int] = []
    if asked.level == 0:
        differing = [] if theirs.tolist() == [digest.root] else [0]
    else:
        if len(theirs) != len(parents) * FAN_OUT or any(parent >= FAN_OUT ** (asked.level - 1) for parent in parents):
            raise RemoteError("bad_message", "a comparison of buckets that do not exist")
        if asked.level > digest.levels:
            # a deeper tree than ours: all of it may differ, and the asker goes on at our deepest level
            return Differ(asked.exchange, asked.request, digest.levels, pack("I", (p * FAN_OUT for p in parents)), members, standing)
        ours = digest.sums(asked.level)
        for place, parent in enumerate(parents):
            first, at = parent * FAN_OUT, place * FAN_OUT
            if ours[first : first + FAN_OUT] != theirs[at : at + FAN_OUT]:
                differing += [first + child for child in range(FAN_OUT) if ours[first + child] != theirs[at + child]]
    return Differ(asked.exchange, asked.request, digest.levels, pack("I", differing), members, standing)


def answer_leaves(store: Store, asked: Leaves, bytes_max: int) -> Entries:
    """What the asker lacks in these buckets, as far as there is room, and the fingerprints that are wanted of it."""
    buckets, counts, theirs = unpack("I", asked.buckets), unpack("I", asked.counts), unpack("Q", asked.fingerprints)
    if asked.level > store.digest.levels or len(buckets) != len(counts) or sum(counts) != len(theirs):
        raise RemoteError("bad_message", "leaves that do not add up")
    if any(bucket >= FAN_OUT**asked.level for bucket in buckets):
        raise RemoteError("bad_message", "leaves of a bucket that does not exist")
    answer, wanted, at, answered = Batch(bytes_max), array("Q"), 0, 0
    for bucket, count in zip(buckets, counts, strict=True):
        lacking, missing = _difference(store, asked.level, bucket, theirs[at : at + count])
        at += count
        wanted.extend(missing)
        if not all(answer.add(pair) for pair in lacking):
            break
        answered += 1
    return Entries(asked.exchange, asked.request, answered, answer.taken, pack("Q", wanted))


def _difference(store: Store, level: int, bucket: int, theirs: array[int]) -> tuple[Iterator[Pair], list[int]]:
    """(the records they lack, the fingerprints I lack) of one bucket."""
    if not theirs:
        return store.entries_in(level, bucket), []
    mine = dict(zip(store.fingerprints_in(level, bucket), store.entries_in(level, bucket), strict=True))
    listed = dict.fromkeys(theirs)
    lacking = (pair for fingerprint, pair in mine.items() if fingerprint not in listed)
    return lacking, [fingerprint for fingerprint in listed if fingerprint not in mine]


def answer_sketch(store: Store, asked: Sketch, bytes_max: int, members: int, standing: Standing) -> Decoded | Symbols:
    """The difference, where the asker's symbols are enough; else our own symbols, as many as it should take; else none."""
    if len(asked.symbols) % SYMBOL_BYTES or not asked.symbols:
        raise RemoteError("bad_message", "symbols that are cut off")
    levels = store.digest.levels
    found = store.sketch.decode(asked.symbols) if store.sketch.ready else None
    if found is None:
        wanted = symbols_for(differing_keys(store.digest, asked.parities)) if store.sketch.ready else 0
        return Symbols(asked.exchange, asked.request, levels, store.sketch.prefix(wanted) if wanted else b"", members, standing)
    here, answer, offered = store.find(found), Batch(bytes_max), array("Q")
    for fingerprint, key in here.items():
        if not answer.add((key, store[key])):
            offered.append(fingerprint)
    missing = pack("Q", (fingerprint for fingerprint in found if fingerprint not in here))
    return Decoded(asked.exchange, asked.request, levels, answer.taken, pack("Q", offered), missing, members, standing)


def answer_want(store: Store, asked: Want, bytes_max: int) -> Entries:
    """The entries with these fingerprints, as far as there is room; those that have changed meanwhile are rumors of their own."""
    fingerprints = unpack("Q", asked.fingerprints)
    here, answer, answered = store.find(fingerprints), Batch(bytes_max), 0
    for fingerprint in fingerprints:
        key = here.get(fingerprint)
        if key is not None and not answer.add((key, store[key])):
            break
        answered += 1
    return Entries(asked.exchange, asked.request, answered, answer.taken, b"")


# -- how much differs --------------------------------------------------------------------------------------------


def parities(digest: DigestTree) -> bytes:
    """Two bits of the sum of every PARITY_GROUP buckets of a level: how many of them differ tells how many keys do, in 256 B."""
    sums = digest.sums(min(PARITY_LEVEL, digest.levels))
    low = bytes(total & 3 for total in sums)
    pairs = [a ^ b ^ c ^ d for a, b, c, d in zip(*(low[place::PARITY_GROUP] for place in range(PARITY_GROUP)), strict=True)]
    return bytes(a << 6 | b << 4 | c << 2 | d for a, b, c, d in zip(*(pairs[place::4] for place in range(4)), strict=True))


def differing_keys(digest: DigestTree, theirs: bytes) -> float:
    """How many keys differ, at most as chance goes (2.5 sigma): infinite when too many to tell, or when the trees are of other depths."""
    keys, is_all = estimated_keys(digest, theirs)
    if not is_all:
        return math.inf
    groups = 4 * len(theirs)
    load = keys / groups
    sigma = math.sqrt(groups * (math.exp(load) - 1 - load) + groups * load / 3)
    return keys + 2.5 * sigma + 1


def estimated_keys(digest: DigestTree, theirs: bytes) -> tuple[float, bool]:
    """How many keys differ, by the parities of the other side; False: that many at least, but there are too many to tell.

    Of m groups of buckets a share 1 - e^(-k/m) holds some of k differing keys, and three of four of these show it.
    """
    ours = parities(digest)
    if len(ours) != len(theirs):
        return 0.0, False
    groups = 4 * len(ours)
    unequal = (a ^ b for a, b in zip(ours, theirs, strict=True) if a != b)
    differing = sum(((bits | bits >> 1) & 0x55).bit_count() for bits in unequal)
    share = differing / groups * 4 / 3
    return -math.log(1 - min(share, SHARE_MAX)) * groups, share <= SHARE_MAX


def symbols_for(keys: float) -> int:
    """How many symbols give back so many changed keys, two fingerprints each, 999 times of 1,000; 0 when more than there are.

    Measured: 1.36 a fingerprint for many of them, and the fewer they are the more chance has its way.
    """
    symbols = 20 + 1.36 * 2 * keys + 4.5 * math.sqrt(2 * keys)
    return math.ceil(symbols) if symbols <= SYMBOLS_MAX else 0


# -- entries in messages -----------------------------------------------------------------------------------------


class Batch:
    """The entries of one message. It always takes the first one, however long."""

    __slots__ = ("_pairs", "_room")

    def __init__(self, bytes_max: int) -> None:
        self._pairs: list[Pair] = []
        self._room = bytes_max

    def add(self, pair: Pair) -> bool:
        """Whether there was room for it; a character of a key may take up to four bytes."""
        cost = 4 * len(pair[0]) + len(pair[1]) + _ENTRY_OVERHEAD_BYTES
        if self._pairs and (cost > self._room or len(self._pairs) >= ENTRIES_MAX):
            return False
        self._pairs.append(pair)
        self._room -= cost
        return True

    @property
    def taken(self) -> tuple[Pair, ...]:
        return tuple(self._pairs)


def batches(pairs: Iterable[Pair], bytes_max: int) -> Iterator[tuple[Pair, ...]]:
    """The pairs in batches."""
    batch = Batch(bytes_max)
    for pair in pairs:
        if not batch.add(pair):
            yield batch.taken
            batch = Batch(bytes_max)
            batch.add(pair)
    if batch.taken:
        yield batch.taken


def chunks(things: Iterable[T], length: int) -> Iterator[list[T]]:
    """The things in lists of at most `length`."""
    iterator = iter(things)
    while chunk := list(islice(iterator, length)):
        yield chunk
