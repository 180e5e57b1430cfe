"""Edit: what a client asks to be done to a typed record, as a function of the record that is there
and of the dot of the write. One that changes nothing gives the same record, and is no write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kvgossip.protocol.typed import add_wins_set, counter, extremum, field_map, siblings
from kvgossip.protocol.typed import typed_record as records
from kvgossip.protocol.typed.typed_record import Seen, TypedRecord


class Edit(NamedTuple):
    """`type`: that of the key, which is made one where there is nothing. `context`: what the client
    has seen, perhaps on another node; None where it does not say."""

    type: str
    apply: Callable[[TypedRecord, bytes], TypedRecord]
    context: Seen | None = None


class KeyEdit(NamedTuple):
    """An edit of this key, as a part of a batch."""

    key: str
    edit: Edit


def put_sibling(
    value: bytes,
    content_type: str | None = None,
    flags: int = 0,
    expires_ms: int | None = None,
    *,
    context: Seen | None = None,
    wall_ms: int = 0,
) -> Edit:
    """See siblings.put."""

    def apply(record: TypedRecord, dot: bytes) -> TypedRecord:
        return siblings.put(
            record, dot, value, content_type, flags, expires_ms, context=context, wall_ms=wall_ms
        )

    return Edit(siblings.TYPE, apply, context)


def add(amount: int) -> Edit:
    """To a counter."""
    return Edit(counter.TYPE, lambda record, dot: counter.add(record, dot, amount))


def adopt(type_: str, dots: Iterable[bytes]) -> Edit:
    """Take over these subtotals of former lives of this node."""
    adopted = list(dots)
    if type_ == counter.TYPE:
        return Edit(type_, lambda record, dot: counter.add(record, dot, 0, adopted))
    return Edit(type_, lambda record, dot: field_map.adopt(record, dot, adopted))


def add_elements(elements: Iterable[str]) -> Edit:
    """To a set."""
    given = _listed(elements)
    return Edit(add_wins_set.TYPE, lambda record, dot: add_wins_set.add(record, dot, given))


def remove_elements(elements: Iterable[str]) -> Edit:
    """From a set."""
    given = _listed(elements)
    return Edit(add_wins_set.TYPE, lambda record, dot: add_wins_set.remove(record, dot, given))


def put_number(type_: str, number: float) -> Edit:
    """Into a max or a min."""
    return Edit(type_, lambda record, dot: extremum.put(record, dot, number))


def set_fields(fields: Mapping[str, field_map.Scalar]) -> Edit:
    """Of a map."""
    given = dict(fields)
    return Edit(field_map.TYPE, lambda record, dot: field_map.set_fields(record, dot, given))


def set_field(field: str, content: field_map.Scalar) -> Edit:
    """Of a map."""
    return set_fields({field: content})


def add_to_field(field: str, amount: int) -> Edit:
    """To a counter in a map."""
    return Edit(
        field_map.TYPE, lambda record, dot: field_map.add_to_counter(record, dot, field, amount)
    )


def add_elements_to_field(field: str, elements: Iterable[str]) -> Edit:
    """To a set in a map."""
    given = _listed(elements)
    return Edit(
        field_map.TYPE, lambda record, dot: field_map.add_elements(record, dot, field, given)
    )


def remove_elements_from_field(field: str, elements: Iterable[str]) -> Edit:
    """From a set in a map."""
    given = _listed(elements)
    return Edit(
        field_map.TYPE, lambda record, dot: field_map.remove_elements(record, dot, field, given)
    )


def remove_fields(fields: Iterable[str]) -> Edit:
    """From a map."""
    given = list(fields)
    return Edit(field_map.TYPE, lambda record, dot: field_map.remove_fields(record, dot, given))


def remove_field(field: str) -> Edit:
    """From a map."""
    return remove_fields([field])


def delete(type_: str, context: Seen | None = None) -> Edit:
    """What its writer has seen: all that is here, where no context says otherwise."""
    return Edit(type_, lambda record, dot: records.delete(record, dot, context), context)


def _listed(elements: Iterable[str]) -> Iterable[str]:
    """A text stays one, and is refused as such."""
    return elements if isinstance(elements, str) else list(elements)
