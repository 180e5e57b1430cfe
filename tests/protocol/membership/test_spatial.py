"""Spatial selection (Demers et al. 1987, section 3), the topologies it is measured on, and the
traffic it causes."""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kvgossip.cli.sim import sim_app
from kvgossip.errors import ConfigError
from kvgossip.protocol.membership.spatial import Selection, SpatialPeers, SpatialPolicy
from kvgossip.protocol.model.location import Location, distance_between
from kvgossip.sim.papers.spread import Neighbors, cycles_until_all_know, growth_law, link_traffic
from kvgossip.sim.papers.topology import TOPOLOGIES, Grid, Line, Topology, topology

DISTANCES = st.lists(
    st.floats(0, 1e300) | st.integers(0, 5).map(float) | st.just(math.inf), min_size=1, max_size=40
)
POLICIES = st.builds(
    SpatialPolicy, st.sampled_from(Selection), st.floats(0, 16), st.sampled_from([0.0, 0.1, 1.0])
)
SHAPES = [(name, sites) for name in TOPOLOGIES for sites in (3, 4, 6, 9, 12, 20, 30, 35, 64)]


def peers_at(distances: Sequence[float], policy: SpatialPolicy) -> SpatialPeers[int]:
    return SpatialPeers(policy, enumerate(distances))


def exactly(selection: Selection, exponent: float) -> SpatialPolicy:
    return SpatialPolicy(selection, exponent, uniform_share=0.0)


# -- the law -------------------------------------------------------------------------------------


def test_by_distance_a_peer_twice_as_far_is_chosen_2_to_the_minus_a_as_often() -> None:
    found = dict(peers_at([1, 2, 4], exactly(Selection.DISTANCE, 2)).probabilities())
    assert found == pytest.approx({0: 16 / 21, 1: 4 / 21, 2: 1 / 21})


def test_by_rank_peers_at_the_same_distance_share_the_weights_of_their_ranks() -> None:
    # Q(1) = 1, Q(5) = 3, Q(7) = 4; whatever the distances are: p(5) = (2^-2 + 3^-2) / 2.
    found = dict(peers_at([5, 1, 7, 5], exactly(Selection.RANK, 2)).probabilities())
    total = 1 + 1 / 4 + 1 / 9 + 1 / 16
    middle = (1 / 4 + 1 / 9) / 2 / total
    assert found == pytest.approx({1: 1 / total, 0: middle, 3: middle, 2: 1 / 16 / total})


def test_a_uniform_share_is_mixed_into_every_probability() -> None:
    found = dict(
        peers_at([1, 2], SpatialPolicy(Selection.DISTANCE, 2, uniform_share=0.5)).probabilities()
    )
    assert found == pytest.approx({0: 0.25 + 0.4, 1: 0.25 + 0.1})


@given(DISTANCES, POLICIES)
def test_probabilities_add_up_to_1_and_never_rise_with_distance(
    distances: list[float], policy: SpatialPolicy
) -> None:
    found = peers_at(distances, policy).probabilities()
    assert math.fsum(probability for _, probability in found) == pytest.approx(1)
    assert [distances[peer] for peer, _ in found] == sorted(distances)
    for (near, likely), (far, unlikely) in pairwise(found):
        assert likely >= unlikely - 1e-9
        if distances[near] == distances[far]:
            assert likely == pytest.approx(unlikely)


@given(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=30),
    st.floats(0, 8),
    st.floats(0.001, 1000),
)
def test_the_unit_of_distance_does_not_matter(
    distances: list[float], exponent: float, unit: float
) -> None:
    policy = exactly(Selection.DISTANCE, exponent)
    plain = dict(peers_at(distances, policy).probabilities())
    scaled = dict(peers_at([unit * distance for distance in distances], policy).probabilities())
    assert plain == pytest.approx(scaled)


