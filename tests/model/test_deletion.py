"""Deletion by proof, as its model: what machines that are set back, holes in disks and a liar can
do, and that a mistake in a rule is seen."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from tests.model.deletion import Node, World, run

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
    ("mistake", "seeds"), [("never_refuse", (1,)), ("advance_on_partial", (191,))]
)
def test_a_planted_mistake_breaks_a_law(mistake: str, seeds: Iterable[int]) -> None:
    assert any(run(seed, mistake).faults or run(seed, mistake, True).faults for seed in seeds)


class Steady(Random):
    """No exchange is cut off."""

    def random(self) -> float:
        return 1.0


def back_with_a_deleted_value(mistake: str) -> World:
    """n0 writes, n1 deletes, n3 joins and hears of the delete alone; n0 leaves; the others collect
    the tombstone; then n2 is back from so long an absence that it was forgotten."""
    world = World(0, mistake)
    world.datacenters, world.rng = 1, Steady(0)
    n0, n1, n2 = (Node(f"n{number}", world) for number in range(3))
    n0.write("k", dead=False)
    world.exchange(n0, n2)
    world.exchange(n0, n1)
    n1.write("k", dead=True)
    n3 = Node("n3", world)
    world.exchange(n3, n1)
    for node in (n1, n3):
        node.members = {"n1", "n3"}
    world.exchange(n3, n1)
    for node in (n1, n3):
        node.collect()
        assert "k" not in node.store
    world.exchange(n2, n3)
    return world


def test_an_entry_that_counts_up_to_what_came_of_its_site_lets_a_deleted_value_come_back() -> None:
    """So the entries of other sites are believed, a liar's as well (causal_context.py)."""
    assert back_with_a_deleted_value("").faults == []
    assert back_with_a_deleted_value("counts_what_came").faults == ["n3 shows k again"]


def test_to_learn_nothing_until_all_has_come_keeps_tombstones_for_ever() -> None:
    waiting, honest = (
        sum(run(seed, mistake).collected for seed in range(20))
        for mistake in ("waits_for_what_came", "")
    )
    assert waiting < honest / 2


@pytest.mark.parametrize("seed", [113, 282])
def test_made_up_dots_keep_tombstones_out_for_good_where_dots_refuse_them(seed: int) -> None:
    assert run(seed, "refuses_tombstones_by_dots", True).faults == ["not converged"]
    assert run(seed, "", True).faults == []


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
