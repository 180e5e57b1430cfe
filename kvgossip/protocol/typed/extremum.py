"""Max and min: the greatest, or the least, of all numbers that anybody has put.

    payload := MessagePack number: an integer of 64 bits, or a float that is finite

A number that changes nothing is no write. One that does supersedes all that its writer has; of two
at once both are kept, so that a delete that has seen one of them leaves the other. Where an integer
and a float are equal, the newer one is shown.
"""

from __future__ import annotations

import math

import msgspec

from kvgossip.errors import BadPartError
from kvgossip.protocol.typed.typed_record import DOT_BYTES, TypedRecord, write

MAX, MIN = "max", "min"
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1


def put(record: TypedRecord, dot: bytes, number: float) -> TypedRecord:
    """The same record where the number is no greater (less) than what is here. Raises BadPartError
    for what is no number, and as `write`."""
    check_number(number)
    present = number_of(record)
    if present is not None and not _is_beyond(record.type, number, present):
        return record
    return write(record, dot, [_encode(number)], record.live)


def number_of(record: TypedRecord) -> int | float | None:
    """None where it was deleted."""
    best: int | float | None = None
    for value in record.live:
        number = _decode(value[DOT_BYTES:])
        if best is None or number == best or _is_beyond(record.type, number, best):
            best = number
    return best


def check(payload: bytes) -> None:
    """Raises ValueError, BadPartError or MsgspecError unless a write makes this payload."""
    number = _decode(payload)
    check_number(number)
    if _encode(number) != payload:
        raise ValueError("a number that is not canonical")


def check_number(number: object) -> None:
    """Raises BadPartError unless it is one that all nodes have alike."""
    exact = type(number) is int and INTEGER_MIN <= number <= INTEGER_MAX
    if not exact and not (type(number) is float and math.isfinite(number)):
        raise BadPartError(
            "this is no number that can be kept", "use an integer of 64 bits, or a finite float"
        )


def _is_beyond(type_: str, number: float, other: float) -> bool:
    return number > other if type_ == MAX else number < other


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(int | float).decode
