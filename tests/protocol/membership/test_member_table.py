"""MemberTable: equal tables have equal digests, and at one address lives one name."""

from __future__ import annotations

from itertools import permutations

from kvgossip.protocol.model.member import MemberState
from tests.protocol.membership.side import Side, record_of
from tests.protocol.net import WALL_MS, address_of, at, member

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def test_the_digest_is_equal_for_equal_tables_whoever_accuses_whom_and_whoever_is_dead() -> None:
    tables = []
    for accuser, order in (("x", "bc"), ("y", "cb")):
        side = Side()
        for name in order:
            side.merge(member(name, state=SUSPECT, accuser=accuser))
        tables.append(side)
    assert tables[0].membership.table.digest == tables[1].membership.table.digest
    for side in tables:
        side.merge(member("d", 3))
    assert tables[0].membership.table.digest == tables[1].membership.table.digest
    tables[0].merge(member("d", 3, DEAD))
    assert tables[0].membership.table.digest != tables[1].membership.table.digest
    tables[1].membership.merge(member("d", 3, LEFT), at())
    assert tables[0].membership.table.digest == tables[1].membership.table.digest


def test_lesson_10_a_restart_takes_over_at_once_also_under_a_new_address() -> None:
    side = Side("b")
    side.merge(member("b", 5, generation=2, site=99))
    assert record_of(side, "b").address == address_of(5)
    assert side.membership.table.name_at(address_of(5)) == "b"
    assert side.membership.table.name_at(address_of(1)) == ""
    # and nothing that was said of the life before comes back
    for stale in (
        member("b", 1, ALIVE, incarnation=50),
        member("b", 1, DEAD),
        member("b", 1, LEFT),
    ):
        side.merge(stale)
    assert record_of(side, "b").address == address_of(5)


def test_lesson_11_of_two_names_at_one_address_the_one_that_answers_there_stays() -> None:
    # whichever began later, and whichever was heard of first
    for first, second in permutations([member("b", 1, generation=5), member("c", 1, generation=9)]):
        side = Side()
        side.merge(first)
        side.merge(second)
        assert (side.state(first.name), side.state(second.name)) == (ALIVE, None)
        side.now = at(1.0)
        side.claims(second)
        assert (side.state(first.name), side.state(second.name)) == (LEFT, ALIVE)
        # whoever still tells of the old name cannot bring it back
        side.merge(first)
        assert [peer.name for peer in side.membership.reachable] == [second.name]
        assert side.membership.table.name_at(address_of(1)) == second.name


def sharing() -> Side:
    """b gave way to c at its address, and comes back: its process lives."""
    side = Side()
    side.merge(member("b", 1, generation=5, site=5))
    side.claims(member("c", 1, generation=9, site=9))
    assert side.state("b") is LEFT
    side.merge(member("b", 1, generation=6, site=5))
    return side


def test_lesson_11_two_live_processes_at_one_address_do_not_throw_each_other_out_again_and_again() -> (
    None
):
    side = sharing()
    for generation in range(7, 12):
        assert (side.state("b"), side.state("c")) == (ALIVE, ALIVE)
        side.merge(member("b", 1, generation=generation, site=5))
    ((one, other),) = side.membership.table.shared
    assert {one.name, other.name} == {"b", "c"}
    # another life at that address takes it over, as ever
    side.claims(member("d", 1, generation=99, site=99))
    assert side.state("d") is ALIVE


def test_who_shares_an_address_is_no_suspect_while_it_is_heard_of() -> None:
    side = sharing()
    table = side.membership.table
    for name, site in (("b", 5), ("c", 9)):
        shared = member(name, 1, site=site)
        assert not table.is_beyond_probes(shared, 100.0, 1.0)
        table.heard(name, 100.0)
        assert table.is_beyond_probes(shared, 112.0, 1.0)
        assert not table.is_beyond_probes(shared, 114.0, 1.0)
    table.heard("stranger", 100.0)
    assert not table.is_beyond_probes(member("stranger", 1), 100.0, 1.0)


def test_nobody_else_lives_at_the_address_of_this_node_and_who_says_so_is_told_of() -> None:
    side = Side()
    side.merge(member("twin", 0, generation=WALL_MS + 5, site=9))
    assert [{each.name for each in pair} for pair in side.membership.table.shared] == [
        {"me", "twin"}
    ]
    assert side.state("twin") is None
    assert (side.sent, side.membership.me.state) == ([], ALIVE)


def test_lesson_11_a_name_that_died_at_an_address_goes_when_another_one_lives_there() -> None:
    side = Side("b")
    side.merge(member("b", 1, DEAD))
    side.merge(member("c", 1, generation=2))
    assert (side.state("b"), side.state("c")) == (LEFT, ALIVE)
    assert side.membership.table.dead() == []


def test_lesson_11_a_name_that_moved_away_stays_when_another_one_takes_its_old_address() -> None:
    side = Side("b")
    side.merge(member("b", 5, generation=2))
    side.merge(member("c", 1, generation=3))
    assert (side.state("b"), side.state("c")) == (ALIVE, ALIVE)


def test_lesson_11_an_earlier_name_of_our_own_has_left_and_nobody_replaces_us() -> None:
    side = Side()
    side.merge(member("before", 0, generation=WALL_MS - 5))
    side.merge(member("liar", 0, generation=WALL_MS + 5))
    assert side.state("before") is LEFT
    assert side.membership.me.state is ALIVE