def test_peers_at_our_place_are_the_nearest_infinitely_far_ones_get_the_uniform_share() -> None:
    found = dict(peers_at([0, 3, math.inf], exactly(Selection.DISTANCE, 2)).probabilities())
    assert found == pytest.approx({0: 0.5, 1: 0.5, 2: 0})
    lost = dict(peers_at([math.inf, math.inf], exactly(Selection.DISTANCE, 2)).probabilities())
    assert lost == pytest.approx({0: 0.5, 1: 0.5})


# -- choosing ------------------------------------------------------------------------------------


@given(DISTANCES, POLICIES, st.integers(0, 45), st.integers())
def test_chosen_peers_are_distinct_and_as_many_as_asked_for(
    distances: list[float], policy: SpatialPolicy, count: int, seed: int
) -> None:
    peers = peers_at(distances, policy)
    chosen = peers.choose(Random(seed), count)
    assert len(chosen) == len(dict.fromkeys(chosen)) == min(count, len(distances))
    assert chosen == peers.choose(Random(seed), count)
    assert 0 <= peers.one(Random(seed)) < len(distances)


@pytest.mark.parametrize("selection", Selection)
def test_one_choice_follows_the_probabilities(selection: Selection) -> None:
    peers = peers_at([1, 1, 2, 3, 5, 8, 8, 20], SpatialPolicy(selection, 1.5, 0.1))
    rng, draws = Random(1), 20_000
    counts = Counter(peers.one(rng) for _ in range(draws))
    assert_agrees(counts, dict(peers.probabilities()), draws)


@pytest.mark.parametrize("tries", [True, False], ids=["drawn", "completed"])
def test_several_choices_are_successive_ones_without_replacement(tries: bool) -> None:
    # The second of two, where the first is nearly certain: found by drawing again, or by completing
    # when that takes too long.
    distances = [1.0, 3.0, 6.0, 6.0] if tries else [1.0, 300.0, 600.0, 600.0]
    peers = peers_at(distances, exactly(Selection.DISTANCE, 2))
    rng, draws = Random(2), 5000
    counts = Counter(frozenset(peers.choose(rng, 2)) for _ in range(draws))
    weight = [distance**-2 for distance in distances]
    total = sum(weight)
    expected = {
        frozenset((a, b)): weight[a] / total * weight[b] / (total - weight[a])
        + weight[b] / total * weight[a] / (total - weight[b])
        for a in range(4)
        for b in range(a)
    }
    for pair, probability in expected.items():
        assert counts[pair] / draws == pytest.approx(
            probability, abs=4 * (probability * (1 - probability) / draws) ** 0.5 + 1e-3
        )


def test_peers_are_prepared_again_only_when_they_have_changed() -> None:
    peers = SpatialPeers(SpatialPolicy(), [("a", 1.0), ("b", 2.0)])
    before = peers._cumulative
    peers.refresh([("a", 1.0), ("b", 2.0)])
    assert peers._cumulative is before
    peers.refresh([("a", 1.0), ("b", 2.0), ("c", 3.0)])
    assert sorted(peers.choose(Random(1), 3)) == ["a", "b", "c"]
    peers.refresh([])
    assert (len(peers), peers.choose(Random(1), 2), peers.probabilities()) == (0, [], [])
    with pytest.raises(IndexError):
        peers.one(Random(1))


@pytest.mark.parametrize("distance", [-1.0, math.nan])
def test_a_distance_that_is_none_is_refused_and_the_peers_stay(distance: float) -> None:
    peers = SpatialPeers(SpatialPolicy(), [("a", 1.0)])
    with pytest.raises(ValueError, match="distance"):
        peers.refresh([("b", distance)])
    assert peers.one(Random(1)) == "a"


@pytest.mark.parametrize(
    ("exponent", "share"), [(-1, 0), (17, 0), (math.nan, 0), (2, -0.1), (2, 1.1), (2, math.nan)]
)
def test_policies_out_of_bounds_are_refused(exponent: float, share: float) -> None:
    with pytest.raises(ConfigError):
        SpatialPolicy(Selection.RANK, exponent, share)


