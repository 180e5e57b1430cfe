"""Counter: each life of a node adds to a subtotal of its own, which nobody else changes; the
counter is their sum.

    payload := MessagePack integer, the subtotal, from -(2^63 - 1) to 2^63 - 1

A subtotal is the unit of a delete: one that the deleter has seen goes, one that has grown since
lives, whole. So whoever wants to set a counter to nought adds what it lacks.

Of one life the latest subtotal counts, and a join leaves the others out, whatever has been pruned:
a node that was away for long would count what it has kept beside what came since. The price: a life
whose subtotal was taken from its store on a false word begins with nought, and what others still
hold of it is lost.

Subtotals grow in number with every life that counts. A node takes over those of its own former
lives (tombstones/former_lives.py): it adds them to its own, and supersedes them, by a write like
any other one. Nobody else may, or two would count them; and it may do so only by proof (as in
`prune`), once nothing of that life can be under way that is newer than what is here: that would
hold the same again. Who deletes at that moment has not seen that write, and it lives.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import msgspec

from kvgossip.errors import BadPartError
from kvgossip.protocol.typed.typed_record import DOT_BYTES, TypedRecord, write

TYPE = "counter"
SUBTOTAL_MAX = 2**63 - 1


def add(
    record: TypedRecord, dot: bytes, amount: int, adopted: Container[bytes] = ()
) -> TypedRecord:
    """Raises BadPartError where the subtotal of this life would need more than 64 bits. `adopted`:
    the dots of former lives of this node that are proved, whose subtotals it takes over."""
    own = [value for value in record.live if is_own(value, dot, adopted)]
    return write(record, dot, [payload_of(total_of(own) + amount)], own)


def is_own(value: bytes, dot: bytes, adopted: Container[bytes] = ()) -> bool:
    """True if the life that writes this dot changes the subtotal that this value is."""
    return value[8:DOT_BYTES] == dot[8:] or value[:DOT_BYTES] in adopted


def held_by_later(values: Iterable[bytes]) -> list[bytes]:
    """The subtotals of a life that has a later one among these values, which are sorted: that one
    holds what they hold, also where nobody knows any more that it superseded them."""
    latest: dict[bytes, bytes] = {}
    stale: list[bytes] = []
    for value in values:
        if len(value) > DOT_BYTES:
            site = value[8:DOT_BYTES]
            if site in latest:
                stale.append(latest[site])
            latest[site] = value
    return stale


def total_of(values: Iterable[bytes]) -> int:
    """The sum of these values, which are no deletes."""
    return sum(_decode(value[DOT_BYTES:]) for value in values)


def payload_of(subtotal: int) -> bytes:
    """Raises BadPartError for one of more than 64 bits."""
    check_subtotal(subtotal)
    return _encode(subtotal)


def check(payload: bytes) -> None:
    """Raises ValueError, BadPartError or MsgspecError unless a write makes this payload."""
    subtotal = _decode(payload)
    check_subtotal(subtotal)
    if _encode(subtotal) != payload:
        raise ValueError("a subtotal that is not canonical")


def check_subtotal(subtotal: int) -> None:
    """Raises BadPartError for one of more than 64 bits."""
    if not -SUBTOTAL_MAX <= subtotal <= SUBTOTAL_MAX:
        raise BadPartError(
            "the counter would have more than 64 bits", f"add up to {SUBTOTAL_MAX} on a node"
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(int).decode
