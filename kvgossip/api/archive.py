"""Archive: the entries of a node as a file. Lines of JSON, so that any tool can look into it;
sorted by key, so that two can be compared.

    {"kvgossip": "export", "format": 2, "cluster": "shop", "node": "a", "wall_ms": 1700000000000}
    {"key": "config/theme", "version": "018bcfe568000000-5c3f...", "record": "EAGLz+...",
     "checksum": "9d0c..."}                                     one for each entry, in one line
    {"key": "config/old", "version": "...", "record": "...", "deleted": true, "checksum": "..."}
                                                                tombstones too
    {"entries": 2, "sha256": "..."}                             of all lines before

`record` is the entry as every node stores it (protocol/model/entry.py), in base64: nothing is lost,
also what this version does not know. `checksum` is that of the record under its key
(protocol/model/checksum.py), in hexadecimal digits: a line by itself shows that it is whole. The
rest of a line is for people, and is checked against the record. A file without its last line is one
that was cut off.

A file of format 1 has no checksums, and is imported all the same: that is the way from kvgossip 0.1
to here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from kvgossip.errors import BadKeyError, LocalError, RemoteError
from kvgossip.protocol.model.checksum import checksum
from kvgossip.protocol.model.entry import check_record, is_dead, is_typed, value_offset, version_of
from kvgossip.protocol.model.key import check_key

FORMAT = 2
LINE_BYTES_MAX = 128 * 2**20


class ArchiveError(LocalError):
    """This is no archive, or a damaged one. Nothing was changed."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry. Unknown fields are ignored. `checksum` is empty in a line of format 1."""

    key: str
    version: str
    record: bytes
    deleted: bool = False
    checksum: str = ""


class _Last(msgspec.Struct, frozen=True):
    entries: int
    sha256: str


class Contents(NamedTuple):
    """The contents of a whole archive."""

    head: dict[str, Any]
    entries: int
    tombstones: int


class Writer:
    """Lines for an archive, with the sum that ends it."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.entries = 0

    def head(self, cluster: str, node: str, wall_ms: int) -> bytes:
        head = {
            "kvgossip": "export",
            "format": FORMAT,
            "cluster": cluster,
            "node": node,
            "wall_ms": wall_ms,
        }
        return self._summed(json.dumps(head).encode() + b"\n")

    def lines(self, entries: Iterable[tuple[str, bytes]]) -> bytes:
        encoded = [
            _encode(
                Line(
                    key,
                    str(version_of(record)),
                    record,
                    is_dead(record),
                    _checksum_of(key, record),
                )
            )
            for key, record in entries
        ]
        self.entries += len(encoded)
        return self._summed(b"".join(line + b"\n" for line in encoded))

    def last(self) -> bytes:
        return _encode(_Last(self.entries, self._sum.hexdigest())) + b"\n"

    def _summed(self, data: bytes) -> bytes:
        self._sum.update(data)
        return data


class Checker:
    """Looks through the lines of an archive, one after the other. Raises ArchiveError with the
    number of the line that is wrong."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._number = 0
        self._head: dict[str, Any] | None = None
        self._entries = self._tombstones = 0
        self._ended = False

    def line(self, line: bytes) -> bool:
        """True if it is that of an entry."""
        self._number += 1
        if self._ended:
            raise ArchiveError(f"line {self._number}: there is something after the end")
        if self._head is None:
            self._head = _head_of(line)
        elif line.startswith(b'{"entries":'):
            self._end(line)
            return False
        else:
            try:
                pair = _pair_of(line, None, checked=self._head["format"] >= 2)
            except LocalError as error:
                raise ArchiveError(
                    f"line {self._number}: {error}", "the file is damaged: nothing was changed"
                ) from None
            self._entries += 1
            self._tombstones += is_dead(pair[1])
            self._sum.update(line)
            return True
        self._sum.update(line)
        return False

    def _end(self, line: bytes) -> None:
        try:
            last = msgspec.json.decode(line, type=_Last)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ArchiveError(f"line {self._number}: {error}") from None
        if (last.entries, last.sha256) != (self._entries, self._sum.hexdigest()):
            raise ArchiveError(
                "the checksum at the end does not match the lines before it",
                "the file is damaged: nothing was changed",
            )
        self._ended = True

    def contents(self) -> Contents:
        """After the last line. Raises ArchiveError where it was not the end."""
        if self._head is None or not self._ended:
            raise ArchiveError(
                f"it ends after {self._number} lines, without its last line",
                "it was cut off: export again, or use another copy",
            )
        return Contents(self._head, self._entries, self._tombstones)


def parse_lines(
    lines: Sequence[bytes], value_bytes_max: int | None = None
) -> list[tuple[str, bytes]]:
    """Keys and records of lines of entries, of any format. Raises LocalError unless all of them are
    whole."""
    return [_pair_of(line, value_bytes_max, checked=False) for line in lines]


def _checksum_of(key: str, record: bytes) -> str:
    return checksum(key.encode(), record).hex()


def _pair_of(line: bytes, value_bytes_max: int | None, *, checked: bool) -> tuple[str, bytes]:
    """`checked`: there must be a checksum."""
    try:
        read = _decode(line)
        check_key(read.key)
        check_record(read.record)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
        RemoteError,
        BadKeyError,
    ) as error:
        raise ArchiveError(f"not an entry: {error}") from None
    if (str(version_of(read.record)), is_dead(read.record)) != (read.version, read.deleted):
        raise ArchiveError(f"the record of {read.key!r} does not match its line")
    if (checked or read.checksum) and read.checksum != _checksum_of(read.key, read.record):
        raise ArchiveError(f"the checksum of {read.key!r} does not match its record")
    # a record that is merged has a bound of its own, which the merge looks at
    if (
        value_bytes_max is not None
        and not is_typed(read.record)
        and len(read.record) - value_offset(read.record) > value_bytes_max
    ):
        raise ArchiveError(
            f"the value of {read.key!r} has more than {value_bytes_max} bytes",
            "raise value_bytes_max on every node",
        )
    return read.key, read.record


def split_lines(data: bytes) -> Iterator[bytes]:
    """The lines, each with its end."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _head_of(line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line)
        known = head["kvgossip"] == "export"
        version = int(head["format"])
    except (ValueError, KeyError, TypeError):
        known, version = False, 0
    if not known:
        raise ArchiveError("this is not an export of kvgossip", "`kvgossip export FILE` makes one")
    if version > FORMAT:
        raise ArchiveError(
            f"it has format {version}, and this version knows format {FORMAT}",
            "use the newer version that wrote it",
        )
    return {**head, "format": version}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
