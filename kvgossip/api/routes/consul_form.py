"""Consul's JSON: an entry, a list of entries, a list of names."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import msgspec

from kvgossip.api.listings import Listing
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.hlc import index_of
from kvgossip.protocol.typed.views import view_of
from kvgossip.runtime.clocks import read_clocks

INDENT = 4


class Item(msgspec.Struct, frozen=True, gc=False):
    """An entry as Consul has it: bytes become base64, an empty value null."""

    LockIndex: int
    Key: str
    Flags: int
    Value: bytes | None
    CreateIndex: int
    ModifyIndex: int


class Entries(NamedTuple):
    """The entries of a listing."""

    pretty: bool = False

    def text(self, listing: Listing, start: int, end: int) -> bytes:
        records = zip(listing.keys[start:end], listing.records[start:end], strict=True)
        wall_ms = read_clocks().wall_ms
        items = [item_of(view_of(*each, wall_ms)) for each in records]
        return _joined(items, not start, self.pretty)


class Names(NamedTuple):
    """The keys of a listing; where there is a `separator`, up to and with the first one behind the
    `prefix`, each once."""

    prefix: str
    separator: str
    pretty: bool = False

    def text(self, listing: Listing, start: int, end: int) -> bytes:
        if not self.separator:
            return _joined(listing.keys[start:end], not start, self.pretty)
        # the keys are sorted, so those of one name stand together
        before = self._name(listing.keys[start - 1]) if start else None
        names = [before, *(self._name(key) for key in listing.keys[start:end])]
        fresh = [name for previous, name in pairwise(names) if name != previous]
        return _joined(fresh, not start, self.pretty)

    def _name(self, key: str) -> str:
        end = key.find(self.separator, len(self.prefix))
        return key if end < 0 else key[: end + len(self.separator)]


def opening(pretty: bool) -> bytes:
    return b"[\n" + b" " * INDENT if pretty else b"["


def closing(pretty: bool) -> bytes:
    return b"\n]" if pretty else b"]"


def item_of(entry: Entry) -> Item:
    index = modify_index(entry)
    return Item(0, entry.key, entry.flags, entry.value or None, index, index)


def modify_index(entry: Entry | None) -> int:
    """0 where there is no entry."""
    return 0 if entry is None else index_of(entry.version.timestamp)


def encoded(document: object, pretty: bool) -> bytes:
    text = msgspec.json.encode(document)
    return msgspec.json.format(text, indent=INDENT) if pretty else text


def _joined(items: list[Item] | list[str] | list[str | None], first: bool, pretty: bool) -> bytes:
    """The items of a list, as they stand in it: behind others, unless they are the first ones."""
    if not items:
        return b""
    if pretty:
        text = encoded(items, pretty)[len(opening(True)) : -len(closing(True))]
        return text if first else b",\n" + b" " * INDENT + text
    text = encoded(items, pretty)[1:-1]
    return text if first else b"," + text
