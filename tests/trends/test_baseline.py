"""What is usual, and what is not: baselines."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.trends.baseline import (
    ALLOWANCE,
    DAY_S,
    NUMBERS_MIN,
    SCORE_MAX,
    STATE_BYTES,
    TILT,
    WARM_S,
    Baseline,
)
from tests.trends.noise import noises

NAMES = tuple(noises(Random(0)))
DETECTABLE = ("normal", "tails", "hiccups", "hangs together", "still")


def baseline_of(
    numbers: int, noise: str, seed: int, step_s: float = 2.0
) -> tuple[Baseline, Random]:
    rng = Random(seed)
    baseline, draw = Baseline(1e-3), noises(rng)[noise]
    for _ in range(numbers):
        baseline.add(5 + draw(), step_s)
    return baseline, rng


def test_the_limit_keeps_the_budget_of_false_findings_whatever_the_noise_is() -> None:
    # Bennett: E exp(T (score - ALLOWANCE)) <= 1 for variance 1 and this bound
    grown = math.exp(TILT * SCORE_MAX) - 1 - TILT * SCORE_MAX
    assert grown <= TILT * ALLOWANCE * SCORE_MAX**2


@pytest.mark.parametrize("noise", NAMES)
def test_stationary_noise_is_no_finding(noise: str) -> None:
    baseline, _ = baseline_of(300, noise, 1)
    draw = noises(Random(2))[noise]
    found = 0
    for _ in range(20_000):
        baseline.add(5 + draw(), 2.0)
        found += baseline.state != 0
    assert not found


@pytest.mark.parametrize("noise", DETECTABLE)
@pytest.mark.parametrize("change", [10, 15, 30])
def test_19_of_20_changes_are_found_within_the_bound_that_is_printed(
    noise: str, change: int
) -> None:
    late = 0
    for seed in range(20):
        baseline, rng = baseline_of(1000, noise, seed)
        draw = noises(rng)[noise]
        bound = baseline.numbers_until(change * baseline.deviation)
        usual, deviation, numbers = baseline.middle, baseline.deviation, 0
        while not baseline.has_risen and numbers < 100:
            baseline.add(usual + change * deviation + draw(), 2.0)
            numbers += 1
        late += numbers > bound
    assert late <= 1


def test_a_change_back_ends_it_and_the_baseline_has_stayed() -> None:
    baseline, rng = baseline_of(1000, "normal", 3)
    usual = baseline.middle
    for _ in range(200):
        baseline.add(50 + rng.gauss(0, 1), 2.0)
    assert baseline.has_risen
    assert baseline.since_s == pytest.approx(400, abs=4)
    for _ in range(40):
        baseline.add(5 + rng.gauss(0, 1), 2.0)
    assert baseline.state == 0
    assert baseline.middle == pytest.approx(usual, abs=0.2)


def test_a_fall_is_found_too() -> None:
    baseline, _ = baseline_of(1000, "normal", 4)
    for _ in range(20):
        baseline.add(-50, 2.0)
    assert baseline.has_fallen


def test_what_lasts_for_a_day_is_what_is_usual() -> None:
    baseline, rng = baseline_of(1000, "normal", 5, 60.0)
    for _ in range(int(DAY_S / 60) + 100):
        baseline.add(50 + rng.gauss(0, 1), 60.0)
    assert baseline.state == 0
    assert baseline.middle == pytest.approx(50, abs=1)


def test_nothing_is_judged_before_five_minutes_and_thirty_numbers() -> None:
    baseline = Baseline(1e-3)
    baseline.add(1.0, 0.0)
    for _ in range(20):
        baseline.add(1.0, WARM_S)
    assert not baseline.is_judged
    for _ in range(NUMBERS_MIN):
        baseline.add(1.0, 1.0)
    assert baseline.is_judged


@pytest.mark.parametrize("noise", ["normal", "tails", "hiccups"])
def test_the_median_and_the_spread_come_close_to_those_of_all_numbers(noise: str) -> None:
    baseline, rng = baseline_of(3000, noise, 6)
    draw = noises(rng)[noise]
    numbers = sorted(5 + draw() for _ in range(3000))
    middle = numbers[1500]
    spread = sorted(abs(number - middle) for number in numbers)[1500]
    assert baseline.middle == pytest.approx(middle, abs=0.2)
    assert baseline.spread == pytest.approx(spread, rel=0.2)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.floats(width=32), max_size=80),
    elapsed_s=st.floats(-10, 1e6),
    place=st.integers(0, 80),
)
def test_no_number_breaks_it_and_what_is_kept_goes_on(
    numbers: list[float], elapsed_s: float, place: int
) -> None:
    baseline = Baseline(0.05)
    for at, number in enumerate(numbers):
        if at == place:
            kept = baseline.packed()
            assert len(kept) == STATE_BYTES
            baseline = Baseline(0.05)
            baseline.unpack(kept)
        baseline.add(number, elapsed_s)
        assert math.isfinite(baseline.middle)
        assert math.isfinite(baseline.variance)
        assert baseline.spread > 0
        assert min(baseline.rise, baseline.fall) >= 0


@given(st.binary(max_size=64))
def test_kept_bytes_that_make_no_sense_begin_anew(data: bytes) -> None:
    baseline = Baseline(0.05)
    baseline.unpack(data)
    baseline.add(1.0, 1.0)
    assert math.isfinite(baseline.middle)
