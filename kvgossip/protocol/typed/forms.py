"""What a typed record shows to people and programs."""

from __future__ import annotations

from kvgossip.protocol.typed import add_wins_set, counter, field_map, siblings
from kvgossip.protocol.typed.extremum import number_of
from kvgossip.protocol.typed.typed_record import TypedRecord

Shown = (
    None
    | int
    | float
    | frozenset[str]
    | dict[str, field_map.Scalar | frozenset[str]]
    | list[siblings.Sibling]
)


def value_of(record: TypedRecord, wall_ms: int = 0) -> Shown:
    """A counter's sum, the number of a max or min, a set's elements, a map's fields by name, or the
    siblings that have not expired by then, the newest first. None where it was deleted."""
    if record.deleted:
        return None
    if record.type == siblings.TYPE:
        return siblings.siblings_of(record, wall_ms)
    if record.type == counter.TYPE:
        return counter.total_of(record.live)
    if record.type == add_wins_set.TYPE:
        return add_wins_set.elements_of(record)
    if record.type == field_map.TYPE:
        return field_map.fields_of(record)
    return number_of(record)


def json_of(record: TypedRecord) -> object:
    """The same as JSON has it, where sets are sorted lists. Not of siblings, whose values are bytes
    with a content type each."""
    shown = value_of(record)
    if isinstance(shown, frozenset):
        return sorted(shown)
    if isinstance(shown, dict):
        return {
            field: sorted(content) if isinstance(content, frozenset) else content
            for field, content in shown.items()
        }
    if isinstance(shown, list):
        raise TypeError("siblings have no one form in JSON")
    return shown
