"""Whom to choose: uniform, and in shuffled round robin."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.membership.sampling import RoundRobin, uniform

SEEDS = st.integers(0, 2**16)
COUNTS = st.integers(1, 12)


def robin(seed: int, names: list[str]) -> RoundRobin:
    order = RoundRobin(Random(seed))
    for name in names:
        order.add(name)
    return order


def names_of(count: int) -> list[str]:
    return [f"n{number:02}" for number in range(count)]


def everybody(name: str) -> bool:
    return True


@given(SEEDS, COUNTS)
def test_every_name_comes_once_a_round(seed: int, count: int) -> None:
    order = robin(seed, names_of(count))
    for _ in range(3):
        assert sorted(order.next(everybody) or "" for _ in range(count)) == sorted(names_of(count))


@given(SEEDS, COUNTS, st.integers(0, 12))
def test_every_name_comes_within_two_rounds_whenever_one_starts_to_wait(
    seed: int, count: int, start: int
) -> None:
    order = robin(seed, names_of(count))
    for _ in range(start):
        order.next(everybody)
    assert {order.next(everybody) for _ in range(2 * count - 1)} == set(names_of(count))


@given(SEEDS, COUNTS, st.integers(0, 12))
def test_a_new_name_comes_within_two_rounds_and_nobody_else_comes_later_for_it(
    seed: int, count: int, start: int
) -> None:
    order = robin(seed, names_of(count))
    for _ in range(start):
        order.next(everybody)
    order.add("new")
    assert Counter(order.next(everybody) for _ in range(2 * (count + 1) - 1)).keys() == {
        *names_of(count),
        "new",
    }


@given(SEEDS, COUNTS, st.data())
def test_a_name_that_was_discarded_never_comes_and_the_round_goes_on(
    seed: int, count: int, data: st.DataObject
) -> None:
    order = robin(seed, names_of(count))
    came = [order.next(everybody) for _ in range(data.draw(st.integers(0, count)))]
    gone = data.draw(st.sampled_from(names_of(count)))
    order.discard(gone)
    order.discard("never there")
    rest = [name for name in names_of(count) if name != gone and name not in came]
    assert sorted(order.next(everybody) or "" for _ in rest) == rest


@given(SEEDS, COUNTS, st.data())
def test_a_hastened_name_comes_next_and_in_its_turn_as_well(
    seed: int, count: int, data: st.DataObject
) -> None:
    order = robin(seed, names_of(count))
    came = [order.next(everybody) for _ in range(data.draw(st.integers(0, count - 1)))]
    hastened = data.draw(st.sampled_from(names_of(count)))
    order.hasten(hastened)
    assert (order.next(everybody), order.was_hastened) == (hastened, True)
    rest = [order.next(everybody) or "" for _ in range(count - len(came))]
    assert not order.was_hastened
    assert sorted([*came, *rest]) == sorted(names_of(count))  # type: ignore[type-var]


def test_at_most_every_other_name_is_a_hastened_one() -> None:
    order = robin(1, names_of(4))
    came = []
    for _ in range(8):
        order.hasten("n00")
        came.append(order.next(everybody))
    assert came[::2] == ["n00"] * 4
    assert sorted(name or "" for name in came[1::2]) == names_of(4)


def test_a_hastened_name_that_is_not_wanted_waits_and_one_that_is_discarded_is_forgotten() -> None:
    order = robin(1, names_of(3))
    order.hasten("n01")
    order.hasten("n02")
    order.discard("n02")
    came = [order.next(lambda name: name != "n01") for _ in range(4)]
    assert "n01" not in came
    assert (order.next(everybody), order.was_hastened) == ("n01", True)


@given(SEEDS, COUNTS, st.integers(0, 12))
def test_the_only_name_that_is_wanted_comes_at_every_call(
    seed: int, count: int, start: int
) -> None:
    order = robin(seed, names_of(count))
    for _ in range(start):
        order.next(everybody)
    assert [order.next(lambda name: name == "n00") for _ in range(5)] == ["n00"] * 5


def test_nobody_comes_where_nobody_is_wanted() -> None:
    assert robin(1, names_of(3)).next(lambda name: False) is None
    assert robin(1, []).next(everybody) is None


def test_the_order_is_a_new_one_each_round() -> None:
    order = robin(1, names_of(8))
    rounds = {tuple(order.next(everybody) for _ in range(8)) for _ in range(10)}
    assert len(rounds) == 10


@given(SEEDS, st.integers(0, 8), st.integers(0, 10))
def test_uniform_gives_different_candidates_or_all_of_them(
    seed: int, count: int, wanted: int
) -> None:
    chosen = uniform(Random(seed), names_of(count), wanted)
    assert len(chosen) == len(set(chosen)) == min(count, wanted)
    assert set(chosen) <= set(names_of(count))


def test_uniform_prefers_nobody() -> None:
    rng, counts = Random(5), Counter[str]()
    for _ in range(5000):
        counts.update(uniform(rng, names_of(5), 2))
    # 2,000 expected for each; this seed stays within 3 %
    assert all(1940 <= counts[name] <= 2060 for name in names_of(5))
