"""Settling: nobody answers as the truth what others may know better."""

from __future__ import annotations

import math

import pytest

from kvgossip.protocol.acks.write_concern import Scope, WriteConcern
from kvgossip.protocol.effect import Effect, WriteConcernEnded
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.readiness import NOT_SETTLED
from kvgossip.protocol.saved_state import SELF, SavedState
from kvgossip.protocol.settling import FRESH_FACTOR, KEPT_EVERY_MS
from tests.protocol.net import Disk, Network, address_of, at, make_replica

LAN_S = 2.0
EVERYBODY = tuple(str(address_of(place)) for place in range(5))
SEEDS = EVERYBODY[:2]
CONCERNS = (
    WriteConcern(Scope.MAJORITY),
    WriteConcern(Scope.ALL),
    WriteConcern(Scope.ANY, 2),
    WriteConcern(Scope.EACH_ZONE, 1),
)


def everybody(net: Network, names: str) -> None:
    """All join the addresses of all."""
    places = {name: place for place, name in enumerate(names.split())}
    join = EVERYBODY[: len(places)]
    for name, place in places.items():
        net.add(name, place, join=join)
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    net.until(lambda: all(net.sees(name, *places) for name in places))


def ends(effects: list[Effect]) -> list[WriteConcernEnded]:
    return [effect for effect in effects if isinstance(effect, WriteConcernEnded)]


def wait(net: Network, name: str, concern: WriteConcern, timeout_s: float = 5.0) -> int:
    """A write that is waited for; its ticket."""
    ticket = len(net.effects[name])
    net.put(name, "k", b"v")
    effects = net.replicas[name].wait(ticket, "k", concern, timeout_s, net.now(name))
    net.perform(name, effects)
    return ticket


def end_of(net: Network, name: str, ticket: int) -> WriteConcernEnded | None:
    return next((end for end in ends(net.effects[name]) if end.ticket == ticket), None)


# -- who founds a cluster ------------------------------------------------------------------------


def test_a_node_that_knows_nobody_waits_for_somebody_who_knew_it_before_it_founds_a_cluster() -> (
    None
):
    replica = make_replica("a", founding_s=LAN_S)
    replica.tick(at())
    assert not replica.settled
    replica.tick(at(LAN_S - 0.001))
    assert not replica.settled
    replica.tick(at(LAN_S))
    assert replica.settled
    assert replica.settling.deadline() == math.inf


def test_an_operator_says_that_there_is_nobody() -> None:
    assert make_replica("a", founding_s=LAN_S, found=True).settled
    assert make_replica("a", founding_s=LAN_S, found=True, join=EVERYBODY).settled


def test_lesson_16_a_founder_that_restarts_empty_answers_nothing_before_it_has_the_data_of_the_others() -> (
    None
):
    net = Network()
    net.cluster("a b c")
    net.put("b", "key", b"1")
    net.until(net.converged)
    net.crash("a")
    back = net.add("a", 0, founding_s=LAN_S)
    net.until(lambda: back.settled)
    assert back.store.value("key") == b"1"


def test_a_founder_that_is_known_to_somebody_does_not_found_a_cluster_while_it_waits_for_the_data() -> (
    None
):
    net = Network()
    net.cluster("a b")
    net.put("b", "key", b"1")
    net.until(net.converged)
    net.crash("a")
    # datagrams pass, links do not: nothing is exchanged
    net.passes = lambda frm, to, reliable: not reliable
    back = net.add("a", 0, founding_s=LAN_S)
    net.run(10.0)
    assert not back.settled
    net.passes = lambda frm, to, reliable: True
    net.until(lambda: back.settled)
    assert back.store.value("key") == b"1"


def test_lesson_16_seeds_that_restart_together_while_the_others_are_cut_off_wait_for_them() -> None:
    net = Network()
    for place, name in enumerate("abcde"):
        net.add(name, place, join=SEEDS)
    net.until(lambda: all(net.sees(name, *"abcde") for name in "abcde"))
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    net.put("e", "key", b"1")
    net.until(net.converged)
    net.partition("a b", "c d e")
    for name in ("a", "b"):
        net.crash(name)
    seeds = [net.add(name, place, join=SEEDS, founding_s=LAN_S) for place, name in enumerate("ab")]
    net.run(15.0)
    assert not any(seed.settled for seed in seeds)
    net.heal()
    net.until(lambda: all(seed.settled for seed in seeds), FRESH_FACTOR * LAN_S - 15.0)
    assert all(seed.store.value("key") == b"1" for seed in seeds)


def test_a_new_cluster_settles_together_after_a_while() -> None:
    net = Network()
    for place, name in enumerate("abc"):
        net.add(name, place, join=EVERYBODY[:3], founding_s=LAN_S)
    took_s = net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    assert took_s == pytest.approx(FRESH_FACTOR * LAN_S, abs=1.0)


# -- a node with a disk --------------------------------------------------------------------------


