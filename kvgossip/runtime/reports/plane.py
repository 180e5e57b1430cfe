"""Plane: places of eight dimensions on a map of two, so that what is far apart stays far apart.

The axes are the two along which the places differ most (principal components). A plane cannot hold
what eight dimensions say, and heights are left out: it is for the eye. Nothing is random in it, and
places that stay where they are stay there on the map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Vector = list[float]
STEPS = 64
"""Of the power iteration: a map needs no more digits."""


def on_plane(places: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    """The place of each name on the map, around the middle of all, in the unit of `places`, which
    have all the same number of dimensions."""
    if not places:
        return {}
    count = len(places)
    middle = [sum(column) / count for column in zip(*places.values(), strict=True)]
    centred = {
        name: [number - at for number, at in zip(place, middle, strict=True)]
        for name, place in places.items()
    }
    spread = _covariance(list(centred.values()))
    first = _axis(spread)
    second = _axis(_without(spread, first))
    return {name: (_dot(place, first), _dot(place, second)) for name, place in centred.items()}


def _covariance(places: Sequence[Vector]) -> list[Vector]:
    columns = list(zip(*places, strict=True))
    return [[_dot(one, other) for other in columns] for one in columns]


def _axis(matrix: Sequence[Vector]) -> Vector:
    """The direction in which it stretches most, by power iteration; no direction for zeros. Its
    greatest part is positive, so that the map does not turn over."""
    direction = max(matrix, key=lambda row: _dot(row, row))
    for _ in range(STEPS):
        length = math.sqrt(_dot(direction, direction))
        if not length:
            return [0.0] * len(matrix)
        unit = [number / length for number in direction]
        direction = [_dot(row, unit) for row in matrix]
    sign = 1.0 if max(unit, key=abs) > 0 else -1.0
    return [sign * number for number in unit]


def _without(matrix: Sequence[Vector], direction: Vector) -> list[Vector]:
    """What it stretches in other directions."""
    stretch = _dot([_dot(row, direction) for row in matrix], direction)
    return [
        [number - stretch * here * there for number, there in zip(row, direction, strict=True)]
        for row, here in zip(matrix, direction, strict=True)
    ]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))
