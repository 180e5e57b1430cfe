"""Network coordinates: distances of a known geometry are found out, and nothing that a peer says
throws a node out of its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.membership.coordinate import (
    DIMENSIONS,
    ERROR_MAX,
    ORIGIN,
    ROUND_TRIP_S_MAX,
    WINDOW,
    Coordinate,
    Coordinates,
    unpacked,
)
from tests.protocol.net import Network

PACKED_BYTES = 22
within = st.floats(-ROUND_TRIP_S_MAX, ROUND_TRIP_S_MAX)
coordinates = st.builds(
    Coordinate,
    st.lists(within, min_size=DIMENSIONS, max_size=DIMENSIONS).map(tuple),
    st.floats(0, ROUND_TRIP_S_MAX),
    within,
    st.floats(0, ERROR_MAX),
)
Geometry = Callable[[int, int], float]


def settled(
    nodes: int, round_trip_s: Geometry, rounds: int, hostile: Collection[int] = (), lie: bytes = b""
) -> list[float]:
    """The relative errors of all pairs of honest nodes, sorted, after so many probes by each in
    shuffled round robin, with some jitter."""
    rng = Random(1)
    places = [Coordinates(Random(node)) for node in range(nodes)]
    orders: list[list[int]] = [[] for _ in range(nodes)]
    honest = [node for node in range(nodes) if node not in hostile]
    for _ in range(rounds):
        for node in honest:
            if not orders[node]:
                orders[node] = [other for other in range(nodes) if other != node]
                rng.shuffle(orders[node])
            peer = orders[node].pop()
            jittered_s = round_trip_s(node, peer) * (
                1 + 0.02 * rng.expovariate(1)
            ) + 2e-5 * rng.expovariate(1)
            places[node].sampled(
                str(peer), lie if peer in hostile else places[peer].own.packed(), jittered_s
            )
    pairs = [(one, other) for one in honest for other in honest if one < other]
    return sorted(
        abs(places[one].own.distance_s(places[other].own) / round_trip_s(one, other) - 1)
        for one, other in pairs
    )


def plane(one: int, other: int) -> float:
    """Sites all over a plane of 100 ms x 100 ms, each 2 ms from its network."""
    draw = Random(5)
    places = [(0.1 * draw.random(), 0.1 * draw.random()) for _ in range(max(one, other) + 1)]
    return math.dist(places[one], places[other]) + 0.004


def two_datacenters(one: int, other: int) -> float:
    return 0.0004 if one % 2 == other % 2 else 0.0804


# -- what is found out ---------------------------------------------------------------------------


def test_sites_on_a_plane_know_their_distances_to_a_few_percent() -> None:
    errors = settled(30, plane, 200)
    assert median(errors) < 0.05
    assert errors[len(errors) * 9 // 10] < 0.2


def test_two_datacenters_80_ms_apart_are_told_apart_and_so_far_apart() -> None:
    errors = settled(20, two_datacenters, 200)
    assert median(errors) < 0.05
    assert len([error for error in errors if error < 0.05]) >= 100  # all the pairs across
    assert errors[-1] < 2.0  # those of one datacenter are thought to be less than 1.2 ms apart


def test_real_replicas_learn_where_they_are_from_their_probes() -> None:
    net = Network()
    datacenter = {name: name in "abc" for name in "abcdef"}
    net.way_s = lambda frm, to: 0.0002 if datacenter[frm] == datacenter[to] else 0.04
    net.cluster("a b c d e f", probe_interval_s=0.2, probe_timeout_s=0.15)
    net.run(40.0)
    places = {
        name: replica.pools.lan.membership.coordinates for name, replica in net.replicas.items()
    }
    across = [places[one].own.distance_s(places[other].own) for one in "abc" for other in "def"]
    assert all(0.072 < distance_s < 0.088 for distance_s in across)
    assert all(
        place.refused == place.resets == 0 and place.own.error < 0.5 for place in places.values()
    )
    # and each knows where the others are
    place = places["a"].of("d")
    assert place is not None
    assert 0.072 < places["a"].own.distance_s(place) < 0.088


def test_an_ack_by_a_helper_or_over_tcp_is_no_round_trip() -> None:
    net = Network()
    net.cluster("a b c")
    before = {
        name: replica.pools.lan.membership.coordinates.samples
        for name, replica in net.replicas.items()
    }
    net.passes = lambda frm, to, reliable: reliable or {frm, to} != {"a", "b"}
    net.run(30.0)
    coordinates = {
        name: replica.pools.lan.membership.coordinates for name, replica in net.replicas.items()
    }
    helped = net.replicas["a"].pools.lan.membership
    assert net.state("a", "b") == net.state("b", "a") == 0
    assert coordinates["c"].samples > before["c"] + 20
    # only the half of its probes that goes to c
    assert before["a"] < coordinates["a"].samples < before["a"] + 20
    assert helped.coordinates.own.distance_s(ORIGIN) < 0.1


# -- what is said on the wire --------------------------------------------------------------------


@given(coordinates)
def test_a_coordinate_comes_out_as_it_went_in_to_three_digits(place: Coordinate) -> None:
    data = place.packed()
    assert len(data) == PACKED_BYTES
    read = unpacked(data)
    assert read is not None
    for sent, heard in zip(
        (*place.place_s, place.height_s, place.adjustment_s),
        (*read.place_s, read.height_s, read.adjustment_s),
        strict=True,
    ):
        assert heard == pytest.approx(sent, rel=1e-3, abs=1e-9)
    assert read.packed() == data


@given(st.binary(max_size=50) | st.binary(min_size=PACKED_BYTES, max_size=PACKED_BYTES))
def test_any_bytes_are_a_valid_coordinate_or_none(data: bytes) -> None:
    place = unpacked(data)
    assert place is None or place.is_valid


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 2 * ROUND_TRIP_S_MAX])
@pytest.mark.parametrize("field", range(4))
def test_what_is_no_place_is_not_valid(odd: float, field: int) -> None:
    wrong = [ORIGIN._replace(place_s=(odd,) * DIMENSIONS), ORIGIN._replace(height_s=odd)]
    wrong += [ORIGIN._replace(adjustment_s=odd), ORIGIN._replace(error=odd)]
    assert ORIGIN.is_valid
    assert not wrong[field].is_valid


# -- what peers may do ---------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), coordinates, st.floats(0, ROUND_TRIP_S_MAX)), max_size=60
    )
)
def test_whatever_peers_say_a_place_stays_valid_and_can_be_sent(
    samples: list[tuple[str, Coordinate, float]],
) -> None:
    place = Coordinates(Random(1))
    for peer, coordinate, round_trip_s in samples:
        place.sampled(peer, coordinate.packed(), round_trip_s)
        assert place.own.is_valid
        assert unpacked(place.own.packed()) is not None


@given(st.binary(max_size=40), st.floats())
def test_what_is_no_coordinate_or_no_round_trip_moves_nothing(
    data: bytes, round_trip_s: float
) -> None:
    place = Coordinates(Random(1))
    if unpacked(data) is None or not 0 <= round_trip_s <= ROUND_TRIP_S_MAX:
        place.sampled("b", data, round_trip_s)
        assert (place.own, place.samples, place.of("b")) == (ORIGIN, 0, None)
        assert place.refused == (1 if data else 0)


@pytest.mark.parametrize("far_s", [9.0, 0.3, 0.05, 0.01])
@pytest.mark.parametrize("geometry", [plane, two_datacenters])
def test_a_tenth_of_hostile_peers_throws_nobody_out(geometry: Geometry, far_s: float) -> None:
    lie = Coordinate((far_s,) * DIMENSIONS, far_s, 0.0, 0.0).packed()
    errors = settled(20, geometry, 200, hostile=(0, 1), lie=lie)
    assert median(errors) < 0.3


def test_where_all_peers_are_far_away_they_are_believed() -> None:
    place = Coordinates(Random(1))
    far = Coordinate((1.0,) * DIMENSIONS, error=0.1)
    for number in range(1000):
        place.sampled(f"p{number % 5}", far.packed(), 0.001)
    assert place.refused > 0
    assert place.own.distance_s(far) < 0.1


def test_a_place_that_is_lost_starts_again() -> None:
    place = Coordinates(Random(1))
    place.own = Coordinate((math.nan,) * DIMENSIONS)
    for _ in range(10):
        place.sampled("b", ORIGIN.packed(), 0.01)
    assert place.resets == 1
    assert place.own.is_valid


def test_one_late_packet_moves_nothing() -> None:
    still, jolted = Coordinates(Random(1)), Coordinates(Random(1))
    for number in range(40):
        still.sampled("b", ORIGIN.packed(), 0.01)
        jolted.sampled("b", ORIGIN.packed(), 0.9 if number % 3 == 2 else 0.01)
    assert still.own == jolted.own


def test_what_is_kept_of_a_peer_goes_with_it() -> None:
    place = Coordinates(Random(1))
    for number in range(2 * WINDOW):
        place.sampled(f"p{number}", ORIGIN.packed(), 0.01)
        place.forget(f"p{number}")
    assert place.of("p1") is None
    assert not place._peers
    assert not place._filters
