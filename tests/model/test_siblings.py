"""Typed records as their model: random schedules break no law, each planted mistake does, and the
join is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.siblings import MISTAKES, run
from tests.model.typed_node import LIMIT
from tests.model.typed_record import Cell, Dot, Record, Value, add, join, write

SEEDS = 12
FOUND = {
    "ignores_covered_pairs": (0, False),
    "joins_the_context_of_the_store": (0, False),
    "collapses_in_the_join": (0, False),
    "deletes_become_pairs": (245, False),
    "refuses_whole_records": (0, False),
    "never_refuses": (0, False),
    "prunes_by_its_own_row": (4, True),
    "prunes_by_the_rows_of_all": (4, True),
    "asks_its_own_datacenter": (116, False),
    "expires_with_its_first": (0, False),
    "adopts_at_once": (74, True),
    "adopts_twice": (0, False),
    "anybody_adopts": (2, False),
}
"""By mistake, a seed that shows it, and whether machines and disks are set back there."""


@pytest.mark.parametrize("set_backs", [False, True], ids=["none is set back", "set back"])
def test_random_schedules_break_no_law(set_backs: bool) -> None:
    worlds = [run(seed, set_backs=set_backs) for seed in range(SEEDS)]
    assert [(seed, world.faults) for seed, world in enumerate(worlds) if world.faults] == []
    for happened in ("pruned", "adopted", "refused_writes", "wipes"):
        assert sum(world.totals[happened] for world in worlds) > 0, happened
    assert any(world.collected for world in worlds)
    assert (sum(world.totals["set_backs"] for world in worlds) > 0) is set_backs
    assert set_backs or not any(world.amiss for world in worlds)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_breaks_a_law(mistake: str) -> None:
    seed, set_backs = FOUND[mistake]
    assert run(seed, mistake, set_backs).faults
    assert not run(seed, "", set_backs).faults


def test_two_clients_who_write_in_turns_leave_two_siblings() -> None:
    """Each with the context that the answer to its last write told."""
    record, contexts = Record(), [dict[int, int](), dict[int, int]()]
    for turn in range(100):
        written = write(record, Dot(turn, 1), Value(f"{turn}"), contexts[turn % 2], LIMIT)
        assert written is not None
        record, contexts[turn % 2] = written, written.context
    assert sorted(value.body for value in record.values.values() if isinstance(value, Value)) == [
        "98",
        "99",
    ]


def test_a_write_without_a_context_adds_a_sibling_up_to_the_limit() -> None:
    record = Record()
    for number in range(LIMIT):
        record = write(record, Dot(number, 1), Value(f"{number}"), {}, LIMIT) or Record()
    assert len(record.values) == LIMIT
    assert write(record, Dot(9, 1), Value("new"), {}, LIMIT) is None
    again = write(record, Dot(9, 1), Value("2"), {}, LIMIT)
    assert again is not None
    assert sorted(again.values) == [Dot(0, 1), Dot(1, 1), Dot(3, 1), Dot(9, 1)]
    assert join(record, again) == again
    assert write(record, Dot(9, 1), Value("new"), record.context, LIMIT) == Record(
        {Dot(9, 1): Value("new")}, {1: 3}
    )


def test_a_counter_keeps_the_newest_cell_of_a_site_and_folds_that_of_a_former_life() -> None:
    first = add(Record(), Dot(1, 1), 5, [])
    second = add(first, Dot(2, 1), 2, [])
    assert join(first, second) == second
    assert second.count == 7
    folded = add(second, Dot(3, 2), 1, [Dot(2, 1)])
    assert folded == Record({Dot(3, 2): Cell(8)}, {1: 2})
    assert join(first, folded) == folded


DOTS = st.builds(Dot, st.integers(0, 4), st.integers(0, 2))


def records() -> st.SearchStrategy[Record]:
    """Two writes of one dot are alike: of the even times values, of the odd ones deletes."""
    values = st.sets(DOTS, max_size=6).map(
        lambda dots: {dot: None if dot.timestamp % 2 else Value("x") for dot in dots}
    )
    return st.builds(Record, values, st.dictionaries(st.integers(0, 2), st.integers(0, 4)))


@given(records(), records(), records())
def test_the_join_is_commutative_associative_and_idempotent(
    a: Record, b: Record, c: Record
) -> None:
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, a) == a
    assert join(join(a, b), a) == join(a, b)


def counters() -> st.SearchStrategy[Record]:
    cells = st.sets(DOTS, max_size=6).map(
        lambda dots: {
            dot: Cell(dot.timestamp) for dot in {dot.site: dot for dot in sorted(dots)}.values()
        }
    )
    return st.builds(Record, cells, st.dictionaries(st.integers(0, 2), st.integers(0, 4)))


@given(counters(), counters(), counters())
def test_so_it_is_for_counters(a: Record, b: Record, c: Record) -> None:
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, a) == a
