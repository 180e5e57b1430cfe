"""Claims: a name is where it has answered, and names that never answered keep nobody out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.config import Address
from kvgossip.protocol.membership.proofs import CROWD_MIN
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.wire.message import Join, Ping, Pull
from kvgossip.protocol.wire.unit import encode
from tests.protocol.membership.side import Side, drain
from tests.protocol.net import (
    LAN,
    STRANGER,
    WALL_MS,
    Network,
    address_of,
    at,
    make_replica,
    member,
    prove,
    sends,
    told,
)

ALIVE, SUSPECT, DEAD, LEFT = MemberState
SEED = str(address_of(0))
LATER = WALL_MS + 3_600_000


def proven(*names: str) -> Side:
    """A side whose members have answered."""
    side = Side(*names)
    for name in names:
        side.prove(name)
    return side


def asked(side: Side) -> list[tuple[str, Address]]:
    return [
        (sent.message.target, sent.to)
        for sent in side.sent
        if isinstance(sent.message, Ping) and not sent.reliable
    ]


def test_a_ghost_at_a_members_address_is_asked_there_and_not_believed() -> None:
    side = proven("b", "c")
    before, news = dict(side.membership.members), side.news()
    side.merge(member("ghost", 1, generation=LATER))
    assert side.membership.members == before
    assert asked(side) == [("ghost", address_of(1))]
    # nobody hears of it
    assert side.news() == [] or news
    assert side.membership.changes[-1][1] != member("ghost", 1, generation=LATER)
    # what it says again is not asked again at once
    side.merge(member("ghost", 1, generation=LATER))
    assert len(asked(side)) == 1


ghosts = st.builds(
    member,
    st.sampled_from(["ghost", "b", "c", "spook"]),
    st.integers(1, 2),
    st.sampled_from([ALIVE, SUSPECT]),
    generation=st.integers(1, LATER),
    incarnation=st.integers(0, 5),
    site=st.integers(1, 9),
)


@given(st.lists(ghosts, max_size=12))
def test_no_news_of_names_at_addresses_moves_a_member_that_has_answered(
    heard: list[Member],
) -> None:
    """Whatever a stranger says of who lives where: b and c are where they were, and nobody else
    is."""
    side = proven("b", "c")
    for each in heard:
        side.merge(each)
    assert {name: each.address for name, each in side.membership.members.items()} == {
        "me": address_of(0),
        "b": address_of(1),
        "c": address_of(2),
    }
    assert [each.name for each in side.membership.reachable] == ["b", "c"]


@given(
    st.lists(
        st.builds(
            member,
            st.sampled_from(["ghost", "b", "c"]),
            st.integers(0, 3),
            st.sampled_from([ALIVE, SUSPECT, DEAD]),
            generation=st.sampled_from([1, 2, WALL_MS - 1, LATER]),
            incarnation=st.integers(0, 5),
            site=st.integers(1, 9),
        ),
        max_size=12,
    )
)
def test_no_news_of_others_makes_a_member_leave_also_one_that_has_not_answered_yet(
    heard: list[Member],
) -> None:
    """That it has left is its own word, or follows from who answers in its place."""
    side = Side("b", "c")
    for each in heard:
        side.merge(each)
    assert LEFT not in (side.state("b"), side.state("c"))


def test_who_has_answered_at_its_address_does_not_give_way_to_an_invention_that_began_later() -> (
    None
):
    side = Side()
    side.merge(member("ghost", 1, generation=LATER))
    side.claims(member("b", 1, generation=2))
    assert (side.state("b"), side.state("ghost")) == (ALIVE, LEFT)


@pytest.mark.parametrize("generation", [1, LATER - 1])
@pytest.mark.parametrize("end", [DEAD, LEFT])
def test_that_it_once_answered_brings_no_name_back_to_an_address_where_another_one_is(
    end: MemberState, generation: int
) -> None:
    side = Side()
    side.merge(member("c", 1, generation=generation))
    side.prove("c")
    side.merge(member("c", 1, end, generation=generation))
    side.merge(member("d", 1, generation=2))
    assert side.state("d") is ALIVE
    side.merge(member("c", 1, generation=LATER))
    assert (side.state("d"), side.state("c")) != (LEFT, ALIVE)
    assert side.state("d") is ALIVE


def test_who_answers_at_the_address_is_believed_and_the_one_before_has_left() -> None:
    side = proven("b")
    side.merge(member("c", 1, generation=2))
    (ping,) = [sent.message for sent in side.sent if isinstance(sent.message, Ping)]
    # another number, another name, or another life of it, is no answer
    for number, name, life in (
        (ping.sequence + 1, "c", 2),
        (ping.sequence, "d", 2),
        (ping.sequence, "c", 3),
    ):
        side.answer(number, name, life)
        assert side.state("c") is None
    side.answer(ping.sequence, "c", 2)
    assert (side.state("b"), side.state("c")) == (LEFT, ALIVE)


def test_a_member_that_moves_is_believed_once_it_has_answered_or_is_dead_where_it_was() -> None:
    for answers in (True, False):
        side = proven("b")
        side.merge(member("b", 5, generation=2))
        assert side.membership.members["b"].address == address_of(1)
        ((name, where),) = asked(side)
        assert (name, where) == ("b", address_of(5))
        if answers:
            (ping,) = [sent.message for sent in side.sent if isinstance(sent.message, Ping)]
            side.answer(ping.sequence, "b")
        else:
            side.merge(member("b", 1, DEAD))
            side.merge(member("b", 5, generation=2))
        assert side.membership.members["b"].address == address_of(5)


def test_one_that_was_asked_before_is_asked_over_tcp_too() -> None:
    """UDP may be blocked (lesson 13)."""
    side = proven("b")
    side.merge(member("c", 1, generation=2))
    side.now = at(5.0)
    side.merge(member("c", 1, generation=2))
    assert [sent.reliable for sent in side.sent if isinstance(sent.message, Ping)] == [
        False,
        False,
        True,
    ]


def test_one_datagram_moves_no_member_of_a_cluster() -> None:
    net = Network()
    net.cluster("a b c")
    net.run(10.0)
    changes = {name: len(net.state_changes(name, "c")) for name in "ab"}
    generation = net.replicas["c"].member.generation
    for place, generation_ in ((2, LATER), (1, LATER), (0, LATER), (2, 1)):
        ghost = member("ghost", place, generation=generation_, site=99)
        for name in "abc":
            data = net.replicas[name].pools.lan.gate.framing.frame([encode(ghost)])
            net.perform(name, net.replicas[name].receive(data, STRANGER, net.now(name)))
    net.run(60.0)
    assert {name: len(net.state_changes(name, "c")) for name in "ab"} == changes
    assert net.replicas["c"].member.generation == generation
    assert all(net.sees(*names) for names in ("abc", "bac", "cab"))


def test_one_datagram_takes_away_no_member_that_has_just_joined() -> None:
    net = Network()
    net.cluster("a b")
    net.run(5.0)
    net.add("c", 2, join=(SEED,))
    net.until(lambda: all(net.state(name, "c") is ALIVE for name in "ab"))
    for name in "ab":
        # nobody has asked it anything yet
        assert not net.replicas[name].pools.lan.membership.table.proofs.has(address_of(2))
    generation = net.replicas["c"].member.generation
    ghost = member("ghost", 2, generation=LATER, site=99)
    for name in "abc":
        data = net.replicas[name].pools.lan.gate.framing.frame([encode(ghost)])
        net.perform(name, net.replicas[name].receive(data, STRANGER, net.now(name)))
    net.run(30.0)
    for name in "ab":
        assert LEFT not in net.state_changes(name, "c")
    assert net.replicas["c"].member.generation == generation
    assert all(net.sees(*names) for names in ("abc", "bac", "cab"))


def test_a_join_in_the_place_of_a_live_member_is_refused_in_words() -> None:
    net = Network()
    net.cluster("a b")
    net.run(5.0)
    ghost = member("ghost", 1, generation=LATER, site=99)
    join = [encode(Join("ghost", 99)), encode(ghost)]
    a = net.replicas["a"]
    data = a.pools.lan.gate.framing.frame(join, reliable=True, joining=True)
    answers: list[str] = []
    net.watch = lambda frm, to, sent: (
        answers.append(str(told(a.pools.lan.gate.framing, [sent]))) if sent.to == STRANGER else None
    )
    net.perform("a", a.receive(data, STRANGER, net.now("a"), reliable=True))
    net.run(5.0)
    assert "ghost" not in {known.name for known in a.members()}
    assert any("does not answer at 10.0.0.2:7481" in text for text in answers)
    assert net.sees("a", "b")


# -- room -----------------------------------------------------------------------------------------


def test_who_never_answered_makes_room_first_then_left_then_dead_names() -> None:
    side = Side("b", "c", "d", "e", members_max=6)
    for name in "bcd":
        side.prove(name)
    side.merge(member("b", 1, DEAD))
    side.merge(member("c", 2, LEFT))
    side.merge(member("f", 5))
    for place, (new, gone) in enumerate((("g", "e"), ("h", "f"), ("i", "c"), ("j", "b")), 6):
        side.merge(member(new, place))
        side.prove(new)
        assert (side.state(new), side.state(gone)) == (ALIVE, None)
    side.merge(member("k", 11))
    assert (side.state("k"), side.membership.names_refused) == (None, 1)


@given(st.integers(0, 200), st.integers(0, 3))
def test_no_number_of_invented_names_pushes_out_who_has_answered(
    invented: int, answered: int
) -> None:
    side = Side(members_max=10)
    honest = [f"honest{number}" for number in range(answered)]
    for place, name in enumerate(honest, 1):
        side.merge(member(name, place))
        side.prove(name)
    for number in range(invented):
        side.merge(member(f"x{number}", 100 + number % 50, generation=number + 1))
    assert all(side.state(name) is ALIVE for name in honest)
    assert len(side.membership.members) <= 10


def crowd(count: int, **config: int) -> Side:
    """A side with so many members that have never answered, and b, which has."""
    side = Side("b", **config)
    side.prove("b")
    for number in range(count):
        side.merge(member(f"x{number}", 5 + number % 200, generation=number + 1, site=number + 9))
    return side


def test_a_name_of_a_crowd_is_asked_at_once_and_passed_on_when_it_has_answered() -> None:
    side = crowd(CROWD_MIN)
    assert len(asked(side)) < CROWD_MIN, "few are no crowd"
    for name, place in (("c", 1), ("d", 2)):
        side.news()
        drain(side)
        side.merge(member(name, place + 200))
        assert asked(side)[-1] == (name, address_of(place + 200))
        assert side.news() == []
        ping = side.sent[-1].message
        assert isinstance(ping, Ping)
        side.answer(ping.sequence, name)
        assert encode(side.membership.members[name]) in side.news()


def test_a_crowd_neither_takes_the_probes_nor_the_news_of_members_and_is_forgotten() -> None:
    side = crowd(500)
    assert [each.name for each in side.membership.choose(3)] == ["b"]
    for _ in range(3):
        ping = side.probe()
        side.ack(ping)
        assert ping.target == "b"
    for step in range(60):
        side.tick(5.0 + step)
        probes = [sent.message for sent in side.sent if isinstance(sent.message, Ping)]
        for ping in probes:
            if ping.target == "b":
                side.ack(ping)
        side.sent.clear()
    assert side.state("b") is ALIVE
    assert len(side.membership.members) <= 2 + CROWD_MIN


def test_an_honest_node_joins_a_cluster_whose_tables_are_full_of_invented_names() -> None:
    net = Network()
    net.cluster("a b", members_max=200)
    net.run(5.0)
    for number in range(500):
        ghost = member(f"x{number}", 100 + number, generation=LATER - number)
        for name in "ab":
            data = net.replicas[name].pools.lan.gate.framing.frame([encode(ghost)])
            net.perform(name, net.replicas[name].receive(data, STRANGER, net.now(name)))
    assert len(net.replicas["a"].members()) == 200
    net.add("honest", 9, join=(SEED,), members_max=200)
    net.until(
        lambda: all(
            net.state(one, other) is ALIVE
            for one in ("a", "b", "honest")
            for other in ("a", "b", "honest")
        ),
        seconds=5.0,
    )


def test_an_invented_member_gets_no_answer_in_its_name() -> None:
    """A fake member at a victim's address, and pulls in its name."""
    replica = make_replica("a", rumor_mode="push-pull")
    replica.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    prove(replica, "b")
    replica.put("k", b"v" * 1000, at())
    replica.receive(LAN.frame([encode(member("fake", 7))]), STRANGER, at())
    pull = LAN.frame([encode(Pull("fake"))])
    for source in (STRANGER, address_of(7)):
        answers = [sent for sent in sends(replica.receive(pull, source, at())) if not sent.reliable]
        assert all(len(sent.data) <= len(pull) for sent in answers)


def test_once_a_crowd_has_answered_news_goes_to_all_of_it() -> None:
    names = [f"n{number}" for number in range(CROWD_MIN + 10)]
    side = Side(*names)
    assert side.membership.table.proofs.is_crowded
    assert side.membership.choose(len(names)) == []
    for name in names:
        side.prove(name)
    assert {each.name for each in side.membership.choose(len(names))} == set(names)


def test_who_may_become_a_crowd_is_asked_and_asked_again_where_the_answer_is_lost() -> None:
    side = Side()
    names = [f"n{number}" for number in range(CROWD_MIN)]
    for place, name in enumerate(names, 1):
        side.merge(member(name, place))
    once = len(asked(side))
    assert 0 < once < len(names)
    side.tick(1.0)
    assert len(asked(side)) > once