def test_lesson_17_a_node_that_comes_back_with_its_disk_is_stale_until_its_first_exchange() -> None:
    net = Network()
    net.disks = {name: Disk() for name in "abc"}
    everybody(net, "a b c")
    net.put("a", "old", b"1")
    net.until(net.converged)
    net.crash("c")
    net.put("a", "missed", b"2")
    net.run(1.0)
    back = net.add("c", 2, join=EVERYBODY[:3])
    assert back.settling.stale
    assert back.settling.stale_s(net.now("c")) == pytest.approx(1.0, abs=1.0)
    assert back.settling.sync_state is SyncState.WAITING
    net.until(lambda: back.settled)
    assert back.store.value("missed") == b"2"
    assert back.settling.stale_s(net.now("c")) is None


def test_it_is_not_ready_while_somebody_is_reached_and_ready_while_nobody_is() -> None:
    net = Network()
    net.disks = {name: Disk() for name in "ab"}
    everybody(net, "a b")
    for name in ("a", "b"):
        net.crash(name)
    back = net.add("b", 1, join=EVERYBODY[:2])
    net.run(5.0)
    assert back.readiness.reasons(net.now("b")) == []
    assert not back.settled
    # nothing is exchanged by datagrams
    net.passes = lambda frm, to, reliable: not reliable
    net.add("a", 0, join=EVERYBODY[:2])
    back.pools.lan.membership.merge(net.replicas["a"].member, net.now("b"))
    assert [reason.code for reason in back.readiness.reasons(net.now("b"))] == [NOT_SETTLED]
    net.passes = lambda frm, to, reliable: True
    net.until(lambda: all(replica.settled for replica in net.replicas.values()))


def test_nodes_that_all_restart_with_their_disks_settle_each_other() -> None:
    net = Network()
    net.disks = {name: Disk() for name in "abc"}
    everybody(net, "a b c")
    net.put("a", "key", b"1")
    net.until(net.converged)
    for name in "abc":
        net.crash(name)
    for place, name in enumerate("abc"):
        net.add(name, place, join=EVERYBODY[:3])
    net.until(lambda: all(replica.settled for replica in net.replicas.values()), 10.0)


def test_a_lone_node_with_a_disk_that_never_knew_anybody_is_settled_at_once() -> None:
    net = Network()
    net.disks = {"a": Disk()}
    net.add("a", 0)
    net.crash("a")
    assert net.add("a", 0, founding_s=LAN_S).settled


def founder_that_ended_before_it_settled(net: Network) -> None:
    """`b` joins `a`, which knows it by now, and both have a disk."""
    net.disks = {name: Disk() for name in "ab"}
    net.add("a", 0, founding_s=LAN_S)
    net.add("b", 1, join=EVERYBODY[:1], founding_s=LAN_S)
    net.until(lambda: net.sees("a", "b") and net.sees("b", "a"))
    assert not net.replicas["a"].settled
    net.crash("a")


def test_a_founder_that_ended_before_it_settled_founds_the_cluster_with_those_who_wait_for_it() -> (
    None
):
    net = Network()
    founder_that_ended_before_it_settled(net)
    net.add("a", 0, founding_s=LAN_S)
    took_s = net.until(lambda: all(replica.settled for replica in net.replicas.values()))
    assert took_s >= FRESH_FACTOR * LAN_S - LAN_S


def test_it_waits_for_the_data_of_a_member_that_settled_meanwhile() -> None:
    net = Network()
    founder_that_ended_before_it_settled(net)
    other = net.replicas["b"]
    other.settling.settle()
    net.put("b", "key", b"1")
    net.passes = lambda frm, to, reliable: not reliable
    back = net.add("a", 0, founding_s=LAN_S)
    net.run(2 * FRESH_FACTOR * LAN_S)
    assert not back.settled
    net.passes = lambda frm, to, reliable: True
    net.until(lambda: back.settled)
    assert back.store.value("key") == b"1"


def test_it_founds_nothing_while_nobody_is_there() -> None:
    net = Network()
    founder_that_ended_before_it_settled(net)
    net.crash("b")
    back = net.add("a", 0, founding_s=LAN_S)
    net.run(2 * FRESH_FACTOR * LAN_S)
    assert not back.settled


def test_an_exchange_in_which_something_was_refused_settles_nobody() -> None:
    replica = make_replica("a", join=EVERYBODY)
    replica.settling.exchanged(Peer(PoolKind.LAN, "b"), SyncState.SETTLED, at(), refused=True)
    assert not replica.settled
    replica.settling.exchanged(Peer(PoolKind.LAN, "b"), SyncState.SETTLED, at())
    assert replica.settled


# -- how old the data of a disk is ---------------------------------------------------------------


def test_the_data_of_a_disk_is_as_old_as_the_last_exchange_of_a_life_on_it() -> None:
    net = Network()
    net.disks = {name: Disk() for name in "abc"}
    everybody(net, "a b c")
    net.put("a", "key", b"1")
    net.until(net.converged)
    # nothing is written any more
    net.run(600.0)
    net.crash("c")
    net.passes = lambda frm, to, reliable: False
    net.run(100.0)
    for _ in range(2):
        # the second of these lives has met nobody either
        back = net.add("c", 2, join=EVERYBODY[:3])
        net.run(10.0)
        stale_s = back.settling.stale_s(net.now("c"))
        assert stale_s is not None
        assert 100.0 <= stale_s <= 100.0 + 1.5 * back.config.push_pull_interval_s + 20.0
        net.crash("c")


