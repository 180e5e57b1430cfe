"""Grey failures of a node and forecasts: each planted one is found within its bound, and a day of
heavy-tailed noise has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from kvgossip.protocol.doctor.own_trends import STEP_S, WAITING_MIN, OwnTrends, Sample
from kvgossip.protocol.doctor.trend import clock, of_links, span
from kvgossip.protocol.membership.link_watch import Link
from kvgossip.trends.loss import Way

NOW_MS = 1_767_225_600_000
CLOCK_MAX_S = 5.0
DAY_S = 86_400.0
RUNS = 10
Change = Callable[[Sample, float], Sample]
"""What a fault makes of a sample, so many seconds after it began."""


def calm(rng: Random, at_s: float) -> Sample:
    """A node under some load, among hiccups."""
    hiccup = 0.2 if rng.random() < 0.005 else 0.0
    return Sample(
        at_s,
        NOW_MS + round(1000 * at_s),
        calm=True,
        loop_s=0.0003 + 0.0005 * rng.expovariate(1) + hiccup,
        commit_s=0.004 * rng.lognormvariate(0, 0.3) + hiccup,
        arrived=200,
        repaired=sum(rng.random() < 0.01 for _ in range(20)),
        memory_bytes=150e6 + 5e6 * rng.random(),
        memory_max=4e9,
        data_bytes=20_000_000,
        entries=100_000,
        waiting=rng.randrange(50),
        disk_free=round(50e9 - 100e6 * ((at_s / 300) % 1) + 1e6 * rng.random()),
        clock_ahead_s=rng.gauss(0, 0.0005),
        clock_max_s=CLOCK_MAX_S,
    )


FAULTS: dict[str, tuple[str, float, Change]] = {
    "a slow disk": ("commit_slow", 60, lambda now, s: now._replace(commit_s=0.08)),
    "a disk that hangs now and then": (
        "commit_slow",
        60,
        lambda now, s: now._replace(commit_s=(now.commit_s or 0) + (0.5 if s % 15 else 0.1)),
    ),
    "a busy processor": ("loop_slow", 60, lambda now, s: now._replace(loop_s=0.05)),
    "a process that is frozen for moments": (
        "loop_slow",
        60,
        lambda now, s: now._replace(loop_s=0.3),
    ),
    "an MTU hole": ("residue_high", 60, lambda now, s: now._replace(repaired=180)),
    "rumors that do not come": ("residue_high", 60, lambda now, s: now._replace(repaired=200)),
    "100 ppm of drift": (
        "clock_drifts",
        600,
        lambda now, s: now._replace(clock_ahead_s=(now.clock_ahead_s or 0) + 1e-4 * s),
    ),
    "100 ppm of drift, behind": (
        "clock_drifts",
        600,
        lambda now, s: now._replace(clock_ahead_s=(now.clock_ahead_s or 0) - 1e-4 * s),
    ),
    "a leaking follower": (
        "memory_grows",
        600,
        lambda now, s: now._replace(memory_bytes=(now.memory_bytes or 0) + 50_000 * s),
    ),
    "a member that keeps tombstones back": (
        "tombstones_grow",
        60,
        lambda now, s: now._replace(waiting=60_000, waits_for={"db-7": None}),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_grey_faults_are_found_within_their_bound_95_of_100(fault: str) -> None:
    code, bound_s, change = FAULTS[fault]
    late = 0
    for seed in range(RUNS):
        rng, trends, at_s = Random(seed), OwnTrends(), 0.0
        while at_s < 1200:
            trends.look(calm(rng, at_s))
            at_s += STEP_S
        assert trends.found() == []
        passed_s = 0.0
        while passed_s < bound_s and code not in {trend.code for trend in trends.found()}:
            passed_s += STEP_S
            trends.look(change(calm(rng, at_s + passed_s), passed_s))
        found = {trend.code: trend for trend in trends.found()}
        late += code not in found
    assert late <= RUNS * 0.05
    if bound_s == 60:
        assert abs((found[code].since_ms or 0) - NOW_MS - 1000 * at_s) <= 60_000


def test_a_day_of_noise_has_no_finding() -> None:
    rng, trends, found = Random(1), OwnTrends(), set()
    for at in range(int(DAY_S / 60)):
        trends.look(calm(rng, 60.0 * at))
        if at % 60 == 0:
            found |= {trend.code for trend in trends.found()}
    assert found == set()


def test_a_start_is_not_judged() -> None:
    trends = OwnTrends()
    for at in range(400):
        trends.look(calm(Random(at), 5.0 * at))
    kept = trends.kept()
    later = OwnTrends()
    later.take({**kept, "unknown": b"x", "loop": kept["loop"]})
    for at in range(60):
        later.look(calm(Random(at), 5.0 * at)._replace(calm=False, repaired=200, loop_s=1.0))
    assert later.found() == []
    for at in range(60, 80):
        later.look(calm(Random(at), 5.0 * at)._replace(loop_s=1.0))
    assert [trend.code for trend in later.found()] == ["loop_slow"]


def filled(trends: OwnTrends, seconds: float, step_s: float = 30.0) -> None:
    """A disk that is full after 36 hours, with compactions."""
    at_s = 0.0
    while at_s < seconds:
        used = 50e9 * at_s / (36 * 3600) + 1e9 * ((at_s / 1800) % 1)
        trends.look(Sample(at_s, NOW_MS, calm=False, disk_free=round(50e9 - used)))
        at_s += step_s


def test_a_filling_disk_is_said_days_before_and_a_third_of_the_way_within_a_fifth() -> None:
    trends = OwnTrends()
    filled(trends, 12 * 3600)
    (trend,) = trends.found()
    assert trend.code == "disk_fills"
    assert trend.in_s == pytest.approx(24 * 3600, rel=0.2)
    assert "its disk is full in 2" in trend.text


def test_tombstones_say_for_whom_they_wait_and_until_when() -> None:
    trends = OwnTrends()
    forgotten_ms = NOW_MS + 5 * 86_400_000
    for at in range(200):
        sample = Sample(5.0 * at, NOW_MS, calm=False, waiting=WAITING_MIN)
        trends.look(sample._replace(waits_for={"db-7": forgotten_ms}))
    (trend,) = trends.found()
    assert trend.code == "tombstones_wait"
    assert "when db-7 is back, or on Tuesday 2026-01-06" in trend.text
    trends.look(sample._replace(waits_for={"db-7": None, "db-8": forgotten_ms}))
    assert "when db-7, db-8 has exchanged" in trends.found()[0].text
    trends.look(sample._replace(waiting=3))
    assert trends.found() == []


def test_a_crowd_of_expiries_and_memory_at_its_limit_are_said() -> None:
    trends = OwnTrends()
    for at in range(400):
        sample = Sample(5.0 * at, NOW_MS, calm=False, memory_bytes=1e6 * at, memory_max=1e9)
        trends.look(sample._replace(crowd=(NOW_MS + 3_600_000, 50_000)))
    found = {trend.code: trend for trend in trends.found()}
    assert set(found) == {"memory_fills", "expiry_crowd"}
    assert found["memory_fills"].in_s == pytest.approx(3000, rel=0.05)
    assert found["expiry_crowd"].in_s == 3600


def test_links_that_have_changed_alike_are_one_finding() -> None:
    link = Link("b", 0.4, 30.0, None, 0.0, 0.0, Way.UNKNOWN, 9, 2.0)
    losing = Link("d", 0.4, None, 60.0, 0.06, 0.001, Way.BACK, math.inf, 2.0)
    slow, lossy = of_links([link, link._replace(name="c"), losing], NOW_MS)
    assert (slow.code, slow.peers, slow.bound_s) == ("link_slow", ("b", "c"), 18.0)
    assert slow.since_ms == NOW_MS - 30_000
    assert (
        "the round trip to b, c is longer than usual (0.4 ms, 0.4 ms) since 23:59 UTC" in slow.text
    )
    assert (lossy.code, lossy.peers) == ("link_loss", ("d",))
    assert "6% of the packets from d are lost, usually 0.1%" in lossy.text


def test_times_are_said_as_an_operator_says_them() -> None:
    assert [span(seconds) for seconds in (5, 3600, 9 * 3600, 2.5 * DAY_S)] == [
        "1 min",
        "60 min",
        "9 h",
        "2.5 days",
    ]
    assert clock(NOW_MS, 2 * DAY_S) == "2025-12-30 00:00 UTC"
