"""The map: fields, each by itself a register, a counter or a set.

    payload := MessagePack [field, kind, value]
    kind    := 0 register: nil, a boolean, a number or a text; of two writes the newer one is shown
               1 counter: a subtotal, as counter.py has them
               2 set: an element, as add_wins_set.py has them

To remove a field takes what is there of it; what was written to it meanwhile lives. Where it was
made two kinds at once, the newest write says which is shown, and the next one takes the rest away.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import msgspec

from kvgossip.errors import BadPartError, OtherTypeError
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed.add_wins_set import check_text
from kvgossip.protocol.typed.counter import check_subtotal, is_own
from kvgossip.protocol.typed.extremum import check_number
from kvgossip.protocol.typed.typed_record import DOT_BYTES, TypedRecord, removal, write

TYPE = "map"
REGISTER, COUNTER, SET = range(3)
KINDS = ("register", "counter", "set")

Scalar = bool | int | float | str | None


class _Part(NamedTuple):
    """One value of a field, decoded."""

    value: bytes
    kind: int
    content: Scalar


def set_field(record: TypedRecord, dot: bytes, field: str, content: Scalar) -> TypedRecord:
    """`set_fields` of one."""
    return set_fields(record, dot, {field: content})


def set_fields(record: TypedRecord, dot: bytes, fields: Mapping[str, Scalar]) -> TypedRecord:
    """Make them registers that hold these. Raises BadPartError for a bad field or content, or where
    there is none, and as `write`."""
    if not fields:
        raise BadPartError("there is no field", "name at least one")
    for field, content in fields.items():
        check_text(field, "a field")
        _check_content(REGISTER, content)
    parts = [part.value for field in fields for part in _parts(record, field)]
    payloads = [_encode((field, REGISTER, content)) for field, content in fields.items()]
    return write(record, dot, payloads, parts)


def add_to_counter(record: TypedRecord, dot: bytes, field: str, amount: int) -> TypedRecord:
    """Raises OtherTypeError where the field is another kind, and as counter.add."""
    parts = _parts_of_kind(record, field, COUNTER)
    own = [part for part in parts if is_own(part.value, dot)]
    subtotal = _total(own) + amount
    check_subtotal(subtotal)
    superseded = [part.value for part in own] + _of_other_kinds(record, field, COUNTER)
    return write(record, dot, [_encode((field, COUNTER, subtotal))], superseded)


def adopt(record: TypedRecord, dot: bytes, adopted: Container[bytes]) -> TypedRecord:
    """As counter.add of nought, for each field with such subtotals. Raises as that."""
    own: dict[str, list[_Part]] = {}
    fields: OrderedSet[str] = OrderedSet()
    for value in subtotals(record):
        if is_own(value, dot, adopted):
            field, kind, content = _decode(value[DOT_BYTES:])
            own.setdefault(field, []).append(_Part(value, kind, content))
            if value[:DOT_BYTES] in adopted:
                fields.add(field)
    payloads: list[bytes] = []
    for field in fields:
        check_subtotal(_total(own[field]))
        payloads.append(_encode((field, COUNTER, _total(own[field]))))
    return write(record, dot, payloads, [part.value for field in fields for part in own[field]])


def add_elements(
    record: TypedRecord, dot: bytes, field: str, elements: Iterable[str]
) -> TypedRecord:
    """Raises OtherTypeError where the field is another kind, and as add_wins_set.add."""
    contents = _elements(elements)
    parts = _parts_of_kind(record, field, SET)
    superseded = [part.value for part in parts if part.content in contents]
    superseded += _of_other_kinds(record, field, SET)
    return write(record, dot, [_encode((field, SET, content)) for content in contents], superseded)


def remove_elements(
    record: TypedRecord, dot: bytes, field: str, elements: Iterable[str]
) -> TypedRecord:
    """The same record where none of these is there. Raises as `add_elements`."""
    contents = _elements(elements)
    parts = _parts_of_kind(record, field, SET)
    found = [part.value for part in parts if part.content in contents]
    return removal(record, dot, found) if found else record


def remove_field(record: TypedRecord, dot: bytes, field: str) -> TypedRecord:
    """`remove_fields` of one."""
    return remove_fields(record, dot, (field,))


def remove_fields(record: TypedRecord, dot: bytes, fields: Iterable[str]) -> TypedRecord:
    """The same record where none of them is there. Raises BadPartError for what is no field, or
    where there is none."""
    given = list(dict.fromkeys(fields))
    if not given:
        raise BadPartError("there is no field", "name at least one")
    for field in given:
        check_text(field, "a field")
    parts = [part.value for field in given for part in _parts(record, field)]
    return removal(record, dot, parts) if parts else record


def held_by_later(values: Iterable[bytes]) -> list[bytes]:
    """As counter.held_by_later, for each field that is a counter."""
    latest: dict[tuple[bytes, str], bytes] = {}
    stale: list[bytes] = []
    for value in values:
        if len(value) > DOT_BYTES:
            field, kind, _ = _decode(value[DOT_BYTES:])
            if kind == COUNTER:
                site = value[8:DOT_BYTES]
                if (site, field) in latest:
                    stale.append(latest[site, field])
                latest[site, field] = value
    return stale


def subtotals(record: TypedRecord) -> list[bytes]:
    """Its values that are subtotals of counters, of fields that are shown as such."""
    kinds: dict[str, int] = {}
    found: list[tuple[str, bytes]] = []
    for value in record.live:
        field, kind, _ = _decode(value[DOT_BYTES:])
        kinds[field] = kind
        if kind == COUNTER:
            found.append((field, value))
    return [value for field, value in found if kinds[field] == COUNTER]


def fields_of(record: TypedRecord) -> dict[str, Scalar | frozenset[str]]:
    """By field, sorted: the register's content, the counter's sum, or the set's elements."""
    fields: dict[str, list[_Part]] = {}
    for value in record.live:
        field, kind, content = _decode(value[DOT_BYTES:])
        fields.setdefault(field, []).append(_Part(value, kind, content))
    return {field: _shown(fields[field]) for field in sorted(fields)}


