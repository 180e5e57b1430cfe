"""Proximity: how far each peer of this node is, and which are chosen therefore (protocol.md section
10).

Configuration comes first: coordinates, zones, datacenters. If it calls all peers alike - no zone
and no coordinates are configured, or the peers are gateways of other datacenters - the network
coordinates distinguish them, once they are sure enough.

Estimates move with every probe, and choices must not: a rank turns a hair's breadth into a peer
that is chosen four times as often. So
- distances are classes, each four times as wide as the one before, in units of the nearest peer or
  of a millisecond, whatever is longer: all that is within twice the unit is alike, and a LAN is one
  class;
- a peer changes its class only when it is a quarter beyond the edge, and whether coordinates are
  trusted at all has a margin as well;
- classes are looked at again after some samples, not after each.
A peer that has not sent its place, or is unsure of it, counts as near: as it does where nothing is
known of anybody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from kvgossip.config import Config
from kvgossip.protocol.membership.coordinate import Coordinates
from kvgossip.protocol.membership.spatial import Selection, SpatialPeers, SpatialPolicy
from kvgossip.protocol.model.location import Location, distance_between
from kvgossip.protocol.model.member import Member

UNIT_S_MIN = 0.001
CLASS_WIDTH = 4.0
EDGE = 2.0
MARGIN = 1.25
ERROR_TRUSTED = 0.25
ERROR_DISTRUSTED = 0.5
SAMPLES_BETWEEN = 8


class Proximity:
    """Peers to choose from, near ones rather than far ones. `here` is where this node is configured
    to be."""

    __slots__ = (
        "_classes",
        "_coordinates",
        "_here",
        "_looked_at",
        "_peers",
        "_policy",
        "_spatial",
        "_trusts",
    )

    def __init__(self, config: Config, here: Location, coordinates: Coordinates) -> None:
        self._here, self._coordinates = here, coordinates
        self._policy = SpatialPolicy(
            Selection(config.selection), config.spatial_exponent, config.spatial_uniform_share
        )
        self._spatial: SpatialPeers[Member] = SpatialPeers(self._policy)
        #: those that were chosen from last
        self._peers: Sequence[Member] = ()
        #: network coordinates are sure enough
        self._trusts = False
        #: how many samples there were when distances were last worked out
        self._looked_at = 0
        #: of the distance of each peer, by name
        self._classes: dict[str, int] = {}

    def choose(self, rng: Random, peers: Sequence[Member], count: int) -> list[Member]:
        """At most `count` different ones. The peers are another sequence where they have
        changed."""
        is_old = self._coordinates.samples >= self._looked_at + SAMPLES_BETWEEN
        if is_old or peers is not self._peers:
            self._peers, self._looked_at = peers, self._coordinates.samples
            self._spatial.refresh(zip(peers, self.distances(peers), strict=True))
        return self._spatial.choose(rng, count)

    def distances(self, peers: Sequence[Member]) -> list[float]:
        """How far each is, in hops: 1.0 is next to us."""
        configured = [distance_between(self._here, peer.location) for peer in peers]
        alike = (
            len(dict.fromkeys(configured)) == 1 and self._policy.selection is not Selection.UNIFORM
        )
        return (
            self._by_network([peer.name for peer in peers])
            if alike and self._is_sure()
            else configured
        )

    def _is_sure(self) -> bool:
        error = self._coordinates.own.error
        self._trusts = error < (ERROR_DISTRUSTED if self._trusts else ERROR_TRUSTED)
        return self._trusts

    def _by_network(self, names: Sequence[str]) -> list[float]:
        estimates_s = {
            name: estimate_s for name in names if (estimate_s := self._estimate_s(name)) is not None
        }
        unit_s = max(min(estimates_s.values(), default=0.0), UNIT_S_MIN)
        self._classes = {
            name: _class(estimates_s.get(name, 0.0) / unit_s, self._classes.get(name))
            for name in names
        }
        return [CLASS_WIDTH ** self._classes[name] for name in names]

    def _estimate_s(self, name: str) -> float | None:
        place = self._coordinates.of(name)
        return (
            self._coordinates.own.distance_s(place)
            if place is not None and place.error < ERROR_DISTRUSTED
            else None
        )


def _class(units: float, before: int | None) -> int:
    """0 up to twice the unit, then one more for each four times as much; the one before, while that
    is not clearly wrong."""
    if before is not None:
        low, high = (
            (EDGE * CLASS_WIDTH ** (before - 1) if before else 0.0),
            EDGE * CLASS_WIDTH**before,
        )
        if low / MARGIN <= units < high * MARGIN:
            return before
    return 0 if units < EDGE else 1 + math.floor(math.log(units / EDGE, CLASS_WIDTH))
