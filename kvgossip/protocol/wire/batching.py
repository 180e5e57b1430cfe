"""Batching: lists of numbers as bytes, and entries in messages of bounded size."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from sys import byteorder
from typing import TypeVar

from kvgossip.errors import RemoteError
from kvgossip.protocol.wire.message import Pair

T = TypeVar("T")

ENTRIES_MAX = 300
_ENTRY_OVERHEAD_BYTES = 12


def pack(kind: str, numbers: Iterable[int]) -> bytes:
    """Big-endian numbers: `kind` "I" of 32 bits, "Q" of 64."""
    packed = array(kind, numbers)
    if byteorder == "little":
        packed.byteswap()
    return packed.tobytes()


def unpack(kind: str, data: bytes) -> array[int]:
    """The numbers that `pack` was given. Raises RemoteError when the length is no multiple."""
    numbers = array(kind)
    if len(data) % numbers.itemsize:
        raise RemoteError("bad_message", "a list of numbers that is cut off")
    numbers.frombytes(data)
    if byteorder == "little":
        numbers.byteswap()
    return numbers


class Batch:
    """The entries of one message. It always takes the first one, however long."""

    __slots__ = ("_pairs", "_room")

    def __init__(self, bytes_max: int) -> None:
        self._pairs: list[Pair] = []
        self._room = bytes_max

    def add(self, pair: Pair) -> bool:
        """True if there was room for it; a character of a key may take up to four bytes."""
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
