"""The stream of `/watch` (docs/http.md), cut into its events. No socket: bytes come in."""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Iterator
from typing import NamedTuple

from kvgossip.cache.decoding import MERGED_TYPES, merged_content_type
from kvgossip.cache.line import FRAME_BYTES_MAX, LineError
from kvgossip.cache.shapes import Shape, Values, flag, optional, text
from kvgossip.cache.source import Record


class Document(NamedTuple):
    """The data of an event, as far as it is needed here; `value` is Base64. `more`: what changed
    together with it is still to come. `type`: of a key whose writes are merged."""

    key: str = ""
    version: str = ""
    content_type: str | None = None
    value: str | None = None
    more: bool = False
    error: str = ""
    type: str = ""


_SHAPES: tuple[tuple[str, Shape], ...] = (
    ("key", text),
    ("version", text),
    ("content_type", optional(text)),
    ("value", optional(text)),
    ("more", flag),
    ("error", text),
    ("type", text),
)
_NO_VALUES = Values(b"", 0)


class Block(NamedTuple):
    """`event` is empty for a sign of life; `cursor` where the block has none."""

    event: str
    cursor: str
    data: bytes


class EventStream:
    """Of one connection."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Block]:
        """Raises LineError."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > FRAME_BYTES_MAX:
            raise LineError("an event without an end")
        for each in whole:
            yield _block(each)


def document_of(block: Block) -> Document:
    """Raises LineError."""
    try:
        given = json.loads((block.data or b"{}").decode())
        if type(given) is not dict:
            raise ValueError("no object")
        found = {name: shape(given[name], _NO_VALUES) for name, shape in _SHAPES if name in given}
        return Document(**found)
    except (ValueError, RecursionError) as error:
        raise LineError(f"an event that cannot be read: {error}") from None


def record_of(block: Block, document: Document) -> Record:
    """What is under the key since this `put`, `delete` or `expire`. Raises LineError."""
    try:
        value = a2b_base64(document.value or "", strict_mode=True) if block.event == "put" else None
    except ValueError as error:
        raise LineError(f"an event whose value cannot be read: {error}") from None
    if not document.key or not document.version:
        raise LineError("an event without a key and a version")
    content_type = document.content_type or ""
    if value is not None and document.type in MERGED_TYPES:
        content_type = merged_content_type(document.type)
    return Record(document.key, value, document.version, content_type)


def _block(data: bytes) -> Block:
    fields = {}
    for line in data.split(b"\n"):
        name, _, value = line.partition(b":")
        fields[name] = value.removeprefix(b" ")
    try:
        return Block(
            fields.get(b"event", b"").decode(),
            fields.get(b"id", b"").decode(),
            fields.get(b"data", b""),
        )
    except UnicodeDecodeError as error:
        raise LineError(f"a block that cannot be read: {error}") from None
