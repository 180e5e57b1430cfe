"""Places on a map: what lies in a plane keeps its distances, and nothing turns over."""

from __future__ import annotations

import math

import pytest

from kvgossip.runtime.reports.plane import on_plane

DIMENSIONS = 8


def lifted(x: float, y: float) -> tuple[float, ...]:
    """A point of a slanting plane in eight dimensions."""
    tilt = math.sqrt(0.5)
    place = [0.3] * DIMENSIONS
    place[1] += tilt * x
    place[4] += tilt * x
    place[6] += y
    return tuple(place)


def test_places_in_one_plane_keep_their_distances_and_stay_where_they_are() -> None:
    flat = {"a": (0.0, 0.0), "b": (0.08, 0.0), "c": (0.081, 0.01), "d": (0.001, -0.012)}
    places = {name: lifted(*place) for name, place in flat.items()}
    on_map = on_plane(places)
    for one in flat:
        for other in flat:
            assert math.dist(on_map[one], on_map[other]) == pytest.approx(
                math.dist(flat[one], flat[other]), abs=1e-9
            )
    assert on_plane(places) == on_map
    moved = on_plane({**places, "d": lifted(0.002, -0.012)})
    assert all(math.dist(moved[name], on_map[name]) < 0.002 for name in flat)


def test_there_is_a_map_of_one_of_none_and_of_all_in_one_place() -> None:
    assert on_plane({}) == {}
    assert on_plane({"a": lifted(1.0, 2.0)}) == {"a": (0.0, 0.0)}
    assert on_plane({"a": lifted(1.0, 2.0), "b": lifted(1.0, 2.0)}) == {
        "a": (0.0, 0.0),
        "b": (0.0, 0.0),
    }
