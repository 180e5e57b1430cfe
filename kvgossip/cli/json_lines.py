"""The lines of JSON of `load` and `dump`, which people can read and edit.

A line is {"key": KEY, "value": TEXT} or {"key": KEY, "base64": BYTES}, and may have a
"content_type", a "ttl" and "flags".
"""

from __future__ import annotations

import base64
import sys
from typing import Any, NamedTuple

BATCH_BYTES = 128 * 1024
"""How large the values of one batch are at most; a larger value is written alone, without flags."""


class Item(NamedTuple):
    """One line. `more`: its other fields, as POST /batch takes them."""

    key: str
    value: bytes
    more: dict[str, Any]

    def operation(self) -> dict[str, Any]:
        return {"put": self.key, **value_field(self.value), **self.more}


def parse_item(document: Any) -> Item:
    """Raises ValueError or TypeError with the reason for a line that does not fit."""
    if not isinstance(document, dict):
        raise TypeError("it is no JSON object")
    if "type" in document:
        raise ValueError(f"the line has not all of a {document['type']}: import an export instead")
    known = {"key", "value", "base64", "content_type", "ttl", "flags"}
    if unknown := sorted(document.keys() - known):
        raise ValueError(f"unknown field {unknown[0]!r}")
    key, value, encoded = (document.get(name) for name in ("key", "value", "base64"))
    more = {
        name: document[name]
        for name in ("content_type", "ttl", "flags")
        if document.get(name) is not None
    }
    if not isinstance(key, str) or not all(
        isinstance(more.get(name, ""), str) for name in ("content_type", "ttl")
    ):
        raise TypeError('"key", "content_type" and "ttl" are text')
    if type(more.get("flags", 0)) is not int:
        raise TypeError('"flags" is a number')
    if (value is None) == (encoded is None) or not isinstance(value or encoded or "", str):
        raise TypeError('it needs one of "value" and "base64", as text')
    octets = (
        value.encode("utf-8", "surrogatepass")
        if value is not None
        else base64.b64decode(encoded or "", validate=True)
    )
    if len(octets) > BATCH_BYTES and "flags" in more:
        raise ValueError(f"a value of more than {BATCH_BYTES} bytes cannot have flags")
    return Item(key, octets, more)


def value_field(value: bytes) -> dict[str, Any]:
    """As text where it is UTF-8, else as base64."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def show_progress(text: str) -> None:
    """On stderr, over the line before; nothing where that is no terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