# -- configured locations ------------------------------------------------------------------------


def test_same_zone_is_nearer_than_same_datacenter_and_that_than_another_one() -> None:
    here = Location("dc1", "a")
    near, middle, far = (
        distance_between(here, there)
        for there in (Location("dc1", "a"), Location("dc1", "b"), Location("dc2", "a"))
    )
    assert 0 < near < middle < far


def test_coordinates_decide_where_both_have_them() -> None:
    here = Location("dc1", "a", (0.0, 0.0))
    assert distance_between(here, Location("dc2", "b", (3.0, 4.0))) == 5.0
    assert (
        distance_between(here, Location("dc1", "a"))
        == distance_between(Location("dc1", "a"), here)
        == 1.0
    )
    assert distance_between(here, Location("dc1", "a", (1.0, 2.0, 3.0))) == 1.0


# -- topologies ----------------------------------------------------------------------------------


def shape(name: str, sites: int) -> Topology:
    try:
        return topology(name, sites)
    except ConfigError:
        pytest.skip(f"no {name} has {sites} sites")


def links(name: str, shaped: Topology) -> list[tuple[int, int]]:
    """In the order of `crossings`."""
    n = shaped.sites
    if name == "tree":
        return [(site, (site - 1) // 2) for site in range(1, n)]
    if isinstance(shaped, Grid):
        along = [(site, site + 1) for site in range(n) if (site + 1) % shaped.width]
        across = [
            (site, site + shaped.width)
            for column in range(shaped.width)
            for site in range(column, n - shaped.width, shaped.width)
        ]
        return along + across
    return [(site, (site + 1) % n) for site in range(n - (name == "line"))]


def all_distances(name: str, shaped: Topology, site: int) -> dict[int, int]:
    """Breadth first, over the links."""
    neighbors: dict[int, list[int]] = {at: [] for at in range(shaped.sites)}
    for one, other in links(name, shaped):
        neighbors[one].append(other)
        neighbors[other].append(one)
    found, queue = {site: 0}, deque([site])
    while queue:
        at = queue.popleft()
        for other in neighbors[at]:
            if other not in found:
                found[other] = found[at] + 1
                queue.append(other)
    return found


@pytest.mark.parametrize(("name", "sites"), SHAPES)
def test_offsets_and_q_of_d_agree_with_a_walk_over_the_links(name: str, sites: int) -> None:
    shaped = shape(name, sites)
    for site in range(sites):
        walked = all_distances(name, shaped, site)
        places = [
            (shaped.at(site, offset), distance)
            for offset, distance in shaped.offsets(shaped.kind(site))
        ]
        found = {place: distance for place, distance in places if place is not None}
        assert found == {other: distance for other, distance in walked.items() if other != site}
        assert len(found) == sum(place is not None for place, _ in places)
        for distance in range(shaped.diameter + 2):
            assert shaped.within(site, distance) == sum(
                0 < walk <= distance for walk in walked.values()
            )


@pytest.mark.parametrize(("name", "sites"), SHAPES)
def test_a_conversation_crosses_the_links_of_a_shortest_way(name: str, sites: int) -> None:
    shaped = shape(name, sites)
    ends = links(name, shaped)
    for one in range(sites):
        walked = all_distances(name, shaped, one)
        for other in range(sites):
            crossed = shaped.crossings([(one, other)])
            assert len(crossed) == len(ends)
            # As many links as the distance, and all sites on the way but the two ends are met
            # twice: a path.
            met = Counter(
                end
                for link, count in zip(ends, crossed, strict=True)
                for end in ends_of(link, count)
            )
            assert sum(crossed) == walked[other]
            assert {site for site, times in met.items() if times == 1} == (
                {one, other} if one != other else set()
            )
            assert max(met.values(), default=0) <= 2


def ends_of(link: tuple[int, int], count: int) -> tuple[int, ...]:
    assert count in (0, 1)
    return link * count


def test_conversations_over_a_link_add_up() -> None:
    assert list(Line(5).crossings([(0, 4), (3, 1), (2, 2), (4, 3)])) == [1, 2, 2, 2]
    assert Line(5).middle() == 1


def test_numbers_of_sites_that_cannot_be_arranged_are_refused() -> None:
    for name, sites in (("line", 1), ("ring", 2), ("grid", 997), ("star", 10)):
        with pytest.raises(ConfigError):
            topology(name, sites)


# -- traffic -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize(
    "policy",
    [
        exactly(Selection.DISTANCE, 1.3),
        exactly(Selection.RANK, 1.3),
        SpatialPolicy(Selection.RANK, 2, 0.3),
    ],
)
def test_the_simulated_sites_choose_as_the_shipped_code_would(
    name: str, policy: SpatialPolicy
) -> None:
    shaped = topology(name, 12)
    neighbors, rng, draws = Neighbors(shaped, policy), Random(7), 6000
    for site in (0, 4, 11):
        shipped = SpatialPeers(
            policy,
            [
                (other, float(d))
                for other, d in all_distances(name, shaped, site).items()
                if other != site
            ],
        )
        counts = Counter(neighbors.partner(site, rng) for _ in range(draws))
        assert_agrees(counts, dict(shipped.probabilities()), draws)


def assert_agrees(counts: Counter[int], probabilities: dict[int, float], draws: int) -> None:
    """Chi-square, with the peers as its classes; the bound is about five deviations above its
    mean."""
    assert not counts.keys() - probabilities.keys()
    freedom = len(probabilities) - 1
    chi_square = sum(
        (counts[peer] - draws * p) ** 2 / (draws * p) for peer, p in probabilities.items()
    )
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


def expected_middle_traffic(sites: int, exponent: float) -> float:
    """Conversations over the middle link of a line of an even number of sites, if all choose by
    d^-a: no simulation."""
    mass: list[float] = [
        0.0,
        *accumulate(float(distance**-exponent) for distance in range(1, sites)),
    ]
    half = sites // 2
    crossing = math.fsum(
        (mass[sites - 1 - x] - mass[half - 1 - x]) / (mass[x] + mass[sites - 1 - x])
        for x in range(half)
    )
    return 2 * crossing


@pytest.mark.parametrize("exponent", [0.5, 1, 1.5, 2, 3])
def test_traffic_on_the_middle_link_of_a_line_is_what_the_probabilities_say(
    exponent: float,
) -> None:
    sites, cycles = 400, 100
    traffic = link_traffic(
        Line(sites),
        Neighbors(Line(sites), exactly(Selection.DISTANCE, exponent)),
        cycles,
        Random(3),
    )
    expected = expected_middle_traffic(sites, exponent)
    assert traffic.middle == pytest.approx(expected, abs=4 * (expected / cycles) ** 0.5)
    assert traffic.max == max(traffic.links)
    assert traffic.mean == pytest.approx(sum(traffic.links) / (sites - 1))


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 1.5, 2, 3])
def test_traffic_grows_with_the_sites_as_the_five_cases_of_the_paper_say(exponent: float) -> None:
    """O(n) for a < 1, n/log n for a = 1, n^(2-a) for 1 < a < 2, log n for a = 2, O(1) for a > 2."""
    ratios = [
        expected_middle_traffic(sites, exponent) / growth_law(exponent, sites)
        for sites in (100, 1000, 10_000)
    ]
    # From 100 to 10,000 sites the laws themselves grow by 100, 50, 10, 2 and 1: what is left over
    # is small, and dies out.
    assert ratios[2] == pytest.approx(ratios[1], rel=0.06)
    assert abs(ratios[2] / ratios[1] - 1) <= abs(ratios[1] / ratios[0] - 1) + 0.01