def test_an_exchange_in_which_nothing_is_new_comes_to_the_disk_now_and_then() -> None:
    replica = make_replica("a", join=EVERYBODY)
    peer = Peer(PoolKind.LAN, "b")

    def facts_after(seconds: float) -> list[int]:
        """The wall times that are to be kept after an exchange at this time."""
        replica.settling.exchanged(peer, SyncState.SETTLED, at(seconds))
        kept = [effect for effect in replica.outbox.drain() if isinstance(effect, Persist)]
        return [
            SavedState({effect.key: effect.value or b""}).own.exchanged_ms
            for effect in kept
            if effect.key == SELF
        ]

    assert facts_after(0.0)[-1] == at(0.0).wall_ms
    assert facts_after(KEPT_EVERY_MS / 1000 - 1.0) == []
    assert facts_after(KEPT_EVERY_MS / 1000) == [at(KEPT_EVERY_MS / 1000).wall_ms]
    assert facts_after(0.0) == [at(0.0).wall_ms], "the clock was set back"


def test_the_data_of_a_disk_of_a_node_that_never_exchanged_is_as_old_as_its_last_write() -> None:
    net = Network()
    net.disks = {"a": Disk()}
    net.add("a", 0)
    net.run(50.0)
    net.put("a", "key", b"1")
    net.run(30.0)
    net.crash("a")
    back = net.add("a", 0, join=EVERYBODY[:2])
    assert back.settling.stale_s(net.now("a")) == pytest.approx(30.0, abs=1.0)


# -- waits after a start -------------------------------------------------------------------------


@pytest.mark.parametrize("concern", CONCERNS, ids=str)
@pytest.mark.parametrize("durable", [True, False], ids=["disk", "memory"])
def test_lesson_18_a_life_that_has_met_nobody_is_no_majority(
    concern: WriteConcern, durable: bool
) -> None:
    net = Network()
    if durable:
        net.disks = {name: Disk() for name in "abcde"}
    everybody(net, "a b c d e")
    net.partition("a", "b c d e")
    net.crash("a")
    net.add("a", 0, join=EVERYBODY)
    net.run(3.0)
    ticket = wait(net, "a", concern)
    net.run(6.0)
    end = end_of(net, "a", ticket)
    assert end is not None
    assert (end.met, [peer.name for peer in end.held_by]) == (False, ["a"])
    names = [*"bcde"] if durable else []
    lacking = [each.peer.name for each in end.lacking]
    assert set(names) <= set(lacking)
    assert set(EVERYBODY[1:]) <= set(lacking)
    assert {each.state for each in end.lacking} == {None}


def test_lesson_18_two_of_five_that_restart_and_settle_each_other_are_no_majority() -> None:
    net = Network()
    net.disks = {name: Disk() for name in "abcde"}
    everybody(net, "a b c d e")
    net.partition("a b", "c d e")
    for place, name in enumerate("ab"):
        net.crash(name)
        net.add(name, place, join=EVERYBODY)
    net.until(lambda: net.replicas["a"].settled and net.replicas["b"].settled, seconds=60.0)
    ticket = wait(net, "a", WriteConcern(Scope.MAJORITY))
    net.run(6.0)
    end = end_of(net, "a", ticket)
    assert end is not None
    assert (end.met, sorted(peer.name for peer in end.held_by)) == (False, ["a", "b"])
    assert sorted(each.peer.name for each in end.lacking) == ["c", "d", "e"]


def test_one_holder_is_enough_where_one_is_asked_for() -> None:
    net = Network()
    net.add("a", 0, join=EVERYBODY)
    ticket = wait(net, "a", WriteConcern(Scope.ANY, 1))
    end = end_of(net, "a", ticket)
    assert end is not None
    assert end.met


@pytest.mark.parametrize("concern", CONCERNS[:2], ids=str)
def test_a_wait_that_began_before_its_node_has_settled_is_met_by_the_members_that_it_knows_then(
    concern: WriteConcern,
) -> None:
    net = Network(delay_s=0.04)
    net.disks = {name: Disk() for name in "abc"}
    everybody(net, "a b c")
    net.crash("a")
    net.add("a", 0, join=EVERYBODY[:3])
    ticket = wait(net, "a", concern)
    net.run(5.0)
    end = end_of(net, "a", ticket)
    assert end is not None
    assert end.met
    assert len(end.held_by) >= (2 if concern.scope is Scope.MAJORITY else 3)


def test_where_too_few_are_alive_when_a_node_settles_a_wait_for_more_is_not_met() -> None:
    net = Network()
    net.cluster("a b")
    net.crash("b")
    net.add("b", 1, join=EVERYBODY[:1])
    ticket = wait(net, "b", WriteConcern(Scope.ANY, 3))
    net.run(6.0)
    end = end_of(net, "b", ticket)
    assert end is not None
    assert net.replicas["b"].settled
    assert not end.met
    assert {each.state for each in end.lacking} <= {MemberState.ALIVE, None}
