"""Packing: many small values of the past as one string of bytes, which lies in memory as one (why:
see feed.py and history.py)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_encode = msgspec.msgpack.Encoder().encode


def packed(rows: Sequence[tuple[object, ...]]) -> bytes:
    """The rows as MessagePack, in no more bytes than they need: msgspec leaves room in what it
    encodes, so this is a copy."""
    return bytes(memoryview(_encode(rows)))
