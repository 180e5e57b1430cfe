"""Who is near: what is configured comes first, then what the network coordinates say, and what
wavers does not make choices waver."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Config
from kvgossip.protocol.membership.coordinate import DIMENSIONS, ORIGIN, Coordinate, Coordinates
from kvgossip.protocol.membership.proximity import SAMPLES_BETWEEN, Proximity
from kvgossip.protocol.model.location import Location
from kvgossip.protocol.model.member import Member
from tests.protocol.net import Network, member

NAMES = ["b", "c", "d", "e"]
PEERS = [member(name, place) for place, name in enumerate(NAMES, 1)]


def place_at(distance_s: float, error: float = 0.1) -> Coordinate:
    return Coordinate((distance_s, *(0.0,) * (DIMENSIONS - 1)), 0.0, 0.0, error)


class Known(Coordinates):
    """Coordinates that are given instead of learned."""

    def __init__(self, error: float = 0.1, **distances_s: float) -> None:
        super().__init__(Random(1))
        self.own = ORIGIN._replace(error=error, height_s=0.0)
        self.place(**distances_s)

    def place(self, **distances_s: float) -> None:
        self._peers |= {name: place_at(distance_s) for name, distance_s in distances_s.items()}


def distances(
    known: Known, peers: list[Member] = PEERS, here: Location = PEERS[0].location, **config: Any
) -> list[float]:
    return Proximity(Config(**config), here, known).distances(peers)


def test_with_nothing_configured_the_network_shows_who_is_near_once_it_is_sure() -> None:
    far = {"b": 0.0004, "c": 0.0009, "d": 0.02, "e": 0.08}
    assert distances(Known(**far)) == [1, 1, 16, 64]
    assert distances(Known(error=0.3, **far)) == [1, 1, 1, 1]
    assert distances(Known(**far), selection="uniform") == [1, 1, 1, 1]


def test_what_is_configured_comes_first() -> None:
    far = Known(b=0.08, c=0.0001, d=0.0001, e=0.0001)
    zoned = [member("b", 1, zone="here"), *(member(name, 2, zone="there") for name in "cde")]
    assert distances(far, zoned, Location("dc1", "here")) == [1, 2, 2, 2]
    placed = [
        member(name, place, coordinates=(float(place),)) for place, name in enumerate(NAMES, 1)
    ]
    assert distances(far, placed, Location("dc1", "", (0.0,))) == [1, 2, 3, 4]


def test_gateways_that_the_configuration_calls_alike_are_told_apart_by_the_network() -> None:
    assert distances(Known(b=0.01, c=0.015, d=0.05, e=0.25), PEERS, Location("elsewhere")) == [
        1,
        1,
        4,
        16,
    ]


def test_a_peer_whose_place_is_unknown_or_unsure_counts_as_near() -> None:
    known = Known(b=0.0004, e=0.08)
    known._peers["d"] = place_at(0.08, error=0.9)
    assert distances(known) == [1, 1, 1, 64]


@given(st.lists(st.floats(1e-5, 0.0019), min_size=4, max_size=4))
def test_a_lan_is_one_class_whatever_the_differences(round_trips_s: list[float]) -> None:
    assert distances(Known(**dict(zip(NAMES, round_trips_s, strict=True)))) == [1, 1, 1, 1]


@given(st.lists(st.floats(0.85, 1.15), min_size=1, max_size=20), st.floats(0.0001, 0.3))
def test_who_wavers_around_an_edge_stays_what_it_was(
    wavering: list[float], distance_s: float
) -> None:
    known = Known(b=0.0001, c=distance_s, d=0.0001, e=0.0001)
    near = Proximity(Config(), PEERS[0].location, known)
    first = near.distances(PEERS)[1]
    middle = {1: 0.001, 4: 0.004, 16: 0.016, 64: 0.064, 256: 0.256}[int(first)]
    known.place(c=middle)
    assert near.distances(PEERS)[1] == first
    edge_s = 2 * middle
    for factor in wavering:
        known.place(c=edge_s * factor)
        assert near.distances(PEERS)[1] == first
    known.place(c=4 * edge_s)
    assert near.distances(PEERS)[1] > first


def test_trust_in_the_coordinates_has_a_margin_too() -> None:
    known = Known(b=0.0001, c=0.08, d=0.0001, e=0.0001)
    near, seen = Proximity(Config(), PEERS[0].location, known), []
    for error in (0.4, 0.24, 0.4, 0.49, 0.6, 0.4, 0.2):
        known.own = known.own._replace(error=error)
        seen.append(near.distances(PEERS)[1])
    assert seen == [1, 64, 64, 64, 1, 1, 64]


def test_choices_follow_the_distances_and_are_looked_at_again_after_some_samples() -> None:
    known = Known(b=0.0001, c=0.08, d=0.08, e=0.08)
    near, rng = Proximity(Config(), PEERS[0].location, known), Random(1)

    def chosen() -> str:
        return Counter(near.choose(rng, PEERS, 1)[0].name for _ in range(300)).most_common(1)[0][0]

    assert chosen() == "b"
    known.place(b=0.08, c=0.0001)
    assert chosen() == "b"
    known.samples += SAMPLES_BETWEEN
    assert chosen() == "c"


@pytest.mark.parametrize("far_s", [0.04, 0.0006])
def test_nodes_that_nobody_told_of_their_datacenters_prefer_their_own(far_s: float) -> None:
    """Two rooms in one pool, 80 ms apart: rumors stay in them for the most part. At 1.2 ms they are
    one room."""
    net = Network()
    rooms = {name: name in "abcd" for name in "abcdefgh"}
    net.way_s = lambda frm, to: 0.0002 if rooms[frm] == rooms[to] else far_s
    net.cluster("a b c d e f g h", probe_interval_s=0.2, probe_timeout_s=0.15)
    net.run(60.0)
    counts = Counter(
        rooms[peer.name]
        for _ in range(2000)
        for peer in net.replicas["a"].pools.lan.membership.choose(1)
    )
    share = counts[True] / counts.total()
    if far_s == 0.04:
        assert share > 0.75
    else:
        assert 3 / 7 - 0.06 < share < 3 / 7 + 0.06
