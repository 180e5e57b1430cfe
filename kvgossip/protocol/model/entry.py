"""Entry: a key with its value or tombstone and its version; and the order that decides
every merge.

**An entry is encoded once, by its writer.** These bytes, the *record*, are what every replica
stores, fingerprints, compares and sends; nobody encodes an entry again. So equal entries are equal
bytes everywhere, fields that this version does not know are kept, and a million entries are a
million byte strings: none is a container that the garbage collector keeps a list of.

    record  := head meta? value
    head    := 1 byte: record format (high 4 bits), is typed (bit 3), has an expiry (bit 2), has
            meta (bit 1), is a tombstone (bit 0)
               8 bytes timestamp, 8 bytes site, big-endian: so bytes compare as versions do
    meta    := 2 bytes length, a MessagePack map; "t" is the content type, "x" when it expires (ms
            since 1970), "f" the flags, a number
               of 64 bits that means something to its writer alone; "p" the parent, the first 11
               bytes of a version (see conflicts.py); of a typed record "y", "d" and "s" (see
               typed/body.py); unknown names are kept
    value   := the rest; empty in a tombstone

The order (protocol.md section 5): the greater version wins; of two bodies under one version, the
one whose hash is greater, then whose bytes are greater. It is total, so that merging is
commutative, associative and idempotent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from kvgossip.errors import LocalError, RemoteError

RECORD_FORMAT = 1
CONTENT_TYPE_BYTES_MAX = 256
HEAD_BYTES = 17
META_BYTES_MAX = 4096
TYPED_META_BYTES_MAX = 65_535
TYPED_META_DEPTH_MAX = 4
EXPIRES_MS_MAX = 2**48 - 1
FLAGS_MAX = 2**64 - 1
PARENT_BYTES = 11
"""A timestamp, and as much of a site as tells it from the few others of that millisecond."""
TTL_S_MIN, TTL_S_MAX = 0.001, 10 * 366 * 86_400

_PLAIN = bytes((RECORD_FORMAT << 4,))
_DEAD = 0b001
_HAS_META = 0b010
_EXPIRES = 0b100
TYPED = 0b1000
"""The bit of a record's first byte that says that it joins with others of its type, and that what
it has seen is not fingerprinted (typed/body.py). Who does not know it keeps the record as any
other."""
_VERSION = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


class Version(NamedTuple):
    """The time and place of a write: HLC timestamp and site (one life of a node), 64 bits each."""

    timestamp: int
    site: int

    def __str__(self) -> str:
        return f"{self.timestamp:016x}-{self.site:016x}"


def parse_version(text: str) -> Version:
    """The version whose str() this text is. Raises LocalError for anything else."""
    if not _VERSION.fullmatch(text):
        raise LocalError(
            f"{text[:100]!r} is no version",
            "give it as KV-Version, or the answer to a write, has it",
        )
    timestamp, _, site = text.partition("-")
    return Version(int(timestamp, 16), int(site, 16))


@dataclass(frozen=True, slots=True)
class Entry:
    """The state that a replica has of a key. `value` is None in a tombstone. `expires_ms`: ms since
    1970, None for never.

    `flags`: 64 bits of which only its writer knows what they mean.
    """

    key: str
    value: bytes | None
    version: Version
    content_type: str | None = None
    expires_ms: int | None = None
    flags: int = 0

    @property
    def deleted(self) -> bool:
        return self.value is None


def check_content_type(content_type: str | None) -> None:
    """Raises LocalError unless this is None, or 1 to 256 printable characters of ASCII."""
    if content_type is not None and not (
        0 < len(content_type) <= CONTENT_TYPE_BYTES_MAX
        and content_type.isascii()
        and content_type.isprintable()
    ):
        raise LocalError(
            "the content type is not usable",
            f"use 1 to {CONTENT_TYPE_BYTES_MAX} printable ASCII characters",
        )


def check_flags(flags: int) -> None:
    """Raises LocalError unless this is a number of 64 bits."""
    if not 0 <= flags <= FLAGS_MAX:
        raise LocalError(f"the flags {flags} are not usable", f"use a number from 0 to {FLAGS_MAX}")


def check_ttl(ttl_s: float | None) -> None:
    """Raises LocalError unless this is None, or from a millisecond to ten years."""
    if ttl_s is not None and not TTL_S_MIN <= ttl_s <= TTL_S_MAX:
        raise LocalError(
            f"a value cannot expire after {ttl_s} s", f"use {TTL_S_MIN} to {TTL_S_MAX} seconds"
        )


def make_record(
    version: Version,
    value: bytes | None,
    content_type: str | None = None,
    expires_ms: int | None = None,
    flags: int = 0,
    parent: bytes = b"",
) -> bytes:
    """The record of a new entry; `value` None makes a tombstone. `parent`: see `parent_in`."""
    plain = content_type is None and expires_ms is None and not flags and not parent
    if plain and value is not None:
        return _PLAIN + _stamp(version) + value
    fields: dict[str, Any] = {"t": content_type} if content_type else {}
    if expires_ms is not None:
        fields["x"] = expires_ms
    if flags:
        fields["f"] = flags
    if parent:
        fields["p"] = parent
    bits = (_DEAD if value is None else 0) | (_EXPIRES if expires_ms is not None else 0)
    return _joined(bits, version, fields, value or b"")


def with_version(record: bytes, version: Version, parent: bytes) -> bytes:
    """The same body under another version, with the parent of that write: also fields that this
    node does not know stay."""
    if parent_in(record) == parent:
        return b"".join((record[:1], _stamp(version), record[HEAD_BYTES:]))
    fields = _meta(record) if record[0] & _HAS_META else {}
    fields["p"] = parent
    if not parent:
        del fields["p"]
    return _joined(record[0] & (MUST_GO | TYPED), version, fields, record[value_offset(record) :])


def make_typed_record(
    version: bytes, fields: dict[str, Any], value: bytes, *, deleted: bool
) -> bytes:
    """The record of this version, 16 bytes, with these fields in their order."""
    bits = TYPED | (_DEAD if deleted else 0) | (_EXPIRES if "x" in fields else 0)
    return _with_meta(bits, version, fields, value)


def with_fields(record: bytes, fields: dict[str, Any]) -> bytes:
    """The record, which has fields, with these instead of them."""
    bits = record[0] & (MUST_GO | TYPED)
    return _with_meta(bits, record[1:HEAD_BYTES], fields, record[value_offset(record) :])


def _stamp(version: Version) -> bytes:
    return version.timestamp.to_bytes(8, "big") + version.site.to_bytes(8, "big")


def _joined(bits: int, version: Version, fields: dict[str, Any], value: bytes) -> bytes:
    if not fields:
        return bytes((RECORD_FORMAT << 4 | bits,)) + _stamp(version) + value
    return _with_meta(bits, _stamp(version), fields, value)


def _with_meta(bits: int, stamp: bytes, fields: dict[str, Any], value: bytes) -> bytes:
    meta = msgspec.msgpack.encode(fields)
    head = bytes((RECORD_FORMAT << 4 | bits | _HAS_META,))
    return b"".join((head, stamp, len(meta).to_bytes(2, "big"), meta, value))


def check_record(record: bytes) -> None:
    """Raises RemoteError unless this is a record of a format that this node knows, whatever its
    unknown fields."""
    if len(record) < HEAD_BYTES or record[0] >> 4 != RECORD_FORMAT:
        raise RemoteError("bad_record", "an entry of an unknown record format")
    fields = _meta(record) if record[0] & _HAS_META else {}
    if record[0] & _EXPIRES:
        expires_ms = fields.get("x")
        if (
            record[0] & _DEAD
            or not isinstance(expires_ms, int)
            or not 0 <= expires_ms <= EXPIRES_MS_MAX
        ):
            raise RemoteError("bad_record", "an entry that expires at no time")
    if record[0] & _DEAD and len(record) != value_offset(record):
        raise RemoteError("bad_record", "a tombstone with a value")


def is_dead(record: bytes) -> bool:
    """True if the record is a tombstone."""
    return bool(record[0] & _DEAD)


def may_expire(record: bytes) -> bool:
    return bool(record[0] & _EXPIRES)


MUST_GO = _DEAD | _EXPIRES
"""The bits of a record's first byte of tombstones, and of what may expire: for those who ask it of
every entry that is merged, and would pay for a call."""


def must_go_one_day(record: bytes) -> bool:
    """True if it is a tombstone, may expire, or is typed: it has to be expired, collected, or
    pruned some day."""
    return bool(record[0] & (MUST_GO | TYPED))


def expires_in(record: bytes) -> int | None:
    """The time at which the entry of this record, which has been checked, expires: ms since 1970;
    None for never."""
    return int(_meta(record)["x"]) if record[0] & _EXPIRES else None


def version_of(record: bytes) -> Version:
    return Version(int.from_bytes(record[1:9], "big"), int.from_bytes(record[9:17], "big"))


def timestamp_in(record: bytes) -> int:
    return int.from_bytes(record[1:9], "big")


def value_offset(record: bytes) -> int:
    """The offset at which the value starts in the record."""
    return (
        HEAD_BYTES + 2 + int.from_bytes(record[17:19], "big")
        if record[0] & _HAS_META
        else HEAD_BYTES
    )


def value_in(record: bytes) -> bytes | None:
    return None if record[0] & _DEAD else record[value_offset(record) :]


def content_type_in(record: bytes) -> str | None:
    content_type = _meta(record).get("t") if record[0] & _HAS_META else None
    return content_type if isinstance(content_type, str) else None


def flags_in(record: bytes) -> int:
    """0 where there are none, and where a peer has sent no number of 64 bits."""
    flags = _meta(record).get("f") if record[0] & _HAS_META else None
    return flags if type(flags) is int and 0 <= flags <= FLAGS_MAX else 0


def parent_in(record: bytes) -> bytes:
    """The first 11 bytes of the version that its writer took the key over from; they compare as
    those of versions do. Empty where there is none, and where a peer has sent something else."""
    parent = _meta(record).get("p") if record[0] & _HAS_META else None
    return parent if type(parent) is bytes and len(parent) == PARENT_BYTES else b""


def is_typed(record: bytes) -> bool:
    """True if it joins with others of its type."""
    return bool(record[0] & TYPED)


def fields_in(record: bytes) -> dict[str, Any]:
    """All fields of the record's meta; raises RemoteError where they cannot be read."""
    return _meta(record) if record[0] & _HAS_META else {}


