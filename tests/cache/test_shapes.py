"""What another process wrote is read as what it is to be, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.cache.shapes import (
    COUNT_MAX,
    Shape,
    Values,
    count,
    flag,
    many,
    number,
    octets,
    optional,
    row,
    text,
)
from kvgossip.cache.source import Record

RECORD = row(Record, text, octets, text, text)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def read(shape: Shape, given_: Any, behind: bytes = b"") -> Any:
    values = Values(behind, 0)
    found = shape(given_, values)
    values.end()
    return found


def test_values_are_taken_in_their_order() -> None:
    given_ = [["a", 2, "v1", ""], ["b", None, "v2", ""], ["c", 0, "v3", ""], ["d", 3, "v4", ""]]
    assert read(many(RECORD), given_, b"onetw") == (
        Record("a", b"on", "v1"),
        Record("b", None, "v2"),
        Record("c", b"", "v3"),
        Record("d", b"etw", "v4"),
    )


@pytest.mark.parametrize(
    ("shape", "given_"),
    [
        (text, 1),
        (text, None),
        (text, "\ud800"),
        (count, -1),
        (count, True),
        (count, 1.0),
        (count, COUNT_MAX + 1),
        (number, "1"),
        (number, False),
        (flag, 0),
        (octets, "ab"),
        (octets, -1),
        (octets, 3),
        (many(text), "ab"),
        (many(text), ["a", 1]),
        (row(Record, text), []),
        (row(Record, text), ["a", "b"]),
        (row(Record, text), {"a": "b"}),
        (optional(text), 1),
    ],
)
def test_what_is_of_another_shape_is_refused(shape: Shape, given_: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(shape, given_, b"ab")


def test_values_that_nobody_speaks_of_are_refused() -> None:
    with pytest.raises(ValueError, match="nobody speaks of"):
        read(octets, 1, b"ab")


@given(ANYTHING, st.binary(max_size=20))
def test_anything_is_a_record_or_an_error(given_: Any, behind: bytes) -> None:
    try:
        found = read(RECORD, given_, behind)
    except ValueError:
        return
    assert type(found) is Record
    assert all(type(each) in (str, bytes, type(None)) for each in found)
