"""What is usual on the ways to others, by the probes that there are: losses and round trips."""

from __future__ import annotations

import math
from random import Random

import pytest

from kvgossip.config import Config
from kvgossip.protocol.membership.link_watch import HEARD_MAX, ROW_BYTES, LinkWatch
from kvgossip.protocol.membership.round_trip import RoundTrips
from kvgossip.trends.loss import PACKETS, Way
from tests.protocol.net import Network, member

EVERY_S = 2.0


def round_trip(rng: Random, mean_s: float = 0.01) -> float:
    """With the tail that a busy machine gives it."""
    return mean_s * (1 + 0.03 * rng.expovariate(1)) + (0.05 if rng.random() < 0.01 else 0)


def known(rng: Random, probes: int = 400, mean_s: float = 0.01) -> LinkWatch:
    watch = LinkWatch()
    for _ in range(probes):
        watch.heard("b")
        watch.concluded("b", round_trip(rng, mean_s), EVERY_S)
    return watch


def test_a_link_takes_64_bytes_whatever_happens_on_it() -> None:
    assert ROW_BYTES == 64
    watch = known(Random(1))
    for name in ("c", "d"):
        watch.concluded(name, None, 0.0)
    assert {len(row) for row in watch.kept().values()} == {64}
    watch.forget("c")
    watch.concluded("e", 0.01, 0.0)
    assert len(watch) == 3
    assert len(watch._rows) == 3 * 64


@pytest.mark.parametrize("mean_s", [0.0003, 0.01, 0.2])
def test_a_round_trip_of_three_times_as_long_is_found_within_a_minute(mean_s: float) -> None:
    late = 0
    for seed in range(20):
        rng = Random(seed)
        watch = known(rng, mean_s=mean_s)
        bound = watch.link("b").probes_until
        assert bound * EVERY_S <= 60
        probes = 0
        while not watch.changed() and probes < 100:
            watch.heard("b")
            watch.concluded("b", round_trip(rng, 3 * mean_s), EVERY_S)
            probes += 1
        late += probes > bound
    assert late <= 1


@pytest.mark.parametrize(("lost_there", "way"), [(True, Way.THERE), (False, Way.BACK)])
def test_five_percent_one_way_are_found_and_the_way_is_known_once_it_can_be(
    lost_there: bool, way: Way
) -> None:
    # tests/trends/test_loss.py counts how many are found within PACKETS: 97 of 100
    late, wrong, runs = 0, 0, 40
    for seed in range(runs):
        rng = Random(seed)
        watch, probes = known(rng), 0
        while not watch.changed() and probes < 1000:
            _one_way(watch, rng, 0.05, lost_there)
            probes += 1
        late += probes > PACKETS
        for _ in range(200):
            _one_way(watch, rng, 0.05, lost_there)
        changed = watch.changed()
        wrong += bool(changed) and changed[0].way not in (way, Way.UNKNOWN)
    assert late <= runs * 0.1
    assert wrong <= runs * 0.1


def _one_way(watch: LinkWatch, rng: Random, loss: float, lost_there: bool) -> None:
    """A ping of the peer, and a probe of ours."""
    if lost_there or rng.random() >= loss:
        watch.heard("b")
    watch.concluded("b", None if rng.random() < loss else round_trip(rng), EVERY_S)


def test_a_quiet_link_is_no_finding_and_pings_are_counted_up_to_a_bound() -> None:
    rng = Random(2)
    watch = known(rng, 20_000)
    for _ in range(HEARD_MAX + 10):
        watch.heard("b")
    watch.heard("stranger")
    assert not watch.changed()
    assert watch.link("b").usual_ms == pytest.approx(10.2, abs=0.2)


def test_what_is_kept_goes_on_and_what_makes_no_sense_is_met_anew() -> None:
    watch, later = known(Random(3)), LinkWatch()
    kept = watch.kept()
    later.take({**kept, "short": b"x", "odd": b"\xff" * ROW_BYTES})
    assert later.kept()["b"] == kept["b"]
    assert math.isfinite(later.link("odd").usual_ms)
    assert "short" not in later.kept()
    later.concluded("b", 0.01, EVERY_S)
    later.take(kept)
    assert later.kept()["b"] != kept["b"]


def test_a_member_that_has_moved_is_met_anew_and_phi_grows_with_its_silence() -> None:
    trips = RoundTrips(Config(name="me", probe_interval_s=1.0))
    assert trips.phi("b", 0.0, 3) is None
    for at in range(10):
        trips.answered(member("b", 1), 3.0 * at, 0.01)
    silent = [trips.phi("b", 27.0 + seconds, 3) or 0.0 for seconds in (1, 3, 6, 30)]
    assert silent == sorted(silent)
    assert silent[0] < 0.5 < 8 < silent[-1]
    trips.answered(member("b", 2), 30.0, 0.01)
    assert trips.links.link("b").every_s == 0.0
    trips.forget("b")
    assert len(trips.links) == 0


def test_probes_of_replicas_find_one_way_loss_and_say_which_way() -> None:
    net, rng = Network(), Random(5)
    net.cluster("a b")
    net.run(320.0)
    links = {name: net.replicas[name].pools.lan.membership.round_trips.links for name in "ab"}
    assert not any(each.changed() for each in links.values())
    interval_s = net.replicas["a"].config.probe_interval_s
    assert links["a"].link("b").every_s == pytest.approx(interval_s, rel=0.2)
    net.passes = lambda frm, to, reliable: reliable or frm != "a" or rng.random() >= 0.3
    net.run(PACKETS * interval_s / 2)
    assert [link.name for link in links["a"].changed()] == ["b"]
    assert links["a"].changed()[0].way is Way.THERE
    assert links["b"].changed()[0].way is not Way.THERE


def test_probes_of_replicas_find_a_way_that_has_become_slow() -> None:
    net = Network(delay_s=0.002)
    net.cluster("a b")
    net.run(320.0)
    net.delay_s = 0.006
    net.run(60.0)
    (link,) = net.replicas["a"].pools.lan.membership.round_trips.links.changed()
    assert link.slower_s is not None
    assert link.usual_ms == pytest.approx(4.0, rel=0.1)
