"""Keys with slashes become mappings within each other, and no value of a cache is changed."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.contrib.nesting import nested


@pytest.mark.parametrize(
    ("values", "prefix", "tree"),
    [
        ({}, "", {}),
        ({"a": 1, "b/c": 2, "b/d/e": 3}, "", {"a": 1, "b": {"c": 2, "d": {"e": 3}}}),
        ({"a": 1, "b/c": 2, "b/d": 3}, "b/", {"c": 2, "d": 3}),
        ({"a": {"x": 1, "y": 2}, "a/y": 3}, "", {"a": {"x": 1, "y": 3}}),
        ({"a": "text", "a/y": 3}, "", {"a": {"y": 3}}),
        ({"a/": 1, "/b": 2}, "", {"a": {"": 1}, "": {"b": 2}}),
    ],
)
def test_names_with_slashes_are_nested(
    values: dict[str, Any], prefix: str, tree: dict[str, Any]
) -> None:
    assert nested(values, prefix) == tree


def test_the_values_of_a_cache_stay_as_they_are() -> None:
    value = {"x": 1, "z": {"u": 1}}
    assert nested({"a": value, "a/x": 2, "a/z/v": 3})["a"] == {"x": 2, "z": {"u": 1, "v": 3}}
    assert value == {"x": 1, "z": {"u": 1}}
