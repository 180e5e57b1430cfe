"""Decoding: what the bytes of a value mean to a program, and the other way round.

Laws
- A value is JSON where its content type says so, or where it parses; else text, where it is UTF-8;
  else bytes.
- It is read with the standard library: a program that only reads pays for no other parser.
- What a member has merged - a counter, a set, a map - comes as JSON, and says by its content type
  which of them it is.
- What `encode` made of text, of numbers and of what JSON holds is read as the same again. So text
  that would parse as JSON is written as JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any

from kvgossip.cache.source import Record
from kvgossip.errors import LocalError

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
MERGED = "application/vnd.kvgossip.{}+json"
"""The content type of what a member shows of a counter, a set, a map, a max or a min."""

MERGED_TYPES = ("counter", "set", "map", "max", "min")
MERGED_SET, MERGED_MAP = MERGED.format("set"), MERGED.format("map")

_NO_JSON = (ValueError, RecursionError)


def declares_json(record: Record) -> bool:
    """True if its content type says that it is JSON."""
    kind = record.content_type.partition(";")[0].strip().lower()
    return kind == JSON or kind.endswith("+json")


def decode(record: Record) -> Any:
    """The value of a record that has one: of a counter an int, of a set a frozenset, of a map a
    dict. Raises ValueError where it declares JSON, and is none."""
    value = record.value or b""
    try:
        parsed = _parse(value)
    except _NO_JSON as error:
        if record.content_type and declares_json(record):
            raise ValueError(f"it is no JSON: {error}") from None
    else:
        return _with_sets(record.content_type, parsed) if record.content_type else parsed
    text = text_of(value)
    return value if text is None else text


def merged_content_type(type_: str) -> str:
    return MERGED.format(type_)


def _with_sets(content_type: str, parsed: Any) -> Any:
    """Elements of a set are no list, nor are they in the fields of a map, where nothing else is
    one."""
    if content_type == MERGED_SET:
        return _as_set(parsed)
    if content_type == MERGED_MAP and isinstance(parsed, dict):
        return {field: _as_set(value) for field, value in parsed.items()}
    return parsed


def _as_set(parsed: Any) -> Any:
    """Unless it is no list of texts, which anybody may call a set."""
    if isinstance(parsed, list) and all(isinstance(element, str) for element in parsed):
        return frozenset(parsed)
    return parsed


def text_of(value: bytes) -> str | None:
    """The text that these bytes are; None where they are none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def encode(value: object) -> tuple[bytes, str]:
    """The bytes to write for a value, and their content type: bytes as they are, text as text, all
    else as JSON. Raises LocalError for what JSON cannot say."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), ""
    try:
        if isinstance(value, str) and not _parses(octets := value.encode()):
            return octets, TEXT
        # what no text is may be a dataclass, a date, or anything else that it knows
        from msgspec.json import encode as encoded

        return encoded(value), JSON
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalError(
            f"a value of the type {type(value).__name__} cannot be written: {error}",
            "give bytes, text, or what JSON can say",
        ) from None


def _parses(octets: bytes) -> bool:
    try:
        _parse(octets)
    except _NO_JSON:
        return False
    return True


def _parse(octets: bytes) -> Any:
    """Raises ValueError, RecursionError for what is no JSON."""
    text = octets.decode()
    value = _decoder.decode(text)
    if "\\u" in text:
        # half of a surrogate pair is no text
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


_decoder = json.JSONDecoder(parse_float=_number, parse_constant=_no_number)
