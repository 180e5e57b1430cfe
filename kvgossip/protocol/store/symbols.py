"""Symbols: what a sketch consists of, each the XOR of some fingerprints and of their checksums.

Where a fingerprint lies follows from itself alone, and so does its checksum. In one column of
integers, the checksum in the low 32 bits: one XOR does both, and a member of a small cluster needs
nothing but the standard library. numpy_symbols.py has the same numbers for bulk loads.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from math import ceil, sqrt
from sys import byteorder

SYMBOL_BYTES = 12
MASK = 0xFFFFFFFFFFFFFFFF
STEP = 0xDA942042E4DD58B5
MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
CHECK_BITS = 32
_CHECK_MASK = (1 << CHECK_BITS) - 1


def checksum(fingerprint: int) -> int:
    """32 bits of a mix (splitmix64's finaliser) of the fingerprint."""
    x = (fingerprint * MIX_1) & MASK
    x ^= x >> 29
    x = (x * MIX_2) & MASK
    return (x ^ (x >> 32)) & _CHECK_MASK


def places(fingerprint: int, length: int) -> Iterator[int]:
    """The symbols below `length` that hold this fingerprint."""
    place, state = 0, fingerprint
    while place < length:
        yield place
        state = (state * STEP) & MASK
        place += ceil((place + 1.5) * (4294967296.0 / sqrt(state + 1.0) - 1.0))


def odd_ones(fingerprints: array[int]) -> array[int]:
    """Those that are there an odd number of times, once each."""
    odd: dict[int, None] = {}
    for fingerprint in fingerprints:
        if odd.pop(fingerprint, fingerprint) is not None:
            odd[fingerprint] = None
    return array("Q", odd)


class Symbols:
    """`sums`: of each symbol its XOR of fingerprints, shifted, and in the low bits that of their
    checksums."""

    def __init__(self, sums: list[int]) -> None:
        self.sums = sums
        #: so many fingerprints are folded, and peeled, in about a millisecond
        self.chunk, self.peeled = 256, 128

    def toggle(self, fingerprints: Sequence[int]) -> None:
        """Add or take away."""
        sums = self.sums
        length = len(sums)
        for fingerprint in fingerprints:
            both = fingerprint << CHECK_BITS | checksum(fingerprint)
            # `places`, in place: half of the time of a loop over it
            place, state = 0, fingerprint
            while place < length:
                sums[place] ^= both
                state = (state * STEP) & MASK
                place += ceil((place + 1.5) * (4294967296.0 / sqrt(state + 1.0) - 1.0))

    def pack(self, length: int) -> bytes:
        """The first `length` symbols, 12 bytes each: all XORs of fingerprints (64 bits), then all
        of checksums (32 bits), big-endian."""
        some = self.sums[:length]
        sums = array("Q", [each >> CHECK_BITS for each in some])
        checks = array("I", [each & _CHECK_MASK for each in some])
        _swap(sums)
        _swap(checks)
        return sums.tobytes() + checks.tobytes()

    def minus(self, packed: bytes) -> Symbols:
        """What is left of the first ones where these are taken away."""
        length = len(packed) // SYMBOL_BYTES
        sums, checks = array("Q", packed[: 8 * length]), array("I", packed[8 * length :])
        _swap(sums)
        _swap(checks)
        theirs = zip(self.sums, sums, checks, strict=False)
        return Symbols([own ^ (sum_ << CHECK_BITS | check) for own, sum_, check in theirs])

    def alone(self) -> list[int]:
        """The fingerprints that are by themselves in some symbol."""
        found: dict[int, None] = {}
        for each in self.sums:
            fingerprint = each >> CHECK_BITS
            if fingerprint and checksum(fingerprint) == each & _CHECK_MASK:
                found[fingerprint] = None
        return list(found)

    @property
    def left(self) -> bool:
        """True if there is anything."""
        return any(self.sums)


def _swap(column: array[int]) -> None:
    if byteorder == "little":
        column.byteswap()
