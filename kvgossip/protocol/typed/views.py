"""Views: a typed record as an entry, to those who know nothing but values. The value of a counter,
a set, a map, a max or a min is JSON; that of siblings is the newest one. The version is the
record's. Of a type that this node does not know, the bytes are shown as they are.

A version says which writes may be in it, and not that all of them are: two nodes may have different
values under one, until they have heard the same. So what conditions compare is a tag that is made
of the content as well.
"""

from __future__ import annotations

import msgspec
from xxhash import xxh3_64_hexdigest

from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    TYPED,
    Entry,
    entry_of,
    is_dead,
    version_of,
)
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.body import decode, fingerprinted, type_in
from kvgossip.protocol.typed.forms import json_of

JSON = "application/json"
UNKNOWN = "unknown"
"""Shown as the type of a record of a newer release."""


def view_of(key: str, record: bytes, wall_ms: int = 0) -> Entry:
    """The entry of any record. `wall_ms`: siblings that have expired by then are left out, while
    there are others."""
    if not record[0] & TYPED or is_dead(record):
        return entry_of(key, record)
    type_ = type_in(record)
    if type_ is None:
        return entry_of(key, record)
    version, typed = version_of(record), decode(record)
    if type_ != siblings.TYPE:
        return Entry(key, msgspec.json.encode(json_of(typed)), version, JSON)
    newest = (siblings.siblings_of(typed, wall_ms) or siblings.siblings_of(typed))[0]
    return Entry(key, newest.value, version, newest.content_type, newest.expires_ms, newest.flags)


def viewed_type(record: bytes) -> str | None:
    """The type as it is shown; None of a plain record."""
    return (type_in(record) or UNKNOWN) if record[0] & TYPED else None


def siblings_in(record: bytes, wall_ms: int = 0) -> int:
    """How many values there are: of other types one, or none. `wall_ms`: as of `view_of`."""
    if is_dead(record):
        return 0
    if type_in(record) != siblings.TYPE:
        return 1
    return len(siblings.siblings_of(decode(record), wall_ms)) or 1


def tag_of(record: bytes) -> str:
    """What says that a record is shown as another one is: its version, and that of a typed record
    with a hash of what is in it."""
    version = record[1:HEAD_BYTES].hex("-", 8)
    if not record[0] & TYPED:
        return version
    return f"{version}-{xxh3_64_hexdigest(fingerprinted(record))}"
