"""DigestTree: fingerprints of all entries, combined level by level; never values.

A key's position is the top 16 bits of its seeded hash. Level l has 16^l buckets, a bucket holds the
keys whose positions share its 4 * l bits, and its fingerprint is the XOR of their fingerprints. The
top 16 bits of a fingerprint are the key's position, so that a fingerprint that a peer names finds
its key in one small bucket.

Laws: the tree depends on the content and the seed alone, never on the order of arrival; of a typed
record all counts but what it has seen (typed/body.py); one write costs one XOR a level; the
fingerprints of a level do not depend on how deep the tree is, so that peers with trees of different
depth compare the levels that both have.

The seed is the cluster's, and a secret of its members (model/cluster_id.py): who knows it can aim
keys at one bucket. Trees of different seeds have nothing to compare: what two nodes say of buckets,
fingerprints and symbols carries the tag of the seed, in the number of the exchange. XXH3 is no
cipher, and a root that is seen to change by known keys says much of a seed; so nothing outside
shows a root, but `shown` of it.

Why XOR and not a hash of hashes: it makes a write O(depth) without reading siblings, and it is the
same sum that the rateless sketch needs. It is no defence against a peer who forges collisions;
members of a cluster trust each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Set
from functools import reduce
from hashlib import blake2b
from itertools import pairwise
from operator import xor

from xxhash import xxh3_64_intdigest

from kvgossip.protocol.model.entry import TYPED
from kvgossip.protocol.typed.body import fingerprinted

FAN_OUT = 16
FAN_OUT_BITS = 4
POSITION_BITS = 16
_BODY_BITS = 64 - POSITION_BITS
_BODY_MASK = (1 << _BODY_BITS) - 1
_TOP_MASK = ~_BODY_MASK
TAG_BITS = 32
_TAG_MASK = (1 << TAG_BITS) - 1


def shown(root: int) -> int:
    """What people and clients see of a root: 64 bits, equal where roots are, from which nothing
    follows of the seed."""
    return _one_way(root, 8, b"kvgossip root")


def _one_way(number: int, length: int, purpose: bytes) -> int:
    digest = blake2b(number.to_bytes(8, "big"), digest_size=length, person=purpose)
    return int.from_bytes(digest.digest(), "big")


class DigestTree:
    """`levels`: depth, 1 to 4; `seed`: 64 bits, the same in a whole cluster."""

    __slots__ = ("_behind", "_seed", "_shifted", "_sums", "_tag", "levels")

    def __init__(self, levels: int, seed: int) -> None:
        self.levels = levels
        self._seed = seed
        self._tag = _one_way(seed, TAG_BITS // 8, b"kvgossip seed")
        self._sums = [array("Q", bytes(8 * FAN_OUT**level)) for level in range(levels + 1)]
        self._shifted = tuple(
            (sums, 64 - FAN_OUT_BITS * level) for level, sums in enumerate(self._sums)
        )
        self._behind = False

    @property
    def root(self) -> int:
        return self.sums(0)[0]

    @property
    def shown(self) -> int:
        """The root, as it is shown."""
        return shown(self.root)

    @property
    def seed(self) -> int:
        return self._seed

    def numbered(self, number: int) -> int:
        """This number of 32 bits, with the tag of the seed behind it: of a conversation about what
        this tree holds."""
        return number << TAG_BITS | self._tag

    def has_numbered(self, number: int) -> bool:
        """True if that conversation is about a tree of the same seed."""
        return number & _TAG_MASK == self._tag

    def hash_of(self, key: str) -> int:
        """64 bits; the top ones are the key's position."""
        return xxh3_64_intdigest(key.encode(), self._seed)

    def fingerprint(self, key: str, record: bytes) -> int:
        key_hash = xxh3_64_intdigest(key.encode(), self._seed)
        if record and record[0] & TYPED:  # what a peer has sent may be nothing
            record = fingerprinted(record)
        return (key_hash & _TOP_MASK) | (xxh3_64_intdigest(record, key_hash) & _BODY_MASK)

    def fingerprints(self, entries: Iterable[tuple[str, bytes]]) -> list[int]:
        """The fingerprints of these keys and records, in their order: a descent spends its time on
        them."""
        seed = self._seed
        return [
            ((key_hash := xxh3_64_intdigest(key.encode(), seed)) & _TOP_MASK)
            | (
                xxh3_64_intdigest(
                    fingerprinted(record) if record and record[0] & TYPED else record, key_hash
                )
                & _BODY_MASK
            )
            for key, record in entries
        ]

    def those_at(self, positions: Set[int], entries: Iterable[tuple[str, bytes]]) -> dict[int, str]:
        """The keys of those of these entries that are at one of the positions, by fingerprint."""
        seed, found = self._seed, dict[int, str]()
        for key, record in entries:
            key_hash = xxh3_64_intdigest(key.encode(), seed)
            if key_hash >> _BODY_BITS in positions:
                if record[0] & TYPED:
                    record = fingerprinted(record)
                found[
                    (key_hash & _TOP_MASK) | (xxh3_64_intdigest(record, key_hash) & _BODY_MASK)
                ] = key
        return found

    def replace(self, key_hash: int, old: bytes | None, new: bytes | None) -> tuple[int, int]:
        """Account for one change: `old` and `new` are the records before and after, as they are
        fingerprinted (typed/body.py), None where there is none.

        `key_hash` is what `hash_of` gives. Returns the fingerprints that went and came, 0 where
        there is none.
        """
        top = key_hash & _TOP_MASK
        went = top | (xxh3_64_intdigest(old, key_hash) & _BODY_MASK) if old is not None else 0
        came = top | (xxh3_64_intdigest(new, key_hash) & _BODY_MASK) if new is not None else 0
        delta = went ^ came
        for sums, shift in self._shifted:
            sums[key_hash >> shift] ^= delta
        return went, came

    def hashes(self, entries: Iterable[tuple[str, bytes]]) -> Iterator[int]:
        """`hash_of` each key."""
        seed = self._seed
        return (xxh3_64_intdigest(key.encode(), seed) for key, _ in entries)

    def add(self, entries: Iterable[tuple[str, bytes]]) -> array[int]:
        """Account for entries that are new; the fingerprints that came, in their order.

        Not with `hashes` kept in a list: to make thousands of numbers that live a while takes glibc
        longer than to hash again.
        """
        seed, came = self._seed, array("Q")
        sums, shift = self._shifted[-1]
        for key, record in entries:
            key_hash = xxh3_64_intdigest(key.encode(), seed)
            if record[0] & TYPED:
                record = fingerprinted(record)
            fingerprint = (key_hash & _TOP_MASK) | (
                xxh3_64_intdigest(record, key_hash) & _BODY_MASK
            )
            sums[fingerprint >> shift] ^= fingerprint
            came.append(fingerprint)
        self._behind = True
        return came

    def _catch_up(self) -> None:
        """After `add` only the lowest level is right: the others are the sums of it, and all
        together cost some milliseconds."""
        self._behind = False
        for upper, lower in reversed(list(pairwise(self._sums))):
            upper[:] = reduce(
                lambda one, other: array("Q", map(xor, one, other)),
                (lower[first::FAN_OUT] for first in range(FAN_OUT)),
            )

    def sums(self, level: int) -> array[int]:
        """The fingerprints of all 16^level buckets of a level. Read only."""
        if self._behind:
            self._catch_up()
        return self._sums[level]

    def bucket_of(self, level: int, fingerprint: int) -> int:
        """The bucket in which the key of this fingerprint lies."""
        return fingerprint >> (64 - FAN_OUT_BITS * level)

    def _check(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Asserts that this tree agrees with the content: rebuilt from nothing, it is the same."""
        fresh = DigestTree(self.levels, self._seed)
        for key, record in entries:
            fresh.replace(fresh.hash_of(key), None, fingerprinted(record))
        assert all(fresh.sums(level) == self.sums(level) for level in range(self.levels + 1)), (
            "the sums differ from the content"
        )
