"""Difference: an estimate of how many keys of two stores differ, from 256 bytes, and how many
symbols of a sketch it takes to name them."""

from __future__ import annotations

import math

from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.sketch import SYMBOLS_MAX

PARITY_LEVEL, PARITY_GROUP = 3, 4
SHARE_MAX = 0.9


def parities(digest: DigestTree) -> bytes:
    """Two bits of the sum of every PARITY_GROUP buckets of a level: how many of them differ tells
    how many keys do, in 256 B."""
    sums = digest.sums(min(PARITY_LEVEL, digest.levels))
    low = bytes(total & 3 for total in sums)
    pairs = [
        a ^ b ^ c ^ d
        for a, b, c, d in zip(
            *(low[place::PARITY_GROUP] for place in range(PARITY_GROUP)), strict=True
        )
    ]
    return bytes(
        a << 6 | b << 4 | c << 2 | d
        for a, b, c, d in zip(*(pairs[place::4] for place in range(4)), strict=True)
    )


def differing_keys(digest: DigestTree, theirs: bytes) -> float:
    """How many keys differ, at most as chance goes (2.5 sigma): infinite when too many to tell, or
    when the trees are of other depths."""
    keys, is_all = estimated_keys(digest, theirs)
    if not is_all:
        return math.inf
    groups = 4 * len(theirs)
    load = keys / groups
    sigma = math.sqrt(groups * (math.exp(load) - 1 - load) + groups * load / 3)
    return keys + 2.5 * sigma + 1


def estimated_keys(digest: DigestTree, theirs: bytes) -> tuple[float, bool]:
    """How many keys differ, by the parities of the other side; False: that many at least, but there
    are too many to tell.

    Of m groups of buckets a share 1 - e^(-k/m) holds some of k differing keys, and three of four of
    these show it.
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
    """How many symbols give back so many changed keys, two fingerprints each, 999 times of 1,000; 0
    when more than there are.

    Measured: 1.36 a fingerprint for many of them, and the fewer they are the more chance has its
    way.
    """
    symbols = 20 + 1.36 * 2 * keys + 4.5 * math.sqrt(2 * keys)
    return math.ceil(symbols) if symbols <= SYMBOLS_MAX else 0
