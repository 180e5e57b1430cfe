"""The record of a member to bytes and back, with the fields that this release does not know.

    record := a MessagePack array: the fields of Member in their order, then those that a newer
            release has added

Laws
- What a newer release adds behind the known fields is kept as it came, and passed on with whatever
  this node tells of the member: as unknown names of an entry's meta are. So releases can be mixed
  and rolled back, and no field is lost on the way through an older node.
- A record has at most RECORD_BYTES_MAX: it travels as news, and fits into every datagram.
"""

from __future__ import annotations

import msgspec

from kvgossip.protocol.model.member import Member

RECORD_BYTES_MAX = 1168
KNOWN_FIELDS = Member.__struct_fields__[:-1]
"""The fields on the wire, by place: all but `later`."""

_encode = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(tuple[msgspec.Raw, ...]).decode
_decode_known = msgspec.msgpack.Decoder(Member).decode


def encode_member(member: Member) -> bytes:
    """The bytes of the record. One without a signature, or that knows no types, is as before there
    were any."""
    *known, later = msgspec.structs.astuple(member)
    if not (member.types or later):
        known.pop()
        if not member.signature:
            known.pop()
    return _encode((*known, *map(msgspec.Raw, later)))


def decode_member(body: bytes | memoryview) -> Member:
    """The member of a record. Raises msgspec.MsgspecError, UnicodeDecodeError or RecursionError."""
    if len(body) > RECORD_BYTES_MAX:
        raise msgspec.ValidationError(f"a record of {len(body)} bytes")
    fields = _decode_fields(body)
    known = fields[: len(KNOWN_FIELDS)]
    if len(known) == len(fields):
        return _decode_known(body)
    later = tuple(map(bytes, fields[len(known) :]))
    return msgspec.structs.replace(_decode_known(_encode(known)), later=later)
