"""Forecasts: slopes, and the way of a number to its limit."""

from __future__ import annotations

import math
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvgossip.trends.baseline import DAY_S
from kvgossip.trends.course import POINTS_MAX, Course
from kvgossip.trends.phi import phi, surprise
from kvgossip.trends.slope import POINTS_MIN, theil_sen
from tests.trends.noise import noises

SIZE = 100e9


def filling(rng: Random, whole_s: float) -> tuple[Course, float, float]:
    """A disk that fills in that time, with compactions, seen for the first third: its course, and
    when it was full, and was seen last."""
    used = rng.uniform(0, 0.3) * SIZE
    pace = (SIZE - used) / whole_s
    tooth_s, height = rng.uniform(20, whole_s / 12), rng.uniform(0.2, 2.0)

    def used_at(at_s: float) -> float:
        return used + pace * (at_s + height * (at_s % tooth_s)) + rng.gauss(0, 5 * pace)

    course, at_s = Course(), 0.0
    while at_s < whole_s / 3:
        course.add(at_s, used_at(at_s))
        at_s += 10
    full_s = at_s
    while used_at(full_s) < SIZE:
        full_s += 10
    return course, full_s, at_s


@pytest.mark.parametrize("whole_s", [5400, 21_600])
def test_a_third_of_the_way_the_forecast_of_a_filling_disk_is_right_within_a_fifth(
    whole_s: float,
) -> None:
    for seed in range(10):
        course, full_s, now_s = filling(Random(seed), whole_s)
        forecast = course.reaches(SIZE)
        assert forecast is not None
        assert forecast.in_s == pytest.approx(full_s - now_s, rel=0.2)
        assert forecast.earliest_s <= forecast.in_s <= forecast.latest_s


@pytest.mark.parametrize("noise", list(noises(Random(0))))
def test_what_stays_has_no_forecast(noise: str) -> None:
    rng = Random(7)
    draw, course, said = noises(rng)[noise], Course(), 0
    for at in range(3000):
        course.add(10.0 * at, 50 + draw())
        said += at % 100 == 0 and course.reaches(1000.0) is not None
    assert said <= (1 if noise == "hangs together" else 0)


def test_what_has_grown_and_grows_no_longer_has_none() -> None:
    course = Course()
    for at in range(400):
        course.add(10.0 * at, min(10.0 * at, 1200.0))
    assert course.reaches(4000.0) is None


def test_a_line_reaches_no_further_than_four_times_what_was_seen() -> None:
    course = Course()
    for at in range(100):
        course.add(10.0 * at, float(at))
    assert course.reaches(1000.0) is None
    assert course.reaches(300.0) is not None
    assert course.reaches(1000.0, factor=20) is not None


def test_a_course_keeps_64_points_of_up_to_a_day() -> None:
    course = Course()
    for at in range(0, int(3 * DAY_S), 30):
        course.add(at, float(at))
    assert DAY_S / 2 <= course.span_s <= 2 * DAY_S
    slope = course.slope()
    assert slope is not None
    assert slope.slope == pytest.approx(1.0, rel=0.01)


@given(st.lists(st.tuples(st.floats(0, 1e7), st.floats(-1e12, 1e12)), max_size=80))
def test_no_order_of_points_breaks_a_course(points: list[tuple[float, float]]) -> None:
    course = Course()
    for at_s, number in points:
        course.add(at_s, number)
        assert course.span_s / POINTS_MAX >= 0
        forecast = course.reaches(1e13)
        assert forecast is None or forecast.in_s >= 0


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=POINTS_MIN, max_size=40),
    st.floats(-100, 100),
    st.integers(0, 2**16),
)
def test_the_slope_follows_a_line_whatever_less_than_a_quarter_of_the_points_is(
    wrong: list[float], slope: float, seed: int
) -> None:
    count = len(wrong)
    values = [slope * at for at in range(count)]
    for at in Random(seed).sample(range(count), count // 5):
        values[at] = wrong[at]
    found = theil_sen(list(range(count)), values)
    assert found is not None
    assert found.low <= found.slope <= found.high
    assert found.low - 1e-6 <= slope <= found.high + 1e-6


def test_numpy_and_plain_python_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    rng = Random(8)
    times = [at + rng.random() for at in range(60)]
    values = [3 * at + rng.gauss(0, 5) for at in times]
    found = theil_sen(times, values)
    monkeypatch.delitem(sys.modules, "numpy")
    assert theil_sen(times, values) == found


def test_phi_grows_with_the_silence_and_not_without_end() -> None:
    values = [phi(silent_s, 10.0) for silent_s in (0, 10, 20, 40, 80, 1e6)]
    assert values == sorted(values)
    assert values[0] < 0.01
    assert values[1] == pytest.approx(-math.log10(0.5))
    # two rounds are what a round robin may take
    assert 2 < values[2] < 3
    assert values[3] > 8
    assert values[-1] == 100


def test_the_tail_of_surprise_continues_its_body() -> None:
    assert surprise(4.9999) == pytest.approx(surprise(5.0001), rel=1e-3)
