"""Document: the whole set of values of a release, as one entry under `PREFIX@release/NAME`.

    {"format": 1, "name": "2026-11-30.1", "values": {"limits/rate": 20}, "base64": {"logo": "aGk="},
     "by": "web-1", "at_ms": 1796054400000}

One entry is whole under rumor, exchange, disk and interruption, and many keys are not: hence one.

Laws
- It is written once. The same name with the same values is the same release, whoever wrote it and
  when; with other values it is refused.
- `values` are JSON as it is, and text is a JSON string; `base64` are bytes. Names stand without the
  prefix, so they cannot leave it.
- Fields that this version does not know are ignored; a document of a newer format is refused in
  words, and the release before it stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from kvgossip.errors import BadKeyError, BadReleaseError, ValueTooLargeError
from kvgossip.protocol.model.key import check_key
from kvgossip.releases.names import RESERVED, document_key
from kvgossip.releases.versioned import check_format, parsed, read

FORMAT = 1
BYTES_MAX = 2**20
CONTENT_TYPE = "application/json"
OCTETS = "application/octet-stream"
SHAPE = 'a release is {"values": {NAME: JSON}, "base64": {NAME: BYTES}}'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENCODER = msgspec.json.Encoder(order="deterministic")


class Value(Struct, frozen=True):
    """One value of a release, as it would be stored under a key of its own."""

    octets: bytes
    content_type: str


class Document(Struct, frozen=True, kw_only=True):
    """`by`, `at_ms`: who made it, and when by his clock."""

    format: int
    name: str
    values: dict[str, msgspec.Raw] = {}
    base64: dict[str, bytes] = {}
    by: str = ""
    at_ms: int = 0

    def encoded(self) -> bytes:
        return _ENCODER.encode(self)

    def contents(self) -> dict[str, Value]:
        """The values by their names."""
        return {name: Value(bytes(raw), CONTENT_TYPE) for name, raw in self.values.items()} | {
            name: Value(octets, OCTETS) for name, octets in self.base64.items()
        }

    def meaning(self) -> bytes:
        """Equal for two that have the same values, in whatever spelling. Raises BadReleaseError
        where a value is no JSON."""
        return _ENCODER.encode(
            (
                {
                    name: parsed(raw, object, f"the value of {name!r}", SHAPE)
                    for name, raw in self.values.items()
                },
                self.base64,
            )
        )


def check_name(name: str) -> str:
    """Raises BadReleaseError unless this may name a release."""
    if not _NAME.fullmatch(name):
        raise BadReleaseError(
            f"{name[:100]!r} is no name of a release",
            "use up to 64 letters, digits, '.', '_' and '-', with a letter or a digit first",
        )
    return name


def name_at(wall_ms: int) -> str:
    """A name for a release that is given none: the time of its making, as 20261130T162005Z."""
    return datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def document_of(
    prefix: str, name: str, values: Mapping[str, Any], *, by: str, at_ms: int
) -> Document:
    """The release of this name: its values are bytes, or what JSON can say.

    Raises BadReleaseError; ValueTooLargeError beyond 1 MiB.
    """
    document = Document(
        format=FORMAT,
        name=name,
        values={key: _raw(key, each) for key, each in values.items() if type(each) is not bytes},
        base64={key: each for key, each in values.items() if type(each) is bytes},
        by=by,
        at_ms=at_ms,
    )
    _check(prefix, document)
    return document


class SentRelease(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as a client sends it: who and when are the node's to say."""

    values: dict[str, msgspec.Raw] = {}
    base64: dict[str, bytes] = {}
    format: int = FORMAT
    name: str = ""
    by: str = ""
    at_ms: int = 0


def sent_document(prefix: str, name: str, sent: SentRelease, *, by: str, at_ms: int) -> Document:
    """The release of this name that a client has sent. Raises as `document_of`."""
    check_format(sent.format, FORMAT, f"the release {name!r}")
    if sent.name not in ("", name):
        raise BadReleaseError(
            f"the document is of the release {sent.name!r}, and was sent as {name!r}",
            "leave the name out of the document, or send it under that name",
        )
    document = Document(
        format=FORMAT, name=name, values=sent.values, base64=sent.base64, by=by, at_ms=at_ms
    )
    document.meaning()
    _check(prefix, document)
    return document


def _check(prefix: str, document: Document) -> None:
    check_name(document.name)
    check_key(document_key(prefix, document.name))
    twice = document.values.keys() & document.base64.keys()
    if twice:
        text = f"the release has two values of {sorted(twice)[0]!r}"
        raise BadReleaseError(text, "leave one of them out")
    for name in (*document.values, *document.base64):
        _check_value_name(prefix, name)
    size = len(document.encoded())
    if size > BYTES_MAX:
        raise ValueTooLargeError(
            f"the release {document.name!r} has {size} bytes",
            f"{BYTES_MAX} are taken: keep what is large in files, and their names in the release",
        )


@lru_cache(maxsize=16)
def read_document(octets: bytes) -> Document:
    """The document in this entry. Raises BadReleaseError, in words that a user can act on."""
    return read(octets, Document, FORMAT, "the release", SHAPE)


def _check_value_name(prefix: str, name: str) -> None:
    if prefix and name.startswith(prefix):
        raise BadReleaseError(
            f"the release names {name!r} with its prefix", f"leave {prefix!r} out of the names"
        )
    if name.startswith(RESERVED):
        raise BadReleaseError(
            f"the release names {name!r}", "names that begin with '@' are those of releases"
        )
    try:
        check_key(name)
        check_key(prefix + name)
    except BadKeyError as error:
        raise BadReleaseError(
            f"the release names {name[:100]!r}, which is no key under {prefix!r}: {error}",
            error.hint or "names in a release are keys without the prefix",
        ) from None


def _raw(name: str, value: Any) -> msgspec.Raw:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return msgspec.Raw(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BadReleaseError(
            f"the value of {name!r} cannot be said in JSON: {error}",
            "a release holds bytes, and what JSON can say",
        ) from None