def entry_of(key: str, record: bytes) -> Entry:
    return Entry(
        key,
        value_in(record),
        version_of(record),
        content_type_in(record),
        expires_in(record),
        flags_in(record),
    )


def supersedes(new: bytes, old: bytes) -> bool:
    """True if the record `new` wins over `old`: the one order that decides every merge."""
    newer, older = new[1:HEAD_BYTES], old[1:HEAD_BYTES]
    if newer != older:
        return newer > older
    return new != old and (xxh3_64_intdigest(new), new) > (xxh3_64_intdigest(old), old)


def _meta(record: bytes) -> dict[str, Any]:
    end = value_offset(record)
    bytes_max = TYPED_META_BYTES_MAX if record[0] & TYPED else META_BYTES_MAX
    if end > len(record) or end - HEAD_BYTES - 2 > bytes_max:
        raise RemoteError("bad_record", "an entry that is cut off")
    try:
        fields = _decode_meta(record[HEAD_BYTES + 2 : end])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RemoteError("bad_record", "an entry with unreadable fields") from None
    if record[0] & TYPED and _is_deep(fields, TYPED_META_DEPTH_MAX):
        raise RemoteError("bad_record", "a typed entry with fields that are too deep")
    return fields


def _is_deep(value: object, levels: int) -> bool:
    """True if it has more levels than that: then it may be read here, and not be written from where
    more calls are under way."""
    if isinstance(value, dict):
        return not levels or any(
            _is_deep(each, levels - 1) for pair in value.items() for each in pair
        )
    if isinstance(value, (list, tuple)):
        return not levels or any(_is_deep(each, levels - 1) for each in value)
    return False


_decode_meta = msgspec.msgpack.Decoder(dict[str, Any]).decode
