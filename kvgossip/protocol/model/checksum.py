"""The checksum of a value under its key, wherever both are kept: on the disk, and in the lines of
an export. XXH3, 64 bits: against damage, not against an enemy."""

from __future__ import annotations

from xxhash import xxh3_64_digest, xxh3_64_intdigest

CHECKSUM_BYTES = 8


def checksum(key: bytes, value: bytes) -> bytes:
    """8 bytes; a value that comes to lie under another key has another one."""
    return xxh3_64_digest(value, xxh3_64_intdigest(key))
