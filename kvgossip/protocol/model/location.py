"""Location: where a node is, as configured, and how far two of them are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Distances of configured locations, in hops within a zone: the next room, the next building, the
# next town.
SAME_ZONE = 1.0
SAME_DATACENTER = 2.0
OTHER_DATACENTER = 10.0


@dataclass(frozen=True, slots=True)
class Location:
    """The place of a node, as configured. `zone` names a part of its datacenter; `coordinates` are
    optional, in hops (1.0: within a zone)."""

    datacenter: str = ""
    zone: str = ""
    coordinates: tuple[float, ...] = ()


def distance_between(one: Location, other: Location) -> float:
    """Euclidean where both have coordinates of one dimension, else same zone < same datacenter <
    other datacenter. Never negative."""
    if one.coordinates and len(one.coordinates) == len(other.coordinates):
        return math.dist(one.coordinates, other.coordinates)
    if one.datacenter != other.datacenter:
        return OTHER_DATACENTER
    return SAME_ZONE if one.zone == other.zone else SAME_DATACENTER