@pytest.mark.parametrize("exponent", [0.5, 1, 1.5, 2, 3])
def test_by_rank_traffic_on_a_line_grows_by_the_same_laws_without_knowing_that_it_is_a_line(
    exponent: float,
) -> None:
    def middle(sites: int, cycles: int) -> float:
        found = link_traffic(
            Line(sites),
            Neighbors(Line(sites), exactly(Selection.RANK, exponent)),
            cycles,
            Random(5),
        )
        assert found.middle is not None
        return found.middle / growth_law(exponent, sites)

    assert middle(2000, 8) == pytest.approx(middle(200, 80), rel=0.25)


def test_uniform_choices_bring_the_traffic_back_that_distance_saved() -> None:
    line = Line(1000)
    saved, mixed = (
        link_traffic(
            line, Neighbors(line, SpatialPolicy(Selection.DISTANCE, 2, share)), 20, Random(1)
        ).mean
        for share in (0.0, 0.1)
    )
    # A tenth of the uniform traffic, which is n/3 on average.
    assert mixed - saved == pytest.approx(0.1 * 1000 / 3, rel=0.2)


def test_on_a_line_an_update_takes_longer_the_more_local_the_choices_are() -> None:
    line = Line(500)
    policies = (
        exactly(Selection.UNIFORM, 0),
        exactly(Selection.DISTANCE, 2),
        exactly(Selection.DISTANCE, 3),
    )
    taken = [
        sum(cycles_until_all_know(line, Neighbors(line, policy), Random(run)) for run in range(4))
        / 4
        for policy in policies
    ]
    assert taken[0] < taken[1] < taken[2]
    # Polylogarithmic up to a = 2, polynomial beyond (section 3).
    assert taken[1] < math.log2(500) ** 2 < taken[2]


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("selection", Selection)
def test_every_topology_and_selection_reaches_all_sites(name: str, selection: Selection) -> None:
    shaped = topology(name, 100)
    neighbors = Neighbors(shaped, exactly(selection, 2))
    assert 3 < cycles_until_all_know(shaped, neighbors, Random(1)) < 200
    traffic = link_traffic(shaped, neighbors, 5, Random(1))
    assert 0 < traffic.mean <= traffic.max
    assert (traffic.middle is not None) == (name == "line")


