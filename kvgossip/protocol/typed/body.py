"""The bytes of a typed record: a record as any other one (model/entry.py), which a node that does
not know its type keeps and forwards, and of which it takes the greater version.

    meta    := the fields that this node does not know, sorted by name
               "x" when the last value expires, if all do
               "y" [format, type]
               "d" the deletes: their dots, 16 bytes each, sorted; left out where there are none
               "s" what was seen: site and timestamp, 8 bytes each, sorted by site
    value   := MessagePack, a list of the values that are no deletes, sorted: each is its dot and
               its payload. Empty where there is none: then the record is a tombstone

Laws
- One content has one form. Bytes that are not what `encode` makes of their own content are no
  record, so that equal content has equal fingerprints everywhere.
- What is fingerprinted has an empty "s", of every record that has the bit, whether the type is
  known or not. "s" is the one field that a node may shorten on its own.
- Of a type, or a format of it, that is not known nothing is read: its records do not join, and the
  greater version is kept.
- Bounds for what comes from peers lie far above those of writes: a join of records that were not
  too long must not be one that peers refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from kvgossip.errors import KVGossipError, RemoteError
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    META_BYTES_MAX,
    TYPED,
    Version,
    check_record,
    fields_in,
    is_typed,
    make_typed_record,
    value_offset,
    version_of,
    with_fields,
)
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed import add_wins_set, counter, extremum, field_map, siblings
from kvgossip.protocol.typed.typed_record import (
    DOT_BYTES,
    PAIR_BYTES,
    TypedRecord,
    context_of,
    covers,
    dots_of,
    join,
    version_of_dot,
)

BODY_FORMAT = 1
RECORD_BYTES_MAX = 2**20
PAIRS_MAX = 2048
DELETES_MAX = 1024

CHECKS: Mapping[str, Callable[[bytes], None]] = {
    siblings.TYPE: siblings.check,
    counter.TYPE: counter.check,
    add_wins_set.TYPE: add_wins_set.check,
    field_map.TYPE: field_map.check,
    extremum.MAX: extremum.check,
    extremum.MIN: extremum.check,
}
"""By type, the check of a payload."""
HELD_BY_LATER: Mapping[str, Callable[[Iterable[bytes]], Container[bytes]]] = {
    counter.TYPE: counter.held_by_later,
    field_map.TYPE: field_map.held_by_later,
}
"""By type, what of the values of a join is held by others of them."""

_OWN_FIELDS = ("x", "y", "d", "s")


def encode(typed: TypedRecord) -> bytes:
    """The record. Raises RemoteError for one that peers would refuse: only a join makes one."""
    fields: dict[str, Any] = _decode_others(typed.others) if typed.others else {}
    live = typed.live
    if typed.type == siblings.TYPE:
        expires_ms = siblings.expires_ms(live)
        if expires_ms is not None:
            fields["x"] = expires_ms
    fields["y"] = (BODY_FORMAT, typed.type)
    if len(live) < len(typed.values):
        fields["d"] = b"".join(value for value in typed.values if len(value) == DOT_BYTES)
    fields["s"] = b"".join([site + typed.seen[site] for site in sorted(typed.seen)])
    if (
        len(fields["s"]) > PAIRS_MAX * PAIR_BYTES
        or len(fields.get("d", b"")) > DELETES_MAX * DOT_BYTES
        or len(typed.others) > META_BYTES_MAX
    ):
        raise RemoteError("typed_too_long", f"a {typed.type} with too many writers")
    value = _encode(live) if live else b""
    record = make_typed_record(typed.version, fields, value, deleted=not live)
    if len(record) > RECORD_BYTES_MAX:
        raise RemoteError("typed_too_long", f"a {typed.type} of {len(record)} bytes")
    return record


def type_in(record: bytes) -> str | None:
    """The type of this record, which has been checked; None where it is none that is known."""
    if not is_typed(record):
        return None
    return _type_of(fields_in(record))


def shown_type(record: bytes) -> str:
    """In words."""
    return (
        f"a {type_in(record) or 'record of an unknown type'}"
        if is_typed(record)
        else "a plain value"
    )


def decode(record: bytes) -> TypedRecord:
    """That of a record that is known to be one: as it is read from the own store."""
    return _decoded(record, fields_in(record))


def parse(record: bytes) -> TypedRecord:
    """That of bytes of a peer. Raises RemoteError for whatever is no typed record of a known
    type."""
    if not 0 < len(record) <= RECORD_BYTES_MAX or not is_typed(record):
        raise RemoteError("bad_record", "no typed record")
    check_record(record)
    fields = fields_in(record)
    if _type_of(fields) is None:
        raise RemoteError("bad_record", "a record of an unknown type")
    try:
        typed = _decoded(record, fields)
        _check(typed)
        canonical = encode(typed)
    except (KVGossipError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        raise RemoteError("bad_record", f"a typed record that is none: {error}") from None
    if canonical != record:
        raise RemoteError("bad_record", "a typed record in another form than all have")
    return typed


def merged(mine: bytes, offered: bytes) -> bytes | None:
    """The record that both of these come to, each of which has been checked. None where they do not
    join: the greater version is kept then. Raises RemoteError for one that is too long."""
    if not do_join(mine, offered):
        return None
    if mine == offered:
        return mine
    here = decode(mine)
    both = joined(here, decode(offered))
    return mine if both == here else encode(both)


def do_join(one: bytes, other: bytes) -> bool:
    """True if these records are of one type, which is known."""
    type_ = type_in(one)
    return type_ is not None and type_ == type_in(other)


def joined(one: TypedRecord, other: TypedRecord) -> TypedRecord:
    """Their join, without the subtotals that later ones of the same life hold."""
    both = join(one, other)
    held = HELD_BY_LATER.get(both.type)
    stale = held(both.values) if held is not None else ()
    if not stale:
        return both
    return both._replace(values=OrderedSet(v for v in both.values if v not in stale))


def holds(record: bytes, version: bytes) -> bool:
    """True if whoever has this record has the write of this version, 16 bytes, under its key, or
    what superseded that."""
    if record[1:HEAD_BYTES] < version:
        return False
    if type_in(record) is None:
        return True
    return covers(context_of(decode(record)), version)


def versions_in(record: bytes) -> list[Version]:
    """The versions of the writes that this record holds."""
    if type_in(record) is None:
        return [version_of(record)]
    return [version_of_dot(dot) for dot in dots_of(decode(record))]


def is_prunable(record: bytes) -> bool:
    """True if this record is typed, and holds what goes as soon as nobody needs it any more: what
    it has seen, and deletes."""
    if type_in(record) is None:
        return False
    fields = fields_in(record)
    return bool(fields["s"]) or "d" in fields


def fingerprinted(record: bytes) -> bytes:
    """What the fingerprint of a record is made of: one with the bit as it is when it has seen
    nothing. So a node that does not know the bit has the same once all of that was pruned. Of bytes
    that cannot be read, all of them."""
    if not record or not record[0] & TYPED:
        return record
    try:
        fields = fields_in(record)
    except RemoteError:
        return record
    if not fields.get("s"):
        return record
    fields["s"] = b""
    return with_fields(record, fields)


def _type_of(fields: dict[str, Any]) -> str | None:
    match fields.get("y"):
        case [int(number), str(type_)] if number == BODY_FORMAT and type_ in CHECKS:
            return type_
    return None


def _decoded(record: bytes, fields: dict[str, Any]) -> TypedRecord:
    value = record[value_offset(record) :]
    values = _decode_values(value) if value else []
    deletes, pairs = fields.get("d", b""), fields["s"]
    if deletes:
        values += [deletes[at : at + DOT_BYTES] for at in range(0, len(deletes), DOT_BYTES)]
        values.sort()
    seen = {pairs[at : at + 8]: pairs[at + 8 : at + 16] for at in range(0, len(pairs), PAIR_BYTES)}
    others = b""
    if len(fields) > 2:
        unknown = {name: fields[name] for name in sorted(fields) if name not in _OWN_FIELDS}
        others = _encode(unknown) if unknown else b""
    return TypedRecord(fields["y"][1], record[1:HEAD_BYTES], OrderedSet(values), seen, others)


def _check(typed: TypedRecord) -> None:
    """Raises ValueError, or what the type's check raises."""
    check = CHECKS[typed.type]
    if not typed.values and not typed.seen:
        raise ValueError("it holds nothing, not even a delete")
    for value in typed.values:
        if len(value) < DOT_BYTES or value[:DOT_BYTES] > typed.version:
            raise ValueError("a dot that is later than the version")
        if len(value) > DOT_BYTES:
            check(value[DOT_BYTES:])
    if any(len(t) != 8 or t + site >= typed.version for site, t in typed.seen.items()):
        raise ValueError("it has seen what is not older than its version")
    if any(one >= other for one, other in pairwise(typed.values)):
        raise ValueError("its values are not sorted")


_encode = msgspec.msgpack.Encoder().encode
_decode_values = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_others = msgspec.msgpack.Decoder(dict[str, Any]).decode