def payloads_of(record: TypedRecord) -> list[bytes]:
    """What is shown of it, as one write brings it. Raises BadPartError where a sum needs more than
    64 bits."""
    fields: dict[str, list[_Part]] = {}
    for value in record.live:
        field, kind, content = _decode(value[DOT_BYTES:])
        fields.setdefault(field, []).append(_Part(value, kind, content))
    payloads: list[bytes] = []
    for field, parts in fields.items():
        same = [part for part in parts if part.kind == parts[-1].kind]
        contents: list[Scalar] = list(dict.fromkeys(part.content for part in same))
        if parts[-1].kind == COUNTER:
            check_subtotal(_total(same))
            contents = [_total(same)]
        elif parts[-1].kind == REGISTER:
            contents = contents[-1:]
        payloads += [_encode((field, parts[-1].kind, content)) for content in contents]
    return payloads


def check(payload: bytes) -> None:
    """Raises ValueError, BadPartError or MsgspecError unless a write makes this payload."""
    field, kind, content = _decode(payload)
    check_text(field, "a field")
    if not REGISTER <= kind <= SET:
        raise ValueError("a field of an unknown kind")
    _check_content(kind, content)
    if _encode((field, kind, content)) != payload:
        raise ValueError("a field that is not canonical")


def _check_content(kind: int, content: object) -> None:
    if kind == COUNTER:
        if type(content) is not int:
            raise BadPartError("a counter counts in integers", "give an integer")
        check_subtotal(content)
    elif kind == SET:
        check_text(content, "an element")  # type: ignore[arg-type]
    elif isinstance(content, str):
        _check_register_text(content)
    elif content is not None and type(content) is not bool:
        check_number(content)


def _check_register_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadPartError("the text is not valid UTF-8", "leave surrogates out") from None


def _elements(elements: Iterable[str]) -> list[str]:
    if isinstance(elements, str):
        raise BadPartError("a text is no list of elements", "give a list, also of one element")
    contents = list(dict.fromkeys(elements))
    if not contents:
        raise BadPartError("there is no element", "name at least one")
    for content in contents:
        check_text(content, "an element")
    return contents


def _parts(record: TypedRecord, field: str) -> list[_Part]:
    """The values of this field, the oldest first."""
    decoded = ((value, *_decode(value[DOT_BYTES:])) for value in record.live)
    return [_Part(value, kind, content) for value, name, kind, content in decoded if name == field]


def _parts_of_kind(record: TypedRecord, field: str, kind: int) -> list[_Part]:
    check_text(field, "a field")
    parts = _parts(record, field)
    if parts and parts[-1].kind != kind:
        raise OtherTypeError(
            f"the field {field!r} is a {KINDS[parts[-1].kind]}, and no {KINDS[kind]}",
            "remove it first, or take another field",
        )
    return [part for part in parts if part.kind == kind]


def _of_other_kinds(record: TypedRecord, field: str, kind: int) -> list[bytes]:
    return [part.value for part in _parts(record, field) if part.kind != kind]


def _shown(parts: list[_Part]) -> Scalar | frozenset[str]:
    newest = parts[-1]
    same = [part for part in parts if part.kind == newest.kind]
    if newest.kind == COUNTER:
        return _total(same)
    if newest.kind == SET:
        return frozenset(str(part.content) for part in same)
    return newest.content


def _total(parts: list[_Part]) -> int:
    return sum(part.content for part in parts if isinstance(part.content, int))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, int, bool | int | float | str | None]).decode
