"""Operator guards: whom a node blocks is not there for it, who is forced to leave stays away, and
who is pruned is forgotten by all."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.errors import ConfigError, NotFoundError, StillAliveError
from kvgossip.protocol.effect import JoinRefused
from kvgossip.protocol.ingress.blocklist import SOURCES_MAX, TARGETS_MAX, Blocklist
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.wire.message import (
    Ack,
    Fetch,
    Gossip,
    Join,
    JoinReply,
    Nack,
    Ping,
    Prune,
    Pull,
)
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    STRANGER,
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


def block(net: Network, names: str, *targets: str) -> None:
    for name in names.split():
        for target in targets:
            net.perform(name, net.replicas[name].block(target, net.now(name)))


def unblock(net: Network, names: str, *targets: str) -> None:
    for name in names.split():
        for target in targets:
            net.perform(name, net.replicas[name].unblock(target, net.now(name)))


def force_leave(net: Network, name: str, of: str, *, prune: bool = False) -> None:
    net.perform(name, net.replicas[name].force_leave(of, net.now(name), prune=prune))


def names_known(net: Network, name: str) -> str:
    return " ".join(known.name for known in net.replicas[name].members())


# -- what is covered -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "listed", "host", "covered"),
    [
        ("10.2.0.0/16", "10.2.0.0/16", "10.2.9.9", True),
        ("10.2.0.0/16", "10.2.0.0/16", "10.3.0.1", False),
        ("10.2.3.4/16", "10.2.0.0/16", "10.2.9.9", True),
        ("10.2.0.9", "10.2.0.9/32", "10.2.0.9", True),
        ("2001:db8::/32", "2001:db8::/32", "2001:db8::7", True),
        ("2001:db8::/32", "2001:db8::/32", "10.2.0.9", False),
        ("0.0.0.0/0", "0.0.0.0/0", "a.example", False),
    ],
)
def test_a_network_covers_its_addresses_of_any_port(
    target: str, listed: str, host: str, covered: bool
) -> None:
    blocklist = Blocklist()
    assert blocklist.add(target) == listed
    assert blocklist.targets() == [listed]
    assert blocklist.covers_address(Address(host, 1)) is covered
    assert blocklist.covers(member("b", host=host)) is covered


def test_a_name_covers_its_member_and_the_sources_that_spoke_under_it_and_no_others() -> None:
    blocklist = Blocklist()
    blocklist.add("b")
    assert blocklist.covers(member("b", 1))
    assert not blocklist.covers(member("c", 1))
    assert blocklist.admitted([Gossip(1, "b")], STRANGER) is None
    assert blocklist.covers_address(STRANGER)
    blocklist.remove("b")
    assert not blocklist
    assert not blocklist.covers_address(STRANGER)


def test_an_ack_that_a_helper_passed_on_is_worth_nothing_and_the_helper_is_innocent() -> None:
    blocklist = Blocklist()
    blocklist.add("b")
    assert blocklist.admitted([Ack(1, "b", 0, 0, SyncState.SETTLED), Nack(1)], STRANGER) == [
        Nack(1)
    ]
    assert not blocklist.covers_address(STRANGER)


@pytest.mark.parametrize("target", ["", "a b", "10.2.0.0/64", "-x", "10.2.0.9:7481"])
def test_what_is_neither_a_name_nor_a_network_is_refused_with_examples(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Blocklist().add(target)
    assert "10.2.0.0/16" in caught.value.hint


def test_what_is_not_blocked_cannot_be_unblocked() -> None:
    for target in ("b", "10.0.0.0/8"):
        with pytest.raises(NotFoundError, match="is not blocked"):
            Blocklist().remove(target)


def test_blocks_and_what_they_remember_are_bounded() -> None:
    blocklist = Blocklist()
    for number in range(TARGETS_MAX):
        blocklist.add(f"n{number}")
    with pytest.raises(ConfigError, match="already"):
        blocklist.add("one-more")
    for port in range(SOURCES_MAX + 10):
        blocklist.learn(Address("10.0.0.1", port), "n1")
    assert not blocklist.covers_address(Address("10.0.0.1", 9))
    assert blocklist.covers_address(Address("10.0.0.1", 10))


# -- a node and whom it blocks -------------------------------------------------------------------


@pytest.mark.parametrize("reliable", [False, True])
@pytest.mark.parametrize(
    "unit",
    [encode(Ping(1, "b", "a", 0, 0, SyncState.SETTLED)), encode(Pull("b")), encode(Join("b", 2))],
    ids=["ping", "pull", "join"],
)
def test_a_frame_that_a_blocked_name_has_written_is_dropped_whole_and_counted(
    unit: bytes, reliable: bool
) -> None:
    a = make_replica("a")
    a.block("b", at())
    receive = partial(a.receive, reliable=reliable)
    assert sends(receive(LAN.frame([unit, encode(member("d", 3))]), STRANGER, at())) == []
    # its source is known from now on, so that what does not name its author is dropped as well
    assert sends(receive(LAN.frame([encode(Fetch(("k",)))]), STRANGER, at())) == []
    assert a.statistics()["frames_dropped.blocked"] == 2
    assert [known.name for known in a.members()] == ["a"]


def test_nothing_is_sent_to_a_blocked_member_not_even_a_write() -> None:
    net = Network()
    net.cluster("a b c")
    block(net, "a", "b")
    sent: list[str] = []
    net.watch = lambda frm, to, effect: sent.append(to) if frm == "a" else None
    net.put("a", "k", b"v")
    net.run(60.0)
    assert "b" not in sent
    assert "c" in sent


def test_a_block_by_one_node_is_no_news_for_the_others_and_nobody_flaps() -> None:
    net = Network()
    net.cluster("a b c d e")
    block(net, "a", "b")
    marks = {name: len(net.effects[name]) for name in net.replicas}
    net.run(120.0)
    assert net.sees("c", "a", "b", "d", "e")
    assert net.replicas["b"].member.incarnation == 0
    for name, mark in marks.items():
        net.effects[name] = net.effects[name][mark:]
    assert net.state_changes("c", "b") == []
    assert net.state_changes("a", "b") == []


def test_a_blocked_member_comes_back_when_it_is_unblocked_also_after_a_restart() -> None:
    net = Network()
    net.cluster("a b c")
    block(net, "a", "b")
    net.crash("b")
    net.add("b", 7, join=(str(address_of(2)),))
    net.until(lambda: net.sees("c", "a", "b"))
    net.run(10.0)
    net.put("b", "k", b"v")
    net.run(1.0)
    assert net.replicas["a"].store.value("k") == b"v"  # by c, who is not blocked
    unblock(net, "a", "b")
    net.until(
        lambda: (
            next(known for known in net.replicas["a"].members() if known.name == "b").address
            == address_of(7)
        )
    )


def test_a_blocked_suspect_is_not_declared_dead_and_its_time_starts_again_afterwards() -> None:
    net = Network()
    net.cluster("a b")
    accused = replace(net.replicas["b"].member, state=SUSPECT, accuser="x")
    net.crash("b")
    net.perform(
        "a", net.replicas["a"].receive(LAN.frame([encode(accused)]), STRANGER, net.now("a"))
    )
    block(net, "a", "b")
    net.run(60.0)
    assert net.state("a", "b") is SUSPECT
    unblock(net, "a", "b")
    net.until(lambda: net.state("a", "b") is DEAD)


def test_a_join_to_a_blocked_address_says_so() -> None:
    net = Network()
    net.cluster("a b")
    block(net, "a", "10.0.0.0/8")
    net.join("a", str(address_of(1)))
    net.run(0.1)
    (refusal,) = [effect for effect in net.effects["a"] if isinstance(effect, JoinRefused)]
    assert "is blocked on this node" in refusal.text


def test_a_node_cannot_block_itself() -> None:
    with pytest.raises(ConfigError, match="is this node itself"):
        make_replica("a").block("a", at())


# -- who is forced to leave ----------------------------------------------------------------------


def test_a_dead_member_that_is_forced_to_leave_has_left_everywhere_for_good() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("c")
    net.until(lambda: net.state("a", "c") is net.state("b", "c") is DEAD)
    force_leave(net, "a", "c")
    net.until(lambda: net.state("a", "c") is net.state("b", "c") is LEFT, seconds=5.0)
    net.run(2.0)  # the probe that is under way ends
    tried: list[Address] = []
    net.watch = lambda frm, to, effect: tried.append(effect.to)
    net.run(60.0)
    assert address_of(2) not in tried


def test_a_member_that_was_forced_to_leave_and_lives_comes_back_with_a_new_generation() -> None:
    net = Network()
    net.cluster("a b c")
    block(net, "a", "c")
    force_leave(net, "a", "c")
    unblock(net, "a", "c")
    net.until(lambda: net.sees("a", "b", "c") and net.sees("b", "a", "c"))


def test_who_answers_probes_is_not_forced_to_leave_unless_it_is_blocked() -> None:
    net = Network()
    net.cluster("a b")
    for name in "ab":
        with pytest.raises(StillAliveError) as caught:
            force_leave(net, "a", name)
        assert caught.value.hint
    with pytest.raises(NotFoundError, match="no member is named 'z'"):
        force_leave(net, "a", "z")
    block(net, "a", "b")
    force_leave(net, "a", "b")
    assert net.state("a", "b") is LEFT


# -- who is pruned -------------------------------------------------------------------------------


def test_lesson_12_a_ghost_pruned_on_one_node_is_forgotten_by_all_for_good() -> None:
    net = Network()
    net.cluster("a b c d")
    ghost = net.replicas["d"].member
    net.crash("d")
    net.until(lambda: net.state("a", "d") is DEAD)
    force_leave(net, "a", "d", prune=True)
    net.until(lambda: all(names_known(net, name) == "a b c" for name in "abc"), seconds=5.0)
    # somebody who was away tells of it
    net.perform("b", net.replicas["b"].receive(LAN.frame([encode(ghost)]), STRANGER, net.now("b")))
    assert names_known(net, "b") == "a b c"
    net.run(60.0)
    assert all(names_known(net, name) == "a b c" for name in "abc")


def test_a_peer_that_sends_a_pruned_life_hears_that_it_is_pruned() -> None:
    a = make_replica("a")
    b = member("b", 1)
    for message in (b, member("c", 2), Prune.of(b), b):
        a.receive(LAN.frame([encode(message)]), STRANGER, at())
    answer = a.receive(
        LAN.frame([encode(Ping(1, "c", "a", 0, 0, SyncState.SETTLED))]), prove(a, "c"), at()
    )
    assert (address_of(2), Prune.of(b)) in told(LAN, answer)


@pytest.mark.parametrize("reliable", [False, True])
def test_whoever_tells_of_a_buried_life_is_told_so_itself(reliable: bool) -> None:
    a = make_replica("a")
    b = member("b", 1)
    for message in (b, Prune.of(b)):
        a.receive(LAN.frame([encode(message)]), STRANGER, at())
    answer = a.receive(LAN.frame([encode(b)]), STRANGER, at(), reliable=reliable)
    assert (STRANGER, Prune.of(b)) in told(LAN, answer)
    assert [sent.reliable for sent in sends(answer)] == [reliable]
    # not of what is buried: that b has left, or lives again
    for other in (replace(b, state=LEFT), replace(b, generation=2)):
        assert not told(LAN, a.receive(LAN.frame([encode(other)]), STRANGER, at()))


def test_a_join_with_a_buried_life_is_answered_with_the_prune_before_the_reply() -> None:
    a = make_replica("a")
    b = member("b", 1)
    for message in (b, Prune.of(b)):
        a.receive(LAN.frame([encode(message)]), STRANGER, at())
    join = [encode(Join(b.name, b.site)), encode(b)]
    answer = told(LAN, a.receive(LAN.frame(join), address_of(1), at(), reliable=True))
    assert [type(message) for _, message in answer[:2]] == [Prune, JoinReply]


@pytest.mark.parametrize("cut_s", [0.5, 8.0, 100.0])
def test_lesson_12_a_living_node_that_was_pruned_while_it_was_cut_off_is_a_member_again(
    cut_s: float,
) -> None:
    net = Network()
    net.cluster("a b c", push_pull_interval_s=3600.0)
    net.partition("a b", "c")
    net.until(lambda: net.state("a", "c") is net.state("b", "c") is DEAD)
    force_leave(net, "a", "c", prune=True)
    net.until(lambda: names_known(net, "a") == names_known(net, "b") == "a b")
    net.run(cut_s)
    net.heal()
    everybody = [("a", "b", "c"), ("b", "a", "c"), ("c", "a", "b")]
    net.until(lambda: all(net.sees(*names) for names in everybody), seconds=20.0)


def test_an_ack_of_a_stranger_is_answered_with_the_own_record_only_where_the_member_lives() -> None:
    a = make_replica("a")
    a.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    ack = Ack(1, "b", 0, 0, SyncState.SETTLED, stranger=True)
    assert told(LAN, a.receive(LAN.frame([encode(ack)]), address_of(1), at())) == []
    prove(a, "b")
    answer = a.receive(LAN.frame([encode(ack)]), address_of(1), at())
    assert (address_of(1), a.member) in told(LAN, answer)
    assert told(LAN, a.receive(LAN.frame([encode(ack)]), STRANGER, at())) == []
    known = a.receive(LAN.frame([encode(replace(ack, stranger=False))]), address_of(1), at())
    assert told(LAN, known) == []


def test_a_pruned_name_that_starts_again_is_welcome() -> None:
    net = Network()
    net.cluster("a b c")
    net.crash("c")
    net.until(lambda: net.state("a", "c") is DEAD)
    force_leave(net, "a", "c", prune=True)
    net.run(5.0)
    net.add("c", 2, join=(SEED,))
    net.until(lambda: net.sees("a", "b", "c") and net.sees("b", "a", "c"))


def test_who_is_pruned_and_lives_refutes() -> None:
    a = make_replica("a")
    generation = a.member.generation
    a.receive(LAN.frame([encode(Prune.of(a.member))]), STRANGER, at(1))
    assert a.member.generation == generation + 1


@pytest.mark.parametrize("generation", [0, 2**62])
def test_a_prune_of_an_older_life_or_of_one_that_cannot_be_changes_nothing(generation: int) -> None:
    a = make_replica("a")
    a.receive(LAN.frame([encode(member("b", 1))]), STRANGER, at())
    a.receive(LAN.frame([encode(Prune.of(member("b", 1, generation=generation)))]), STRANGER, at())
    assert [known.name for known in a.members()] == ["a", "b"]


# -- two pools that were mixed -------------------------------------------------------------------


@pytest.mark.parametrize("by", ["name", "network"])
def test_lesson_12_and_15_two_pools_that_were_mixed_are_untangled_and_stay_apart(by: str) -> None:
    """The accident of consul, loki and tempo: two clusters of one name, joined by mistake; and the
    operator's way out of it."""
    net = Network()
    net.cluster("a1 a2 a3")
    net.add("b1", 10)
    for place, name in enumerate(("b2", "b3"), 11):
        net.add(name, place, join=(str(address_of(10)),))
    net.until(lambda: net.sees("b1", "b2", "b3") and net.sees("a1", "a2", "a3"))
    net.join("b2", SEED, merge=True)
    ours, theirs = "a1 a2 a3", "b1 b2 b3"
    net.until(
        lambda: all(
            net.sees(name, *f"{ours} {theirs}".replace(name, "").split())
            for name in f"{ours} {theirs}".split()
        )
    )

    # places 0 to 2 are 10.0.0.1 to 10.0.0.3, places 10 to 12 are 10.0.0.11 to 10.0.0.13
    block(net, ours, *(theirs.split() if by == "name" else ["10.0.0.8/29"]))
    block(net, theirs, *(ours.split() if by == "name" else ["10.0.0.0/29"]))
    for name in theirs.split():
        force_leave(net, "a1", name, prune=True)
    for name in ours.split():
        force_leave(net, "b3", name, prune=True)
    net.run(10.0)
    for side in (ours, theirs):
        assert all(names_known(net, name) == side for name in side.split())
    # also when everybody listens to everybody again
    for name in net.replicas:
        unblock(net, name, *net.replicas[name].blocklist.targets())
    net.put("a1", "only", b"ours")
    net.run(120.0)
    for side in (ours, theirs):
        assert all(names_known(net, name) == side for name in side.split())
    assert net.replicas["a3"].store.value("only") == b"ours"
    assert net.replicas["b3"].store.value("only") is None
