"""The hybrid logical clock: more than all before, near the wall clock, and never taken along by
somebody's bad clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.errors import RemoteError
from kvgossip.protocol.model.hlc import (
    COUNTER_MAX,
    HybridLogicalClock,
    index_of,
    milliseconds_of,
    timestamp_of,
)

INPUTS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2**20), st.integers(0, 2**36)), max_size=40
)


@given(INPUTS)
def test_a_tick_is_greater_than_everything_ticked_or_observed_before(
    inputs: list[tuple[bool, int, int]],
) -> None:
    clock, seen = HybridLogicalClock(1000), -1
    for hears, wall_ms, heard in inputs:
        if hears:
            try:
                clock.observe(heard, wall_ms)
            except RemoteError:
                continue
            seen = max(seen, heard)
        else:
            ticked = clock.tick(wall_ms)
            assert ticked > seen
            seen = ticked


@given(INPUTS)
def test_the_clock_never_goes_back(inputs: list[tuple[bool, int, int]]) -> None:
    clock = HybridLogicalClock(1000)
    for hears, wall_ms, heard in inputs:
        before = clock.latest
        try:
            clock.observe(heard, wall_ms) if hears else clock.tick(wall_ms)
        except RemoteError:
            assert clock.latest == before
        assert clock.latest >= before


def test_a_tick_takes_the_wall_clock_when_that_is_ahead() -> None:
    clock = HybridLogicalClock(1000)
    assert clock.tick(5) == timestamp_of(5) == 5 << 16
    assert clock.tick(9) == timestamp_of(9)


def test_a_tick_counts_within_one_millisecond_and_when_the_wall_clock_goes_back() -> None:
    clock = HybridLogicalClock(1000)
    assert [clock.tick(5), clock.tick(5), clock.tick(3)] == [5 << 16, (5 << 16) + 1, (5 << 16) + 2]


def test_a_full_counter_overflows_into_the_milliseconds() -> None:
    clock = HybridLogicalClock(1000)
    clock.observe((5 << 16) + 0xFFFF, 5)
    assert clock.tick(5) == 6 << 16


@given(st.lists(st.integers(2**40, 2**40 + 3), min_size=1, max_size=9))
def test_the_indices_of_ticks_rise_as_the_ticks_do_and_javascript_holds_them(
    walls_ms: list[int],
) -> None:
    clock, indices = HybridLogicalClock(1000), []
    for wall_ms in walls_ms:
        indices += [index_of(clock.tick(wall_ms)) for _ in range(700)]
    assert indices == sorted(set(indices))
    assert all(float(index) < 2**53 and int(float(index)) == index for index in indices)


def test_a_tick_after_the_last_of_its_millisecond_is_the_first_of_the_next() -> None:
    clock = HybridLogicalClock(1000)
    clock.observe(timestamp_of(5) + COUNTER_MAX - 1, 5)
    assert [clock.tick(5), clock.tick(5)] == [timestamp_of(5) + COUNTER_MAX, timestamp_of(6)]


def test_timestamps_that_are_no_ticks_have_indices_in_the_same_order() -> None:
    foreign = [timestamp_of(5) + counter for counter in (0, COUNTER_MAX, COUNTER_MAX + 1, 0xFFFF)]
    indices = [index_of(timestamp) for timestamp in (*foreign, timestamp_of(6))]
    assert indices == sorted(indices)
    assert indices[-1] > indices[-2]
    assert index_of(2**42 - 1 << 16) < 2**53


def test_a_wall_clock_before_1970_ticks_as_well() -> None:
    clock = HybridLogicalClock(1000)
    assert [clock.tick(-7), clock.tick(-7)] == [1, 2]
    assert timestamp_of(-7) == 0


def test_an_observed_timestamp_is_taken_over() -> None:
    clock = HybridLogicalClock(1000)
    clock.observe(timestamp_of(700) + 3, 5)
    assert clock.latest == timestamp_of(700) + 3
    assert milliseconds_of(clock.tick(5)) == 700


def test_an_old_timestamp_changes_nothing() -> None:
    clock = HybridLogicalClock(1000)
    clock.tick(50)
    clock.observe(timestamp_of(49), 50)
    assert clock.latest == timestamp_of(50)


@pytest.mark.parametrize(
    ("heard_ms", "accepted"), [(1999, True), (2000, True), (2001, False), (2**40, False)]
)
def test_a_timestamp_is_refused_when_it_lies_further_ahead_than_the_drift_allows(
    heard_ms: int, accepted: bool
) -> None:
    clock = HybridLogicalClock(1000)
    if accepted:
        clock.observe(timestamp_of(heard_ms), 1000)
    else:
        with pytest.raises(RemoteError) as caught:
            clock.observe(timestamp_of(heard_ms), 1000)
        assert caught.value.reason == "clock_ahead"
        assert str(caught.value) == f"a version is {heard_ms - 1000} ms ahead of this node's clock"
    assert clock.latest == (timestamp_of(heard_ms) if accepted else 0)
