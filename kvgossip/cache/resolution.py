"""Resolution: what a member shows of the records under a prefix - its release, or the loose keys.

Laws
- What is shown is one document whole, or the loose keys; never a mixture, in whatever order pointer
  and documents arrive.
- Where the document that the pointer names is not here, or cannot be read, the old one stays: what
  this process showed last; at its start, the newest of those that the pointer says were for all
  before, and are here (releases/pointer.py has the reason for that list).
- Loose keys under a prefix with an active release are ignored, and named.
- A pointer that cannot be read says nothing of what is valid, and so nothing of loose keys: what
  was shown last stays; at the start, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from kvgossip.cache.source import Record
from kvgossip.errors import BadReleaseError
from kvgossip.releases.names import LOOSE, RESERVED, document_key, pointer_key
from kvgossip.releases.place import Place

if TYPE_CHECKING:
    from kvgossip.releases.document import Document
    from kvgossip.releases.pointer import Pointer

__all__ = ["RESERVED", "Resolved", "records_in", "resolve"]


class Resolved(NamedTuple):
    """`values`: by the name without the prefix. `release`: that of the values; empty where they are
    the loose keys. `pending`: the release that is to be shown and cannot be yet, and `problem` why,
    where it is more than that its document is on its way. `ignored`: the names of loose keys that
    are not shown, sorted. `document`: the entry that the values are from."""

    values: dict[str, Record]
    release: str = LOOSE
    pending: str = ""
    ignored: tuple[str, ...] = ()
    problem: str = ""
    document: Record | None = None


def resolve(
    records: Mapping[str, Record],
    prefix: str,
    member: str,
    zone: str,
    last: Resolved | None = None,
) -> Resolved:
    """What this member shows of these records, by whole keys. `last`: what it shows now."""
    loose = _loose(records, prefix)
    try:
        pointer = _pointer(records, prefix)
    except BadReleaseError as error:
        return (last or Resolved({}))._replace(problem=str(error))
    if pointer is None:
        return Resolved(loose)
    wanted = pointer.wanted(Place(member, zone))
    there = records.get(document_key(prefix, wanted))
    if last is not None and last.document is not None and last.document == there:
        # nothing is read again: a release may be long, and a change be about another key
        return last._replace(pending="", problem="", ignored=tuple(sorted(loose)))
    found, problem = _found(records, prefix, wanted, loose)
    if found is not None:
        return found
    # loose keys that were shown may have been all that was here: they stand in by their place alone
    shown = last if last is not None and last.release != LOOSE else None
    if shown is None:
        others = (_found(records, prefix, name, loose)[0] for name in _stand_ins(pointer, wanted))
        shown = next((each for each in others if each is not None), Resolved({}))
    ignored = () if shown.values is loose else tuple(sorted(loose))
    return shown._replace(pending=wanted, problem=problem, ignored=ignored)


def records_in(document: Document, prefix: str, version: str) -> dict[str, Record]:
    """The values of a release as records, by the name without the prefix."""
    return {
        name: Record(prefix + name, each.octets, version, each.content_type)
        for name, each in document.contents().items()
    }


def _stand_ins(pointer: Pointer, wanted: str) -> Iterator[str]:
    if wanted != pointer.release:
        yield pointer.release
    yield from pointer.before


def _pointer(records: Mapping[str, Record], prefix: str) -> Pointer | None:
    record = records.get(pointer_key(prefix))
    if record is None or record.value is None:
        return None
    # where there are no releases, nothing is loaded for them
    from kvgossip.releases.pointer import read_pointer

    return read_pointer(record.value)


def _found(
    records: Mapping[str, Record], prefix: str, name: str, loose: dict[str, Record]
) -> tuple[Resolved | None, str]:
    """This release as it is shown; None where it is not here, or cannot be read: then why."""
    if name == LOOSE:
        return Resolved(loose), ""
    record = records.get(document_key(prefix, name))
    if record is None or record.value is None:
        return None, ""
    from kvgossip.releases.document import read_document

    try:
        document = read_document(record.value)
    except BadReleaseError as error:
        return None, str(error)
    values = records_in(document, prefix, record.version)
    return Resolved(values, name, ignored=tuple(sorted(loose)), document=record), ""


def _loose(records: Mapping[str, Record], prefix: str) -> dict[str, Record]:
    start = len(prefix)
    return {
        key[start:]: record
        for key, record in records.items()
        if record.value is not None and not key.startswith(RESERVED, start)
    }
