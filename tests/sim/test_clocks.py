"""Clocks that go wrong for a while: no value is lost by it, none is hidden for ever, and what is
wrong with a clock is found."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.tombstones.expiry import Expiry
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.sim.faults import GLITCH_MS_MAX, GLITCH_MS_MIN, Glitch, Intensity
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options
from kvgossip.sim.schedule import schedule
from kvgossip.sim.simulation import simulate
from kvgossip.sim.workload import Mix

LEASES = Mix(writes=150, hot_keys=5, hot_share=0.8, delete_share=0.2, ttl_share=0.5, ttl_s_max=40.0)


def glitched(seed: int, nodes: int = 3) -> Report:
    rng = Random(f"{seed} glitched")
    intensity = Intensity(
        glitch_rate=0.05,
        loss=rng.choice((0.0, 0.1)),
        crash_rate=rng.choice((0.0, 0.02)),
        partition_rate=rng.choice((0.0, 0.05)),
        clock_skew_ms=rng.choice((0.0, 2000.0)),
    )
    options = Options(
        nodes=(nodes, nodes),
        intensity=intensity,
        duration_s=30.0,
        mix=LEASES,
        durable=rng.random() < 0.5,
        wait_share=0.2,
    )
    return simulate(seed, options)


@pytest.mark.parametrize("seed", range(6))
def test_no_lease_and_no_write_is_lost_by_clocks_that_are_off_for_a_while(seed: int) -> None:
    report = glitched(seed, nodes=2 + seed % 3)
    assert report.passed, report.violation
    assert report.faults["glitch"] > 0


def test_glitches_follow_from_their_seed_and_end() -> None:
    faults = schedule(Intensity(glitch_rate=0.1), 5, 60.0, Random(1))
    glitches = [fault for _, fault in faults if isinstance(fault, Glitch)]
    begun = [fault for fault in glitches if fault.by_ms]
    assert len(glitches) == 2 * len(begun) > 0
    assert {len(fault.nodes) for fault in begun} == {1, 5}
    assert all(GLITCH_MS_MIN <= abs(fault.by_ms) <= GLITCH_MS_MAX for fault in begun)


# -- every check can fail ------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def _entries_expire_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClockGuard, "expiry_ms", lambda clocks, now: now.wall_ms + 5_000)


def _what_has_expired_stays_hidden(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Expiry, "_doubt", lambda expiry, clock_ms, now: None)
    patch.setattr(ClockGuard, "expiry_ms", lambda clocks, now: now.wall_ms)


def _others_are_told_to_drop_what_has_expired_by_a_wrong_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tombstones, "expired_ms", lambda tombstones, now: 0)


def _what_others_refuse_is_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClockGuard, "_writes_the_future", lambda clocks, now: False)


@pytest.mark.parametrize(
    ("plant", "first", "text"),
    [
        (_entries_expire_early, 0, "an entry expired before its time by the own clock"),
        (_what_has_expired_stays_hidden, 0, "a live value is hidden"),
        (
            _others_are_told_to_drop_what_has_expired_by_a_wrong_clock,
            0,
            "a live value was taken out for its expiry",
        ),
        (
            _what_others_refuse_is_written,
            133,
            "a write was taken that lies in the future of all others",
        ),
    ],
)
def test_a_planted_mistake_with_clocks_is_caught(
    plant: Plant, first: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    reports = (glitched(seed) for seed in range(first, first + SEEDS_MAX))
    violation = next((report.violation for report in reports if report.violation), None)
    assert violation is not None, "no seed has found it"
    assert text in violation.text


SEEDS_MAX = 40
