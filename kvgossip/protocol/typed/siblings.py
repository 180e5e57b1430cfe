"""Siblings: of writes that did not know of each other all are kept, until one comes that has seen
them. A dotted version vector set.

    payload := MessagePack [value, content type or nil, flags, expires or nil]

A write with a context supersedes what that covers, and nothing else. One without a context has seen
nothing: it adds a sibling, and takes the place of those that are equal to it, or have expired.
Equal values of several writers are one sibling to readers: each has a dot, so that a write that has
seen one of them leaves the others.

Of clients that write without reading, each write would add one: at SIBLINGS_MAX one without a
context is refused. Nodes that are cut off from each other may each have as many.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from kvgossip.errors import SiblingsError
from kvgossip.protocol.model.entry import (
    EXPIRES_MS_MAX,
    FLAGS_MAX,
    Version,
    check_content_type,
)
from kvgossip.protocol.typed.typed_record import (
    DOT_BYTES,
    Seen,
    TypedRecord,
    covers,
    version_of_dot,
    write,
)

TYPE = "siblings"
SIBLINGS_MAX = 32


class Sibling(NamedTuple):
    """One of the values of a key. `expires_ms`: ms since 1970, None for never."""

    value: bytes
    content_type: str | None
    flags: int
    expires_ms: int | None
    version: Version


def put(
    record: TypedRecord,
    dot: bytes,
    value: bytes,
    content_type: str | None = None,
    flags: int = 0,
    expires_ms: int | None = None,
    *,
    context: Seen | None = None,
    wall_ms: int = 0,
) -> TypedRecord:
    """Raises SiblingsError for one too many, and as `write`. `wall_ms`: what has expired by then
    need not be kept."""
    payload = _encode((value, content_type, flags, expires_ms))
    if context is None:
        superseded = [
            each
            for each in record.live
            if each[DOT_BYTES:] == payload or _has_expired(each, wall_ms)
        ]
        kept = dict.fromkeys(each[DOT_BYTES:] for each in record.live if each not in superseded)
        if len(kept) >= SIBLINGS_MAX:
            raise SiblingsError(
                f"the key has {len(kept)} siblings already",
                "read them, and write what they come to, with the KV-Context of that answer",
            )
    else:
        superseded = [each for each in record.values if covers(context, each)]
    return write(record, dot, [payload], superseded, context)


def siblings_of(record: TypedRecord, wall_ms: int = 0) -> list[Sibling]:
    """Those that have not expired by then, the newest first; of equal ones the newest."""
    found: dict[bytes, Sibling] = {}
    for each in reversed(record.live):
        payload = each[DOT_BYTES:]
        if payload not in found and not _has_expired(each, wall_ms):
            value, content_type, flags, expires_ms = _decode(payload)
            found[payload] = Sibling(value, content_type, flags, expires_ms, version_of_dot(each))
    return list(found.values())


def expires_ms(values: Iterable[bytes]) -> int | None:
    """The time at which the last of these expires; None where one never does, or there is none."""
    latest: int | None = None
    for each in values:
        if len(each) > DOT_BYTES:
            expires = _decode(each[DOT_BYTES:])[3]
            if expires is None:
                return None
            latest = max(latest or 0, expires)
    return latest


def check(payload: bytes) -> None:
    """Raises ValueError, LocalError or MsgspecError unless a write makes this payload."""
    value, content_type, flags, expires = _decode(payload)
    check_content_type(content_type)
    if not 0 <= flags <= FLAGS_MAX or not 0 <= (expires or 0) <= EXPIRES_MS_MAX:
        raise ValueError("a sibling with odd flags or expiry")
    if _encode((value, content_type, flags, expires)) != payload:
        raise ValueError("a sibling that is not canonical")


def _has_expired(value: bytes, wall_ms: int) -> bool:
    if not wall_ms:
        return False
    expires = _decode(value[DOT_BYTES:])[3]
    return expires is not None and expires <= wall_ms


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, str | None, int, int | None]).decode
