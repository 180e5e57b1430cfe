"""The order that decides every membership merge."""

from __future__ import annotations

from itertools import combinations, permutations, product

from hypothesis import given

from kvgossip.config import Address
from kvgossip.protocol.model.member import Member, MemberState, rank
from tests.protocol.net import member
from tests.protocol.strategies import members

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def said(state: MemberState, generation: int, incarnation: int = 0) -> Member:
    return member("b", state=state, generation=generation, incarnation=incarnation)


def test_the_order_is_alive_suspect_alive_again_dead_left_and_then_the_next_generation() -> None:
    ascending = [
        said(ALIVE, 1, 0),
        said(SUSPECT, 1, 0),
        said(ALIVE, 1, 1),
        said(SUSPECT, 1, 1),
        said(ALIVE, 1, 2**32),
        said(DEAD, 1, 0),
        said(LEFT, 1, 0),
        said(ALIVE, 2, 0),
        said(SUSPECT, 2, 0),
        said(DEAD, 2, 0),
        said(LEFT, 2, 0),
        said(ALIVE, 3, 0),
    ]
    for lower, higher in combinations(ascending, 2):
        assert rank(lower) < rank(higher)


def test_death_is_final_for_a_generation_whatever_the_incarnation() -> None:
    for gone, incarnation in product((DEAD, LEFT), (0, 1, 2**32)):
        assert rank(said(gone, 1, 0)) > rank(said(ALIVE, 1, incarnation))
        assert rank(said(gone, 1, incarnation)) == rank(said(gone, 1, 0))


def test_leaving_is_told_apart_from_dying_and_wins_over_it() -> None:
    assert rank(said(LEFT, 1)) > rank(said(DEAD, 1))


# F29
@given(members, members)
def test_records_of_equal_rank_speak_of_one_life_and_say_the_same_of_it(
    one: Member, other: Member
) -> None:
    if rank(one) == rank(other):
        assert (one.generation, one.site, one.state) == (other.generation, other.site, other.state)
        assert one.incarnation == other.incarnation or one.state >= DEAD


@given(members, members, members)
def test_the_winner_of_three_records_does_not_depend_on_their_order(
    a: Member, b: Member, c: Member
) -> None:
    assert len({max(map(rank, order)) for order in permutations((a, b, c))}) == 1


@given(members)
def test_a_member_is_reachable_while_it_is_alive_or_suspect(known: Member) -> None:
    assert known.reachable == (known.state in (ALIVE, SUSPECT))
    assert known.address == Address(known.host, known.port)
