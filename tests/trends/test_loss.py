"""Losses of a link: found within 200 packets, and by chance hardly ever."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.trends.baseline import DAY_S
from kvgossip.trends.loss import PACKETS, STATE_BYTES, Loss, Way


def link(rng: Random, loss: float, packets: int) -> Loss:
    found = Loss()
    for at in range(packets):
        found.add(lost=rng.random() < loss, heard=1, elapsed_s=2, count=at, judged=at >= 150)
    return found


def packets_until(rng: Random, there: float, back: float, packets_max: int = 1000) -> int:
    found = link(rng, 0.0, 400)
    for packets in range(1, packets_max):
        comes = rng.random() >= there and rng.random() >= back
        heard = int(rng.random() >= back)
        found.add(lost=not comes, heard=heard, elapsed_s=2, count=400 + packets, judged=True)
        if found.has_risen:
            return packets
    return packets_max


@pytest.mark.parametrize(("there", "back"), [(0.05, 0.0), (0.0, 0.05)])
def test_five_percent_one_way_are_found_within_200_packets_in_95_of_100_cases(
    there: float, back: float
) -> None:
    rng = Random(1)
    found = sorted(packets_until(rng, there, back) for _ in range(300))
    assert found[284] <= PACKETS


@pytest.mark.parametrize("loss", [0.0, 0.0005, 0.001, 0.01])
def test_what_a_link_loses_anyway_is_no_finding(loss: float) -> None:
    rng, risen = Random(2), 0
    found = link(rng, loss, 1000)
    for at in range(60_000):
        found.add(lost=rng.random() < loss, heard=1, elapsed_s=2, count=1000 + at, judged=True)
        risen += found.has_risen
    assert not risen


@pytest.mark.parametrize(
    ("there", "back", "way"), [(0.2, 0.0, Way.THERE), (0.0, 0.2, Way.BACK), (0.0, 0.0, None)]
)
def test_the_way_is_known_by_the_pings_that_the_peer_does_not_get_through(
    there: float, back: float, way: Way | None
) -> None:
    rng, right = Random(3), 0
    for _ in range(20):
        found = link(rng, 0.0, 400)
        for at in range(300):
            comes = rng.random() >= there and rng.random() >= back
            heard = int(rng.random() >= back)
            found.add(lost=not comes, heard=heard, elapsed_s=2, count=400 + at, judged=True)
        assert found.has_risen == (way is not None)
        right += found.way is way
    assert way is None or right >= 19


def test_a_link_that_loses_no_more_is_well_again() -> None:
    found = link(Random(4), 0.0, 400)
    for at in range(20):
        found.add(lost=True, heard=1, elapsed_s=2, count=400 + at, judged=True)
    assert found.has_risen
    for at in range(500):
        found.add(lost=False, heard=1, elapsed_s=2, count=420 + at, judged=True)
    assert not found.has_risen


def test_what_is_lost_for_a_day_is_usual() -> None:
    rng, found = Random(5), link(Random(5), 0.0, 400)
    for at in range(int(DAY_S / 60) + 200):
        found.add(lost=rng.random() < 0.1, heard=1, elapsed_s=60, count=400 + at, judged=True)
    assert not found.has_risen
    assert found.usual == pytest.approx(0.1, abs=0.03)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=100), st.binary())
def test_what_is_kept_goes_on_and_what_makes_no_sense_begins_anew(
    packets: list[tuple[bool, int]], bytes_of_another: bytes
) -> None:
    found = Loss()
    for at, (lost, heard) in enumerate(packets):
        found.add(lost=lost, heard=heard, elapsed_s=2, count=at, judged=True)
        kept = found.packed()
        assert len(kept) == STATE_BYTES
        found = Loss()
        found.unpack(kept)
        assert found.packed() == kept
        assert math.isfinite(found.usual)
    found.unpack(bytes_of_another)
    found.add(lost=False, heard=1, elapsed_s=2, count=1, judged=True)
    assert 0 <= found.usual <= 1
