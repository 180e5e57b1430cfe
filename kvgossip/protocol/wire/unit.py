"""Units: the messages and records of members in a frame, to bytes and back.

    unit := kind (1 byte), length (4 bytes, big-endian), body: a MessagePack array

Units of an unknown kind are passed over, so that newer peers can say more. A unit that cannot be
decoded costs itself, not its neighbours.

Laws
- Any bytes give messages or RemoteErrors, never another exception.
- A frame has at most UNITS_MAX units, of which MEMBERS_MAX records of members are read, and is
  dropped whole where none of its first UNREADABLE_MAX units can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from kvgossip.errors import RemoteError
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire import (
    clock_messages,
    exchange_messages,
    message,
    overview_messages,
    release_messages,
    story_messages,
)
from kvgossip.protocol.wire.member_record import decode_member, encode_member
from kvgossip.protocol.wire.message import Message

UNITS_MAX, MEMBERS_MAX = 4096, 256
UNREADABLE_MAX = 100
MEMBER_KIND = 5
TOO_MUCH = "too_much"
"""The fault of a unit beyond what one frame may ask for."""
BAD_MEMBER = "bad_member"
"""The fault of a record that cannot be read, perhaps since a newer release knows more states. Such
news is passed over by itself."""
_UNIT = Struct(">BI")
UNIT_BYTES = _UNIT.size

_encode = msgspec.msgpack.Encoder().encode
_DECODERS: dict[int, msgspec.msgpack.Decoder[Any]] = {
    kind.kind: msgspec.msgpack.Decoder(kind)
    for module in (
        message,
        exchange_messages,
        release_messages,
        overview_messages,
        story_messages,
        clock_messages,
    )
    for kind in vars(module).values()
    if kind in Message.__subclasses__()
}
_DECODE: dict[int, Callable[[memoryview], Message | Member]] = {MEMBER_KIND: decode_member}
_DECODE |= {kind: decoder.decode for kind, decoder in _DECODERS.items()}


def encode(unit: Message | Member) -> bytes:
    """The bytes of one unit."""
    if isinstance(unit, Member):
        kind, body = MEMBER_KIND, encode_member(unit)
    else:
        kind, body = unit.kind, _encode(unit)
    return _UNIT.pack(kind, len(body)) + body


def encode_briefly(unit: Message | Member) -> bytes:
    """The same unit without the trailing fields that have their defaults, as every release reads
    it: for an answer that may be no longer than its question."""
    if isinstance(unit, Member):
        return encode(unit)
    fields = msgspec.structs.astuple(unit)
    count, defaults = len(fields), unit.__struct_defaults__
    required = count - len(defaults)
    while count > required and fields[count - 1] == defaults[count - 1 - required]:
        count -= 1
    body = _encode(fields[:count])
    return _UNIT.pack(unit.kind, len(body)) + body


class Opened(NamedTuple):
    """The content of a frame: its messages in order, and the reasons why some units gave none."""

    messages: list[Message | Member]
    faults: list[str]


def units_of(
    data: memoryview, count_max: int = UNITS_MAX, too_many: str = "too_many_units"
) -> Opened:
    """Raises RemoteError, with the reason `too_many`, where they are; and where they are nothing
    but noise."""
    opened = Opened([], [])
    messages, faults = opened
    at = count = members = 0
    end = len(data)
    while at < end:
        count += 1
        if count > count_max:
            raise RemoteError(too_many)
        if count > UNREADABLE_MAX and not messages:
            raise RemoteError("unreadable")
        start = at + UNIT_BYTES
        if start > end:
            faults.append("truncated")
            break
        kind, length = _UNIT.unpack_from(data, at)
        at = start + length
        if at > end:
            faults.append("truncated")
            break
        decode = _DECODE.get(kind)
        if decode is None:
            faults.append("unknown_kind")
            continue
        if kind == MEMBER_KIND:
            members += 1
            if members > MEMBERS_MAX:
                faults.append(TOO_MUCH)
                continue
        try:
            messages.append(decode(data[start:at]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            faults.append(BAD_MEMBER if kind == MEMBER_KIND else "bad_message")
    return opened
