"""Resolution: which of the records under a prefix count."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from kvgossip.cache.source import Record

RESERVED = "@"
"""Names that begin so are no keys of users."""


class Resolved(Struct, frozen=True):
    """What a process shows of the records under its prefix. `values`: by the name without that;
    `release`: whose they are, empty for loose keys; `pending`: a release that is to be shown and
    cannot be yet, and `problem` why; `ignored`: names of loose keys that a release puts aside."""

    values: dict[str, Record]
    release: str = ""
    pending: str = ""
    ignored: tuple[str, ...] = ()
    problem: str = ""


def resolve(
    records: Mapping[str, Record],
    prefix: str,
    member: str,
    zone: str,
    last: Resolved | None = None,
) -> Resolved:
    """What counts for the process of this member in this zone. All keys start with `prefix`.
    `last`: what counts now."""
    start = len(prefix)
    return Resolved(
        {
            key[start:]: record
            for key, record in records.items()
            if record.value is not None and not key.startswith(RESERVED, start)
        }
    )
