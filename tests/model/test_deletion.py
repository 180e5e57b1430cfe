"""Deletion by proof, as its model: what machines that are set back, holes in disks and a liar can
do, and that a mistake in a rule is seen."""

from __future__ import annotations

import pytest

from tests.model.deletion import run

SEEDS = 60


@pytest.mark.parametrize("liar", [False, True], ids=["honest", "a liar"])
def test_random_schedules_break_no_law(liar: bool) -> None:
    worlds = [run(seed, liar=liar) for seed in range(SEEDS)]
    assert [(seed, world.faults) for seed, world in enumerate(worlds) if world.faults] == []
    assert sum(world.set_backs for world in worlds) > SEEDS
    assert sum(world.holes for world in worlds) > SEEDS
    assert sum(world.collected for world in worlds) > SEEDS
    if not liar:
        assert sum(len(world.false_drops) for world in worlds) <= SEEDS // 50 + 1
        assert not any(world.told_losses for world in worlds)


@pytest.mark.parametrize(
    ("mistake", "seed", "liar"),
    [
        ("never_refuse", 1, False),
        ("advance_on_partial", 32, True),
        ("hearsay_spreads", 21, True),
    ],
)
def test_a_planted_mistake_breaks_a_law(mistake: str, seed: int, liar: bool) -> None:
    assert run(seed, mistake, liar).faults
    assert not run(seed, liar=liar).faults


@pytest.mark.parametrize(
    ("mistake", "seed"), [("own_entry_is_now", 10), ("trusts_a_hole", 59), ("trusts_a_hole", 51)]
)
def test_a_planted_mistake_takes_live_values_out(mistake: str, seed: int) -> None:
    assert run(seed, mistake).false_drops
    assert not run(seed).false_drops