@settings(deadline=None)
@given(st.sampled_from(["line", "ring", "tree"]), POLICIES, st.integers(3, 40), st.integers())
def test_a_site_never_chooses_itself_or_nobody(
    name: str, policy: SpatialPolicy, sites: int, seed: int
) -> None:
    neighbors, rng = Neighbors(topology(name, sites), policy), Random(seed)
    for site in range(sites):
        partner = neighbors.partner(site, rng)
        assert partner != site
        assert 0 <= partner < sites


# -- the command ---------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    result = CliRunner().invoke(sim_app, ["spatial", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_sim_spatial_prints_the_traffic_of_links_and_the_cycles_until_all_know() -> None:
    found = json.loads(
        run("--topology", "line", "--sites", "60", "--a", "2", "--runs", "2", "--json")
    )
    assert found["traffic_per_link_mean"] <= found["traffic_per_link_max"]
    assert found["cycles_until_all_know"] > 1
    assert found["traffic_middle_link"] > 0
    assert (found["topology"], found["selection"], found["sites"], found["a"]) == (
        "line",
        "distance",
        60,
        2,
    )


def test_sim_spatial_takes_several_sizes_and_exponents() -> None:
    found = json.loads(
        run(
            "--topology",
            "grid",
            "--sites",
            "36,64",
            "--a",
            "1,2",
            "--selection",
            "rank",
            "--runs",
            "2",
            "--json",
        )
    )
    assert [(row["a"], row["sites"]) for row in found] == [(1, 36), (1, 64), (2, 36), (2, 64)]
    table = run("--topology", "tree", "--sites", "30,60", "--traffic-only", "--runs", "2")
    assert "cycles_until_all_know" not in table
    assert "traffic_per_link_max" in table
