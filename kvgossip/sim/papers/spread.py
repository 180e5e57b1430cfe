"""Spatial gossip measured: the cost of peer selection by distance to the links, and the time that
an update takes (Demers et al. 1987, section 3).

Every site starts one conversation a cycle. A link's traffic is the number of conversations that
cross it a cycle. Peers are selected by the code that ships (`protocol.spatial`); here it is only
asked for all sites of a topology at once, without a table for each:

    distance    one table of places relative to a site; a place where the topology has ended is
                drawn again, which leaves the others in proportion
    rank        one table of ranks; the i-th nearest is at the least d with Q(d) >= i, and any site
                at d will do, for the paper averages over equal distances
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from kvgossip.protocol.membership.spatial import Selection, SpatialPeers, SpatialPolicy
from kvgossip.protocol.rumors.policy import Mode
from kvgossip.sim.papers.epidemic import other_than, spread_by_anti_entropy
from kvgossip.sim.papers.topology import Topology

Offsets = list[list[int]]


@dataclass(frozen=True, slots=True)
class LinkTraffic:
    """Conversations over a link and cycle: averaged over the links, on the busiest one, and on the
    middle one (None: there is none).

    `links`: each link's.
    """

    mean: float
    max: float
    middle: float | None
    links: tuple[float, ...]


class Neighbors:
    """The sites that each site of a topology contacts under one policy."""

    __slots__ = ("_policy", "_ranks", "_shells", "_tables", "_topology")

    def __init__(self, topology: Topology, policy: SpatialPolicy) -> None:
        self._topology, self._policy = topology, policy
        self._tables: dict[int, SpatialPeers[int]] = {}
        self._shells: dict[int, Offsets] = {}
        ranks = ((rank, float(rank)) for rank in range(1, topology.sites))
        self._ranks = SpatialPeers(
            replace(policy, uniform_share=0.0), ranks if policy.selection is Selection.RANK else ()
        )

    def partner(self, site: int, rng: Random) -> int:
        """Another site, chosen as `SpatialPeers` of this site's peers and distances would choose
        one."""
        share = self._policy.uniform_share
        if self._policy.selection is Selection.UNIFORM or (share and rng.random() < share):
            return other_than(site, self._topology.sites, rng)
        return (
            self._by_rank(site, rng)
            if self._policy.selection is Selection.RANK
            else self._by_distance(site, rng)
        )

    def _by_distance(self, site: int, rng: Random) -> int:
        table = self._table(self._topology.kind(site))
        return self._first(site, lambda: table.one(rng))

    def _by_rank(self, site: int, rng: Random) -> int:
        rank = self._ranks.one(rng)
        distance = bisect_left(
            range(self._topology.diameter), rank, key=lambda d: self._topology.within(site, d)
        )
        shell = self._shell(self._topology.kind(site))[distance]
        return self._first(site, lambda: shell[int(rng.random() * len(shell))])

    def _first(self, site: int, draw: Callable[[], int]) -> int:
        while True:
            other = self._topology.at(site, draw())
            if other is not None:
                return other

    def _table(self, kind: int) -> SpatialPeers[int]:
        if kind not in self._tables:
            places = (
                (offset, float(distance)) for offset, distance in self._topology.offsets(kind)
            )
            self._tables[kind] = SpatialPeers(replace(self._policy, uniform_share=0.0), places)
        return self._tables[kind]

    def _shell(self, kind: int) -> Offsets:
        if kind not in self._shells:
            shells: Offsets = [[] for _ in range(self._topology.diameter + 3)]
            for offset, distance in self._topology.offsets(kind):
                shells[distance].append(offset)
            self._shells[kind] = shells
        return self._shells[kind]


def link_traffic(topology: Topology, neighbors: Neighbors, cycles: int, rng: Random) -> LinkTraffic:
    """The traffic of every link, averaged over so many cycles (at least 1)."""
    sites = topology.sites
    conversations = (
        (site, neighbors.partner(site, rng)) for _ in range(cycles) for site in range(sites)
    )
    links = tuple(count / cycles for count in topology.crossings(conversations))
    middle = topology.middle()
    return LinkTraffic(
        sum(links) / len(links), max(links), None if middle is None else links[middle], links
    )


def cycles_until_all_know(topology: Topology, neighbors: Neighbors, rng: Random) -> int:
    """Push-pull anti-entropy from a random site with this selection, until the last site has the
    update."""
    origin = rng.randrange(topology.sites)
    return spread_by_anti_entropy(
        topology.sites, Mode.PUSH_PULL, rng, neighbors.partner, origin
    ).cycles


def growth_law(exponent: float, sites: int) -> float:
    """How traffic over the middle link of a line grows with the number of sites (section 3), up to
    a constant factor that depends on a."""
    if exponent < 1:
        return float(sites)
    if exponent == 1:
        return sites / math.log(sites)
    if exponent < 2:
        return float(sites ** (2 - exponent))
    return math.log(sites) if exponent == 2 else 1.0
