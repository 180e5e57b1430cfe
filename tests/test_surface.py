"""Users go on finding all that they can name: in Python, commands, routes, metrics and files.

The list of it is surface.json; surface.py says how it is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.surface import RECORD, Surface, differences, surface


async def test_nothing_that_users_can_name_is_gone_or_another() -> None:
    missed = list(differences(json.loads(RECORD.read_text(encoding="utf-8")), await surface()))
    assert not missed, "\n".join(
        ["users would miss this (python -m tests.surface --write accepts it):", *missed]
    )


def places(part: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every name of a surface."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield (*above, name)
            yield from places(value, (*above, name))


def dict_at(part: Surface, way: tuple[str, ...]) -> Surface:
    for name in way:
        part = part[name]
    return part


KNOWN: Surface = {
    "cli": {"get": {"needs": ["key"], "takes": {"--url": {"default": "x"}}}},
    "wire": {"format": 1},
}


@pytest.mark.parametrize("way", list(places(KNOWN)), ids=" > ".join)
def test_whatever_goes_is_told_by_its_place(way: tuple[str, ...]) -> None:
    now = deepcopy(KNOWN)
    del dict_at(now, way[:-1])[way[-1]]
    assert list(differences(KNOWN, now)) == [f"{' > '.join(way)} is missing"]


@pytest.mark.parametrize("way", list(places(KNOWN)), ids=" > ".join)
def test_whatever_changes_is_told_with_both(way: tuple[str, ...]) -> None:
    now = deepcopy(KNOWN)
    was, dict_at(now, way[:-1])[way[-1]] = dict_at(now, way[:-1])[way[-1]], ["another"]
    assert list(differences(KNOWN, now)) == [
        f"{' > '.join(way)} has changed: it was {was!r}, and is ['another']"
    ]


def test_a_new_name_is_no_difference_but_a_new_need_is() -> None:
    now = deepcopy(KNOWN)
    now["cli"]["put"] = {}
    now["cli"]["get"]["takes"]["--new"] = {}
    assert not list(differences(KNOWN, now))
    now["cli"]["get"]["needs"].append("--new")
    assert list(differences(KNOWN, now)) == [
        "cli > get > needs has changed: it was ['key'], and is ['key', '--new']"
    ]
