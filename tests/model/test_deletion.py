"""Deletion by proof, as its model: what machines that are set back, holes in disks and a liar can
do, and that a mistake in a rule is seen."""

from __future__ import annotations

from collections.abc import Iterable

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
    if liar:
        repeated = sum(len(world.passed_on) for world in worlds)
        assert repeated <= sum(len(world.lied) for world in worlds) // 50
    else:
        assert sum(len(world.false_drops) for world in worlds) <= SEEDS // 50 + 1
        assert not any(world.told_losses for world in worlds)


@pytest.mark.parametrize(
    ("mistake", "seeds"), [("never_refuse", (1,)), ("advance_on_partial", range(40))]
)
def test_a_planted_mistake_breaks_a_law(mistake: str, seeds: Iterable[int]) -> None:
    assert any(run(seed, mistake).faults or run(seed, mistake, True).faults for seed in seeds)


def test_with_the_mistake_that_hearsay_spreads_many_a_lie_is_repeated() -> None:
    worlds = [run(seed, "hearsay_spreads", True) for seed in range(20)]
    repeated = sum(len(world.passed_on) for world in worlds)
    assert repeated > sum(len(world.lied) for world in worlds) // 20


@pytest.mark.parametrize(
    ("mistake", "seed"), [("own_entry_is_now", 10), ("trusts_a_hole", 59), ("trusts_a_hole", 51)]
)
def test_a_planted_mistake_takes_live_values_out(mistake: str, seed: int) -> None:
    assert run(seed, mistake).false_drops
    assert not run(seed).false_drops
