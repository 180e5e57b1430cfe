"""What a cache reads of typed records: what they come to, as a type of Python's."""

from __future__ import annotations

import pytest

from kvgossip.cache import source
from kvgossip.cache.decoding import decode
from kvgossip.cache.record_bytes import bytes_of, record_of
from kvgossip.protocol.model import entry
from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed import field_map, siblings
from kvgossip.protocol.typed.body import encode
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.field_map import add_elements
from kvgossip.protocol.typed.typed_record import TypedRecord, dot_of, empty

ROLES = ("ops", "admin")


def typed(*made: Edit) -> bytes:
    record = empty(made[0].type)
    for number, each in enumerate(made, 1):
        record = each.apply(record, dot_of(Version(number, number)))
    return encode(record)


def siblings_of(*expiries: int | None) -> bytes:
    """As many values 1, 2, ..., of which one did not know of the other."""
    record: TypedRecord = empty(siblings.TYPE)
    for number, expires_ms in enumerate(expiries, 1):
        value, dot = b"%d" % number, dot_of(Version(number, number))
        record = siblings.put(record, dot, value, expires_ms=expires_ms)
    return encode(record)


@pytest.mark.parametrize(
    ("made", "read"),
    [
        ([edits.add(2**63 - 1), edits.add(2**63 - 1), edits.add(3)], 2**64 + 1),
        ([edits.add_elements(["b", "a"]), edits.add_elements(["c"])], frozenset("abc")),
        ([edits.put_number("max", 1.5), edits.put_number("max", 1)], 1.5),
        (
            [edits.set_field("on", True), edits.add_to_field("n", 3), edits.set_field("s", "x")],
            {"n": 3, "on": True, "s": "x"},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_typed_record_is_read_as_a_type_of_python(made: list[Edit], read: object) -> None:
    record = record_of("k", data := typed(*made))
    found = decode(record)
    assert (found, type(found)) == (read, type(read))
    assert bytes_of(record) == data
    assert record.is_merged


def test_a_set_in_a_field_of_a_map_is_a_frozenset() -> None:
    made = Edit(field_map.TYPE, lambda record, dot: add_elements(record, dot, "roles", ROLES))
    assert decode(record_of("k", typed(made))) == {"roles": frozenset(ROLES)}


def test_of_siblings_the_newest_is_read_that_has_not_expired() -> None:
    record = record_of("k", siblings_of(None, None))
    assert (record.value, record.content_type, decode(record)) == (b"2", "", 2)
    assert record_of("k", siblings_of(None, 1)).value == b"1"
    assert record_of("k", siblings_of(1, 1)).value is None


def test_what_was_deleted_has_no_value() -> None:
    for made in ([edits.add(1)], [edits.put_sibling(b"1")]):
        assert record_of("k", typed(*made, edits.delete(made[0].type))).value is None


def test_a_plain_value_is_no_merged_one_whatever_it_calls_itself() -> None:
    data = make_record(Version(1, 1), b"[[1], 2]", "application/vnd.kvgossip.set+json")
    record = record_of("k", data)
    assert not record.is_merged
    assert decode(record) == [[1], 2]
    assert source.TYPED == entry.TYPED
