"""Batching: lists of numbers as bytes, and entries in messages of bounded size."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from sys import byteorder, maxsize
from typing import NamedTuple, TypeVar

from kvgossip.config import Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.model.entry import version_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.frame import entry_bytes_max, message_bytes_max
from kvgossip.protocol.wire.message import Notice, Pair

T = TypeVar("T")

ENTRIES_MAX = 300
_ENTRY_OVERHEAD_BYTES = 12
_NOTICE_BYTES = 40


class Room(NamedTuple):
    """How many bytes a peer takes: in one message, and of one entry that goes alone."""

    message_bytes: int
    entry_bytes: int = maxsize

    def takes_together(self, entries: Iterable[Pair]) -> bool:
        """True if these fit into one message, however long."""
        costs = (4 * len(key) + len(record) + _ENTRY_OVERHEAD_BYTES for key, record in entries)
        return sum(costs) <= self.entry_bytes


def room_of(config: Config, peer: Member | None) -> Room:
    """The room of this peer, which tells the longest frame that it takes; of one that does not, and
    of a stranger, as of this node itself."""
    if peer is None or not peer.frame_bytes_max:
        return Room(config.message_bytes_max)
    longest = peer.frame_bytes_max
    return Room(min(config.message_bytes_max, message_bytes_max(longest)), entry_bytes_max(longest))


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
    """The entries of one message. It always takes the first one, however long; but for what is too
    long for the peer: that is noticed, and left out."""

    __slots__ = ("_entry_bytes", "_left_out", "_pairs", "_room")

    def __init__(self, room: Room) -> None:
        self._pairs: list[Pair] = []
        self._left_out: list[Notice] = []
        self._room, self._entry_bytes = room

    def add(self, pair: Pair) -> bool:
        """True if there was room for it; a character of a key may take up to four bytes."""
        key, record = pair
        cost = 4 * len(key) + len(record) + _ENTRY_OVERHEAD_BYTES
        is_too_long = cost > self._entry_bytes
        if is_too_long:
            cost = 4 * len(key) + _NOTICE_BYTES
        count = len(self._pairs) + len(self._left_out)
        if count and (cost > self._room or count >= ENTRIES_MAX):
            return False
        self._room -= cost
        if is_too_long:
            self._left_out.append(Notice(key, *version_of(record), len(record)))
        else:
            self._pairs.append(pair)
        return True

    @property
    def taken(self) -> tuple[Pair, ...]:
        return tuple(self._pairs)

    @property
    def left_out(self) -> tuple[Notice, ...]:
        """What is too long for the peer."""
        return tuple(self._left_out)


def batches(pairs: Iterable[Pair], room: Room) -> Iterator[Batch]:
    """The pairs in batches."""
    batch = Batch(room)
    for pair in pairs:
        if not batch.add(pair):
            yield batch
            batch = Batch(room)
            batch.add(pair)
    if batch.taken or batch.left_out:
        yield batch


def chunks(things: Iterable[T], length: int) -> Iterator[list[T]]:
    """The things in lists of at most `length`."""
    iterator = iter(things)
    while chunk := list(islice(iterator, length)):
        yield chunk
