"""JoinTargets: which addresses are tried again, when, and when a node has heard enough to settle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvgossip.config import Config
from kvgossip.protocol.membership.join_targets import JoinTargets
from kvgossip.protocol.model.member import SyncState
from tests.protocol.net import address_of, at

ONE, TWO, THREE = address_of(1), address_of(2), address_of(3)


def nobody(name: str) -> bool:
    return False


def everybody(name: str) -> bool:
    return True


def only(*names: str) -> Callable[[str], bool]:
    return lambda name: name in names


def join_targets(*targets: str, retry_s: float = 1.0) -> JoinTargets:
    return JoinTargets(targets, Config(join_retry_s=retry_s), "me", at())


def due(
    waiting: JoinTargets, seconds: float, is_member: Callable[[str], bool], *, settled: bool = True
) -> list[str]:
    """The targets to resolve at this time; none where it is not time."""
    return waiting.strangers(is_member) if waiting.is_due(at(seconds), settled) else []


def next_s(waiting: JoinTargets) -> float:
    return (waiting.deadline() or 0.0) - at().monotonic_s


def test_without_any_target_nothing_is_ever_due() -> None:
    alone = join_targets()
    assert alone.founder
    assert alone.deadline() is None
    assert due(alone, 1e6, nobody) == []


@pytest.mark.parametrize(
    ("settled", "times"),
    [(True, [0, 1, 3, 7, 15, 31, 61, 91]), (False, [0, 1, 3, 6, 9, 12, 15, 18])],
)
def test_the_targets_are_resolved_at_once_and_again_with_growing_pauses_while_nobody_answers(
    settled: bool, times: list[int]
) -> None:
    waiting = join_targets("one:1", "two:1")
    found: list[float] = []
    while len(found) < 8:
        seconds = next_s(waiting)
        assert due(waiting, seconds, nobody, settled=settled) == ["one:1", "two:1"]
        assert due(waiting, seconds, nobody, settled=settled) == []
        found.append(seconds)
    assert found == times


def test_lesson_14_a_target_is_resolved_again_until_all_its_addresses_are_members() -> None:
    waiting = join_targets("service:1")
    assert waiting.resolved("service:1", [ONE, TWO, ONE], nobody) == [ONE, TWO]
    waiting.answered(ONE, "b")
    assert due(waiting, 1, only("b")) == ["service:1"]
    # the name has another record now, and one less
    assert waiting.resolved("service:1", [ONE, THREE], only("b")) == [THREE]
    waiting.answered(THREE, "c")
    assert due(waiting, 1000, only("b", "c")) == []
    # whoever dies is looked for again
    assert due(waiting, 2000, only("b")) == ["service:1"]


def test_an_address_that_cannot_be_resolved_is_tried_again_and_keeps_what_was_known() -> None:
    waiting = join_targets("service:1")
    assert waiting.resolved("service:1", [], nobody) == []
    assert due(waiting, 1, everybody) == ["service:1"]
    assert waiting.resolved("service:1", [ONE], nobody) == [ONE]
    assert waiting.resolved("service:1", [], nobody) == [ONE]


def test_our_own_address_counts_as_known() -> None:
    waiting = join_targets("service:1")
    waiting.resolved("service:1", [ONE], nobody)
    waiting.answered(ONE, "me")
    assert due(waiting, 5, nobody) == []


def test_the_death_of_a_member_makes_the_next_attempt_soon() -> None:
    waiting = join_targets("one:1")
    for _ in range(8):
        due(waiting, next_s(waiting), nobody)
    now = at(100)
    waiting.lost(now)
    assert waiting.deadline() == now.monotonic_s + 1.0
    waiting.lost(at(100.5))
    assert waiting.deadline() == now.monotonic_s + 1.0
    alone = join_targets()
    alone.lost(now)
    assert alone.deadline() is None


def test_an_operators_target_is_tried_once_also_where_it_is_known() -> None:
    alone = join_targets()
    assert alone.add(["one:1"]) == ["one:1"]
    assert alone.resolved("one:1", [ONE, ONE], everybody) == [ONE]
    assert alone.resolved("one:1", [ONE], everybody) == []
    assert alone.founder
    assert alone.resolved("never asked:1", [ONE], nobody) == []


# -- settling ------------------------------------------------------------------------------------


def test_a_fresh_cluster_is_heard_when_every_address_of_every_target_has_exchanged() -> None:
    waiting = join_targets("one:1", "two:1")
    assert not waiting.all_exchanged()
    waiting.resolved("one:1", [ONE, TWO], nobody)
    waiting.resolved("two:1", [THREE], nobody)
    for address, name in ((ONE, "b"), (TWO, "me"), (THREE, "c")):
        waiting.answered(address, name)
        assert not waiting.all_exchanged()
    waiting.exchanged("b", SyncState.FRESH)
    waiting.exchanged("stranger", SyncState.FRESH)
    assert not waiting.all_exchanged()
    waiting.exchanged("c", SyncState.FRESH)
    assert waiting.all_exchanged()


def test_a_target_that_was_never_resolved_has_not_answered() -> None:
    waiting = join_targets("one:1", "two:1")
    waiting.resolved("one:1", [ONE], nobody)
    waiting.answered(ONE, "b")
    waiting.exchanged("b", SyncState.FRESH)
    assert not waiting.all_exchanged()


def test_another_name_at_an_address_starts_over_and_the_same_name_does_not() -> None:
    waiting = join_targets("one:1")
    waiting.resolved("one:1", [ONE], nobody)
    waiting.answered(ONE, "b")
    waiting.exchanged("b", SyncState.FRESH)
    waiting.answered(ONE, "b")
    assert waiting.all_exchanged()
    waiting.answered(ONE, "c")
    assert not waiting.all_exchanged()


def test_answers_from_elsewhere_are_not_kept() -> None:
    waiting = join_targets("one:1")
    waiting.resolved("one:1", [ONE], nobody)
    for place in range(5, 200):
        waiting.answered(address_of(place), "x")
    assert waiting._answers == {}


def test_a_node_that_answered_and_completed_no_exchange_is_tried_again() -> None:
    waiting = join_targets("one:1", "two:1")
    waiting.resolved("one:1", [ONE, TWO], nobody)
    waiting.resolved("two:1", [THREE], nobody)
    for address, name in ((ONE, "b"), (TWO, "me"), (THREE, "c")):
        waiting.answered(address, name)
    assert waiting.unexchanged() == ["b", "c"]
    waiting.exchanged("b", SyncState.FRESH)
    assert waiting.unexchanged() == ["c"]


@pytest.mark.parametrize("retry_s", [0.01, 600.0])
@pytest.mark.parametrize("settled", [True, False])
def test_the_next_attempt_lies_ahead(retry_s: float, settled: bool) -> None:
    waiting = join_targets("one:1", retry_s=retry_s)
    for seconds in (0.0, 0.5, 100.0, 1e5):
        due(waiting, seconds, nobody, settled=settled)
        assert next_s(waiting) > seconds
