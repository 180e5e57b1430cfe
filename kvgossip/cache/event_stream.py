"""The stream of `/watch` (docs/http.md), cut into its events. No socket: bytes come in."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from kvgossip.cache.line import FRAME_BYTES_MAX, LineError
from kvgossip.cache.source import Record


class Document(msgspec.Struct, frozen=True):
    """The data of an event, as far as it is needed here; `value` is Base64. `more`: what changed
    together with it is still to come."""

    key: str = ""
    version: str = ""
    content_type: str | None = None
    value: str | None = None
    more: bool = False
    error: str = ""


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
        for text in whole:
            yield _block(text)


def document_of(block: Block) -> Document:
    """Raises LineError."""
    try:
        return _read(block.data or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LineError(f"an event that cannot be read: {error}") from None


def record_of(block: Block, document: Document) -> Record:
    """What is under the key since this `put`, `delete` or `expire`. Raises LineError."""
    try:
        value = a2b_base64(document.value or "", strict_mode=True) if block.event == "put" else None
    except ValueError as error:
        raise LineError(f"an event whose value cannot be read: {error}") from None
    if not document.key or not document.version:
        raise LineError("an event without a key and a version")
    return Record(document.key, value, document.version, document.content_type or "")


def _block(text: bytes) -> Block:
    fields = {}
    for line in text.split(b"\n"):
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


_read = msgspec.json.Decoder(Document).decode
