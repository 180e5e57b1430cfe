"""The set: elements come and go, and an element that was added while somebody else removed it
stays. An observed-remove set without tombstones (ORSWOT).

    payload := MessagePack text, the element: 1 to 1,024 bytes of UTF-8

To add an element gives it a new dot, also where it is there already; to remove it takes the dots
that it has here. One write may add several: they share its dot.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kvgossip.errors import BadPartError
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed.typed_record import DOT_BYTES, TypedRecord, removal, write

TYPE = "set"
ELEMENT_BYTES_MAX = 1024


def add(record: TypedRecord, dot: bytes, elements: Iterable[str]) -> TypedRecord:
    """Raises BadPartError for what is no element, or where there is none, and as `write`."""
    payloads = payloads_of(elements)
    return write(
        record, dot, payloads, [value for value in record.values if value[DOT_BYTES:] in payloads]
    )


def remove(record: TypedRecord, dot: bytes, elements: Iterable[str]) -> TypedRecord:
    """The same record where none of these is there. Raises BadPartError for what is no element."""
    payloads = payloads_of(elements)
    found = [value for value in record.values if value[DOT_BYTES:] in payloads]
    return removal(record, dot, found) if found else record


def elements_of(record: TypedRecord) -> frozenset[str]:
    return frozenset(_decode(value[DOT_BYTES:]) for value in record.live)


def check(payload: bytes) -> None:
    """Raises ValueError, BadPartError or MsgspecError unless a write makes this payload."""
    element = _decode(payload)
    check_text(element, "an element")
    if _encode(element) != payload:
        raise ValueError("an element that is not canonical")


def payloads_of(elements: Iterable[str]) -> OrderedSet[bytes]:
    """Raises BadPartError for what is no element, or where there is none."""
    if isinstance(elements, str):
        raise BadPartError("a text is no list of elements", "give a list, also of one element")
    given = list(elements)
    for element in given:
        check_text(element, "an element")
    if not given:
        raise BadPartError("there is no element", "name at least one")
    return OrderedSet(map(_encode, given))


def check_text(text: str, what: str) -> None:
    """Raises BadPartError unless this is 1 to 1,024 bytes of UTF-8."""
    try:
        size = len(text.encode()) if isinstance(text, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= ELEMENT_BYTES_MAX:
        raise BadPartError(
            f"{what} is not usable", f"use a text of 1 to {ELEMENT_BYTES_MAX} bytes of UTF-8"
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(str).decode
