"""Membership: what is merged and what is refuted, who is suspected and who is dead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, SyncState, rank
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Ack, Ping, Prune
from kvgossip.protocol.wire.unit import encode
from tests.protocol.membership.side import Sent, Side, record_of
from tests.protocol.net import LAN, STRANGER, WALL_MS, Network, address_of, at, member, sends
from tests.protocol.strategies import members

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def link_at(host: str) -> Arrival:
    """By a link that ends at this host of ours."""
    return Arrival(address_of(1), at(), True, host)


# -- merging --------------------------------------------------------------------------------------


@given(st.lists(members, max_size=6), st.randoms(use_true_random=False))
def test_what_is_believed_does_not_depend_on_the_order_of_the_news(
    heard: list[Member], rng: Any
) -> None:
    # nobody lives where another name did: then the order matters (lesson 11)
    heard = [replace(each, host=f"{each.host}.{each.name}") for each in heard]
    shuffled = list(heard)
    rng.shuffle(shuffled)
    sides = []
    for order in (heard, shuffled):
        # everybody is known before: a name is met only while it is alive
        side = Side()
        for place, name in enumerate("bcd", 1):
            side.merge(member(name, place, generation=0))
        for each in order:
            side.merge(each)
        sides.append({name: rank(known) for name, known in side.membership.members.items()})
    assert sides[0] == sides[1]


@given(st.lists(members, max_size=6))
def test_a_merge_that_is_no_news_changes_nothing_and_sends_nothing(heard: list[Member]) -> None:
    side = Side("b", "c", "d")
    for each in heard:
        side.merge(each)
    held, digest = dict(side.membership.members), side.membership.table.digest
    side.membership.changes.clear()
    while side.membership.dissemination.has_news:
        side.news()
    for each in heard:
        if each.state is not SUSPECT:
            side.merge(each)
    assert (side.membership.members, side.membership.table.digest, side.membership.changes) == (
        held,
        digest,
        [],
    )
    assert side.news() == []


@given(st.lists(members, max_size=8))
def test_a_member_never_goes_back_in_the_order(heard: list[Member]) -> None:
    side = Side("b", "c", "d")
    for each in heard:
        before = {name: rank(known) for name, known in side.membership.members.items()}
        side.merge(each)
        assert all(rank(record_of(side, name)) >= held for name, held in before.items())


def test_every_change_is_kept_once_with_old_and_new() -> None:
    side = Side()
    alive, dead = member("b", 1), member("b", 1, DEAD)
    for each in (alive, alive, dead, alive):
        side.merge(each)
    assert side.membership.changes == [(None, alive), (alive, dead)]


def test_a_name_that_is_met_dead_or_gone_stays_unknown() -> None:
    side = Side()
    for state in (DEAD, LEFT):
        side.merge(member("b", 1, state))
    side.merge(member("c", 1, host=""))
    assert list(side.membership.members) == ["me"]


def test_a_name_that_is_met_as_a_suspect_is_a_suspect() -> None:
    side = Side()
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    assert side.state("b") is SUSPECT
    assert [peer.name for peer in side.membership.reachable] == ["b"]


def test_lesson_29_a_flood_of_names_is_capped_and_counted() -> None:
    side = Side(members_max=10)
    for number in range(30):
        side.merge(member(f"n{number}", number + 1))
        if f"n{number}" in side.membership.members:
            side.prove(f"n{number}")
    assert len(side.membership.members) == 10
    assert side.membership.names_refused == 21
    # who is known is still heard of
    side.merge(member("n1", 2, DEAD))
    assert side.state("n1") is DEAD


def test_lesson_29_the_longest_gone_left_then_dead_name_makes_room_for_a_living_one() -> None:
    side = Side("b", "c", "d", "e", members_max=5)
    for name, state in (("b", DEAD), ("c", DEAD), ("d", LEFT), ("e", LEFT)):
        side.prove(name)
        side.merge(member(name, "bcde".index(name) + 1, state))
    for place, (new, gone) in enumerate((("f", "d"), ("g", "e"), ("h", "b"), ("i", "c")), 5):
        side.merge(member(new, place))
        side.prove(new)
        assert (side.state(new), side.state(gone)) == (ALIVE, None)
        assert len(side.membership.members) == 5
    # none is gone now
    side.merge(member("j", 9))
    assert side.state("j") is None
    assert side.membership.names_refused == 1


@pytest.mark.parametrize("state", [DEAD, LEFT])
def test_a_gone_member_is_forgotten_when_its_own_record_says_so(state: MemberState) -> None:
    side = Side(forget_after_s=100.0)
    for place, (name, forget_s) in enumerate((("b", 0), ("c", 20), ("d", 1000)), 1):
        side.merge(member(name, place, forget_s=forget_s))
        side.merge(member(name, place, state, forget_s=forget_s))
    for now_s, known in ((19.0, "bcd"), (22.0, "bd"), (102.0, "d"), (999.0, "d"), (1002.0, "")):
        side.tick(now_s)
        assert "".join(name for name in "bcd" if side.state(name) is not None) == known


def test_a_member_that_is_dead_for_long_does_not_make_the_others_forward() -> None:
    side = Side("b", "c", gossip_to_dead_s=30.0)
    table = side.membership.table
    assert table.is_whole
    side.merge(member("c", 2, DEAD))
    side.tick(1.0)
    assert not table.is_whole
    side.tick(29.0)
    assert not table.is_whole
    side.tick(32.0)
    assert table.is_whole
    assert side.state("c") is DEAD


def test_lesson_12_a_dead_member_is_forgotten_and_no_obituary_brings_it_back() -> None:
    side = Side("b", forget_after_s=100.0)
    side.merge(member("b", 1, DEAD))
    side.tick(99.0)
    assert side.state("b") is DEAD
    side.tick(102.0)
    assert side.state("b") is None
    assert side.membership.changes[-1] == (member("b", 1, DEAD), None)
    side.merge(member("b", 1, DEAD))
    side.merge(member("b", 1, LEFT))
    assert side.state("b") is None
    assert side.membership.table.dead() == []


# -- this node itself -----------------------------------------------------------------------------


def me_as(state: MemberState, generation: int = 0, incarnation: int = 0, site: int = 77) -> Member:
    return member(
        "me", 0, state, generation=WALL_MS + generation, incarnation=incarnation, site=site
    )


@pytest.mark.parametrize(
    ("heard", "generation", "incarnation"),
    [
        (me_as(SUSPECT), 0, 1),
        (me_as(SUSPECT, incarnation=7), 0, 8),
        (me_as(ALIVE, incarnation=7), 0, 8),
        (me_as(DEAD), 1, 0),
        (me_as(LEFT), 1, 0),
        (me_as(ALIVE, generation=5, site=9), 6, 0),
        (me_as(DEAD, generation=5, site=9), 6, 0),
        # no news, nothing to refute
        (me_as(ALIVE), 0, 0),
        (me_as(DEAD, generation=-5), 0, 0),
        (me_as(SUSPECT, generation=-5, incarnation=9), 0, 0),
    ],
)
def test_a_node_refutes_what_is_said_of_it_by_incarnation_and_its_death_by_generation(
    heard: Member, generation: int, incarnation: int
) -> None:
    side = Side("b")
    side.news()
    side.merge(heard)
    me = side.membership.me
    assert (me.state, me.generation, me.incarnation) == (ALIVE, WALL_MS + generation, incarnation)
    assert record_of(side, "me") == me
    if (generation, incarnation) != (0, 0):
        assert rank(me) > rank(heard)
        assert encode(me) in side.news()


def test_to_be_suspected_makes_a_node_doubt_itself_and_to_be_declared_dead_does_not() -> None:
    side = Side("b")
    side.merge(me_as(DEAD))
    assert side.membership.awareness.score == 0
    side.merge(me_as(SUSPECT, generation=1))
    assert side.membership.awareness.score == 1


def test_another_life_under_our_name_is_counted_as_a_conflict() -> None:
    side = Side()
    side.merge(me_as(ALIVE, generation=5, site=9))
    assert side.membership.conflicts == 1
    side.merge(me_as(DEAD, generation=20, site=9))
    assert side.membership.conflicts == 1


@pytest.mark.parametrize("field", ["generation", "incarnation"])
@pytest.mark.parametrize("state", [ALIVE, SUSPECT, DEAD])
def test_whatever_is_said_of_a_node_its_answer_can_be_said_and_heard(
    field: str, state: MemberState
) -> None:
    for most in (2**32 - 1, 2**32, 2**53, 2**62 - 1, 2**62, WALL_MS + 10 * 365 * 86_400_000):
        side, other = Side("b"), Side("me")
        heard = member("me", 0, state, **{"generation": WALL_MS, field: most}, site=77)
        side.merge(heard)
        other.merge(heard)
        other.now = Now(other.now.monotonic_s, other.now.wall_ms + 1000)
        other.merge(side.membership.me)
        assert (
            rank(record_of(other, "me")) == max(rank(side.membership.me), rank(member("me", 0)))
            or record_of(other, "me").reachable
        )


def test_lesson_30_a_node_without_an_address_takes_the_one_that_peers_see_and_tells_it() -> None:
    me = member("me", 0, host="", generation=WALL_MS)
    side = Side()
    side.membership = side.of(me)
    assert side.news() == []
    side.membership.observed_at("10.9.9.9", link_at("10.9.9.9"))
    assert (side.membership.me.host, side.membership.me.incarnation) == ("10.9.9.9", 1)
    assert side.news() == [encode(side.membership.me)]
    side.membership.observed_at("10.8.8.8", link_at("10.8.8.8"))
    assert side.membership.me.host == "10.9.9.9"


def test_who_leaves_says_so_and_refutes_nothing_any_more() -> None:
    side = Side("b")
    side.membership.leave()
    assert side.membership.me.state is LEFT
    side.merge(me_as(DEAD))
    side.merge(me_as(ALIVE, generation=5))
    assert side.membership.me == me_as(LEFT)
    assert side.news()[0] == encode(me_as(LEFT))


# -- suspicion ------------------------------------------------------------------------------------


def test_a_suspect_that_does_not_refute_is_dead_at_the_deadline_and_not_before() -> None:
    side = Side("b")
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.tick(3.999)
    assert side.state("b") is SUSPECT
    side.tick(4.0)
    assert record_of(side, "b") == member("b", 1, DEAD)


def test_a_suspect_that_refutes_is_alive_and_its_old_suspicion_never_ends_it() -> None:
    side = Side("b")
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.merge(member("b", 1, incarnation=1))
    side.merge(member("b", 1, SUSPECT, accuser="y"))
    side.tick(100.0)
    assert side.state("b") is not DEAD


def test_confirmations_by_others_end_a_suspicion_sooner_and_are_passed_on_once_each() -> None:
    side = Side("b", "c", "d", "e", "f")
    side.merge(member("b", 1, SUSPECT, accuser="v"))
    while side.membership.dissemination.has_news:
        side.news()
    passed: list[str] = []
    for accuser in "vwxxyz":
        side.merge(member("b", 1, SUSPECT, accuser=accuser))
        if side.membership.dissemination.has_news:
            passed.append(accuser)
            while side.membership.dissemination.has_news:
                assert side.news() == [encode(member("b", 1, SUSPECT, accuser=accuser))]
    assert passed == ["w", "x", "y"]
    side.tick(3.9)
    assert side.state("b") is SUSPECT
    side.tick(4.0)
    side.tick(4.0)
    assert side.state("b") is DEAD


def test_a_new_suspicion_of_the_next_incarnation_starts_its_time_again() -> None:
    side = Side("b")
    side.merge(member("b", 1, SUSPECT, accuser="x"))
    side.tick(3.0)
    side.merge(member("b", 1, SUSPECT, incarnation=1, accuser="x"))
    side.tick(6.9)
    assert side.state("b") is SUSPECT
    side.tick(7.1)
    assert side.state("b") is DEAD


# -- the dead -------------------------------------------------------------------------------------


GONE = [partial(replace, state=DEAD), partial(replace, state=LEFT), Prune.of]


@pytest.mark.parametrize("gone", GONE)
def test_a_member_that_a_stranger_calls_gone_is_back_after_one_round_trip(
    gone: Callable[[Member], Member | Prune],
) -> None:
    """Neither gossip nor a probe is due so soon."""
    net = Network()
    net.cluster("a b c", gossip_interval_s=10.0, probe_interval_s=20.0, probe_timeout_s=5.0)
    data = LAN.frame([encode(gone(net.replicas["c"].pools.lan.membership.me))])
    net.perform("a", net.replicas["a"].receive(data, STRANGER, net.now("a")))
    assert net.state("a", "c") is not ALIVE
    net.until(lambda: net.sees("a", "b", "c"), seconds=0.2)


@pytest.mark.parametrize("later", [0, 60_000])
@pytest.mark.parametrize("gone", GONE)
def test_a_member_that_has_refuted_a_word_is_asked_before_the_next_one_is_believed(
    gone: Callable[[Member], Member | Prune], later: int
) -> None:
    net = Network()
    net.cluster("a b c")
    for number in range(5):
        me = net.replicas["c"].pools.lan.membership.me
        word = gone(replace(me, generation=me.generation + later))
        net.perform(
            "a", net.replicas["a"].receive(LAN.frame([encode(word)]), STRANGER, net.now("a"))
        )
        assert (net.state("a", "c") is ALIVE) is (number > 0)
        net.until(lambda: net.sees("a", "b", "c"), seconds=0.2)


def wary_of_b(*others: str) -> Side:
    """b was called gone, and has come back."""
    side = Side("b", *others)
    hears(side, member("b", 1, LEFT))
    side.merge(member("b", 1, generation=2))
    side.now = at(5.0)
    return side


def hears(side: Side, word: Member, source: Address = STRANGER) -> list[Sent]:
    before = len(side.sent)
    side.membership.on_member(word, Arrival(source, side.now, False))
    return side.sent[before:]


def test_a_word_that_its_member_does_not_answer_twice_is_believed() -> None:
    side = wary_of_b()
    word = member("b", 1, LEFT, generation=2)
    ping, passed_on = (sent.message for sent in hears(side, word))
    assert isinstance(ping, Ping)
    assert passed_on == word
    side.tick(5.0 + 0.4)
    assert side.state("b") is ALIVE
    again = [sent for sent in side.tick(5.0 + 0.5) if sent.message == ping]
    assert [sent.reliable for sent in again] == [False, True]
    assert side.state("b") is ALIVE
    side.tick(5.0 + 1.0)
    assert side.state("b") is LEFT


def test_of_one_that_has_just_answered_no_word_is_believed_and_nobody_asks_again() -> None:
    side = wary_of_b()
    word = member("b", 1, DEAD, generation=2)
    ping = hears(side, word)[0].message
    assert isinstance(ping, Ping)
    side.membership.obituaries.answered(Ack(ping.sequence, "b", 0, 0, SyncState.SETTLED), side.now)
    assert [sent.message for sent in hears(side, word)] == [word]
    side.tick(60.0)
    assert side.state("b") is not DEAD


def test_what_a_member_says_of_itself_is_believed_at_once() -> None:
    side = wary_of_b()
    assert hears(side, member("b", 1, LEFT, generation=2), address_of(1)) == []
    assert side.state("b") is LEFT


def test_a_minute_after_it_has_refuted_a_member_is_believed_to_be_gone_again() -> None:
    side = wary_of_b()
    side.now = at(61.0)
    hears(side, member("b", 1, LEFT, generation=2))
    assert side.state("b") is LEFT


def test_who_calls_this_node_gone_hears_that_it_lives_and_who_only_suspects_it_does_not() -> None:
    side = Side("b")
    assert hears(side, replace(side.membership.me, state=SUSPECT), address_of(1)) == []
    for _ in range(2):  # it may have heard of the next life, and have missed it
        (answer,) = hears(side, member("me", 0, LEFT, generation=WALL_MS, site=77), address_of(1))
        assert answer == (side.membership.me, address_of(1), False)
    assert side.membership.me.generation == WALL_MS + 1


def test_a_stranger_that_calls_a_node_gone_gets_no_more_than_it_has_sent() -> None:
    net = Network()
    net.cluster("a b")
    data = LAN.frame([encode(Prune.of(net.replicas["a"].pools.lan.membership.me))])
    found = sends(net.replicas["a"].receive(data, STRANGER, net.now("a")))
    assert sum(len(sent.data) for sent in found if sent.to == STRANGER) <= len(data)


def test_who_leaves_hears_nothing_of_it_where_it_says_so_itself() -> None:
    net = Network()
    net.cluster("a b")
    left = replace(net.replicas["b"].pools.lan.membership.me, state=MemberState.LEFT)
    data = LAN.frame([encode(left)])
    assert sends(net.replicas["a"].receive(data, address_of(1), net.now("a"))) == []
    assert net.state("a", "b") is MemberState.LEFT


def test_gossip_goes_to_the_dead_for_a_while_so_that_they_can_refute() -> None:
    side = Side("b", "c", gossip_to_dead_s=30.0)
    side.merge(member("b", 1, DEAD))
    assert {peer.name for peer in side.membership.gossip_targets(3, at(29.9))} == {"b", "c"}
    assert {peer.name for peer in side.membership.gossip_targets(3, at(30.1))} == {"c"}
