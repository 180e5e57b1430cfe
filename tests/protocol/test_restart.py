"""Restarts on a disk, on the pure machine: who comes back is a later life of the same node, with
its data, and finds its peers."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.config import Address
from kvgossip.errors import ClockAheadError, RemoteError
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.readiness import NOT_SETTLED
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.saved_state import SavedLife, SavedPeer, SavedState, peer_fact
from tests.protocol.net import (
    LAN,
    STRANGER,
    WALL_MS,
    Disk,
    Network,
    address_of,
    at,
    changed,
    logs,
    make_replica,
    member,
    record,
    version,
)

SEED = (str(address_of(0)),)


def durable(names: str) -> Network:
    """A settled cluster whose nodes have disks."""
    net = Network()
    net.disks = {name: Disk() for name in names.split()}
    net.cluster(names)
    return net


def restarted(disk: Disk, wall_ms: int, **config: Any) -> Replica:
    replica = make_replica(
        "a", now=at()._replace(wall_ms=wall_ms), seed=1, saved=disk.facts, **config
    )
    replica.load(list(disk.records.items()))
    return replica


def test_what_was_written_is_there_after_a_restart_and_is_no_news() -> None:
    net = durable("a")
    net.put("a", "kept", b"1")
    net.put("a", "gone", b"2")
    net.delete("a", "gone")
    root = net.replicas["a"].store.digest.root
    net.crash("a")
    told = len(net.effects["a"])
    back = net.add("a", 0)
    assert (back.store.value("kept"), back.store.value("gone"), back.store.digest.root) == (
        b"1",
        None,
        root,
    )
    assert not changed(net.effects["a"][told:])
    back.store._check()


def test_a_restart_is_a_later_life_and_its_clock_does_not_go_back_whatever_the_wall_clock_says() -> (
    None
):
    net = durable("a")
    net.put("a", "key", b"before")
    before = net.replicas["a"]
    written = before.store.get("key")
    back = restarted(net.disks["a"], wall_ms=WALL_MS - 3_600_000)
    assert back.member.generation > before.member.generation
    assert back.site != before.site
    with pytest.raises(ClockAheadError, match=r"3600\.0 s in the future"):
        back.put("key", b"too soon", at()._replace(wall_ms=WALL_MS - 3_600_000))
    (first,) = changed(back.put("key", b"after", at()._replace(wall_ms=WALL_MS - 3_000)).effects)
    assert written is not None
    assert first.new.version > written.version
    assert back.store.value("key") == b"after"


def test_the_clock_stands_where_it_stood_also_without_the_records() -> None:
    net = durable("a")
    net.put("a", "key", b"1")
    latest = net.replicas["a"].hlc.latest
    net.disks["a"].records.clear()
    assert restarted(net.disks["a"], wall_ms=0).hlc.latest == latest


def test_a_gateway_is_a_later_life_in_both_pools() -> None:
    disk = Disk()
    first = make_replica("a", saved={}, gateway=True)
    disk.commit(first.checkpoint(at()))
    back = restarted(disk, wall_ms=0, gateway=True)
    assert first.pools.wan is not None
    assert back.pools.wan is not None
    assert back.member.generation > first.member.generation
    assert back.pools.wan.membership.me.generation > first.pools.wan.membership.me.generation


def test_lesson_17_data_on_the_local_disk_can_be_read_without_any_peer() -> None:
    net = durable("a b c")
    net.put("b", "key", b"1")
    net.until(net.converged)
    for name in ("a", "b", "c"):
        net.crash(name)
    back = net.add("b", 1, join=SEED)
    assert back.settling.stale
    assert back.store.value("key") == b"1"
    assert not back.settling.is_cut_off(net.now("b"))
    assert [reason.code for reason in back.readiness.reasons(net.now("b"))] == [NOT_SETTLED]
    net.until(lambda: back.settling.is_cut_off(net.now("b")))
    assert back.readiness.reasons(net.now("b")) == []
    assert not back.settled


def test_lesson_16_a_life_that_never_settled_is_not_settled_by_a_restart() -> None:
    net = Network()
    net.disks = {"b": Disk()}
    net.add("b", 1, join=SEED)
    net.put("b", "own", b"1")
    net.crash("b")
    back = net.add("b", 1, join=SEED)
    assert back.store.value("own") == b"1"
    assert not back.settled


def test_lesson_16_a_life_that_knew_a_cluster_but_had_not_settled_founds_none_though_it_is_told_to_join_nobody() -> (
    None
):
    saved = {
        fact.key: fact.value or b""
        for fact in (
            peer_fact(PoolKind.LAN, "a", SavedPeer(*address_of(0))),
            *SavedState({}).own_facts(SavedLife(lan_generation=1)),
        )
    }
    alone = make_replica("b", 1, saved=saved)
    assert not alone.settled
    assert alone.settling.sync_state is SyncState.WAITING


def test_lesson_18_a_node_that_rebuilds_is_settled_by_a_settled_member_and_by_nothing_else() -> (
    None
):
    net = Network()
    net.disks = {"b": Disk()}
    net.disks["b"].commit(SavedState({}).own_facts(SavedLife(lan_generation=1, rebuilding=True)))
    rebuilt = net.add("b", 1, join=SEED)
    # another one that has not settled either: in a fresh cluster they would settle together
    other = net.add("a", 0, join=(str(address_of(1)),))
    net.run(20.0)
    assert (rebuilt.settled, other.settled) == (False, False)
    assert rebuilt.settling.sync_state is SyncState.WAITING
    net.perform("a", other.settle(net.now("a")))
    net.until(lambda: rebuilt.settled)
    assert not SavedState(net.disks["b"].facts).own.rebuilding


def test_a_restart_is_still_rebuilding_until_it_has_settled() -> None:
    disk = Disk()
    disk.commit(make_replica("a", saved={}, rebuilding=True).checkpoint(at()))
    assert not restarted(disk, WALL_MS).settled


def test_a_restart_finds_its_peers_though_no_join_address_is_up() -> None:
    net = durable("a b c d")
    for name in ("a", "c"):
        net.crash(name)
    back = net.add("c", 7, join=SEED)
    net.until(lambda: net.sees("c", "b", "d"))
    net.put("d", "key", b"1")
    net.until(lambda: back.store.value("key") == b"1")
    assert net.state("b", "c") is MemberState.ALIVE


def test_two_halves_that_restart_on_both_sides_of_a_cut_find_each_other_when_it_heals() -> None:
    net = durable("a b c d")
    for name in ("a", "b", "c", "d"):
        net.crash(name)
    net.partition("a b", "c d")
    for place, name in enumerate(("a", "b", "c", "d")):
        net.add(name, place)
    net.until(lambda: net.sees("a", "b") and net.sees("c", "d"))
    net.run(60.0)
    net.heal()
    net.until(lambda: all(net.sees(name, "a", "b", "c", "d") for name in net.replicas))


def test_who_left_or_was_pruned_is_not_looked_for_after_a_restart() -> None:
    net = durable("a b c")
    net.leave("b")
    net.until(lambda: net.state("a", "b") is MemberState.LEFT)
    assert set(SavedState(net.disks["a"].facts).peers(PoolKind.LAN)) == {"c"}
    net.crash("c")
    net.until(lambda: net.state("a", "c") is MemberState.DEAD)
    assert set(SavedState(net.disks["a"].facts).peers(PoolKind.LAN)) == {"c"}
    net.perform("a", net.replicas["a"].force_leave("c", net.now("a"), prune=True))
    assert SavedState(net.disks["a"].facts).peers(PoolKind.LAN) == {}


def test_a_peer_is_kept_where_it_was_last_seen() -> None:
    replica = make_replica("a")
    replica.pools.lan.membership.merge(member("b", 1), at())
    replica.pools.lan.membership.merge(member("b", 5, generation=2), at())
    replica.pools.lan.take_changes(at())
    disk = Disk()
    disk.commit(replica.tick(at()))
    assert SavedState(disk.facts).peers(PoolKind.LAN)["b"].address == address_of(5)


def test_peers_that_stay_away_are_forgotten_as_the_dead_are() -> None:
    facts = peer_fact(PoolKind.LAN, "b", SavedPeer("10.9.9.9", 7481))
    replica = make_replica("a", saved={facts.key: facts.value or b""}, forget_after_s=100.0)
    assert list(replica.pools.lan.known_peers.absent) == ["b"]
    replica.tick(at(99.0))
    assert replica.pools.lan.known_peers.absent
    effects = replica.tick(at(101.0))
    assert [effect for effect in effects if isinstance(effect, Persist)] == [
        Persist(facts.key, None)
    ]
    assert not replica.pools.lan.known_peers.absent


def test_a_peer_in_whose_place_another_one_answers_is_looked_for_no_more() -> None:
    net = durable("a b c")
    for name in ("a", "b"):
        net.crash(name)
    net.add("b2", 1, join=(str(address_of(2)),))
    net.until(lambda: net.sees("c", "b2"))
    back = net.add("a", 0)
    assert list(back.pools.lan.known_peers.absent) == ["b", "c"]
    net.until(lambda: net.sees("a", "b2", "c"))
    net.until(lambda: not back.pools.lan.known_peers.absent, 10.0)
    assert set(SavedState(net.disks["a"].facts).peers(PoolKind.LAN)) == {"b2", "c"}


def test_what_is_always_now_is_in_every_checkpoint_and_the_rest_only_when_it_changed() -> None:
    replica = make_replica("a", saved={})
    first, second = replica.checkpoint(at()), replica.checkpoint(at())
    own_row = b"context/row/" + replica.site.to_bytes(8, "big")
    always = [b"replica/clock", own_row, b"replica/content"]
    assert [fact.key for fact in first] == [*always, b"replica/self"]
    assert [fact.key for fact in second] == always


def test_what_was_learned_without_news_asks_for_a_commit_and_goes_with_it() -> None:
    replica = make_replica("a", saved={})
    replica.checkpoint(at())
    newer, older = record(b"new", ms=2, site=5), record(b"old", ms=1, site=5)
    effects, _ = replica.restore([("key", newer)], at())
    assert not [effect for effect in effects if isinstance(effect, Persist)], (
        "it goes to the disk anyway"
    )
    effects, outcomes = replica.restore([("key", older)], at())
    assert outcomes == [Outcome.KNOWN]
    assert [effect.key for effect in effects if isinstance(effect, Persist)] == [
        b"context/row/" + replica.site.to_bytes(8, "big")
    ]
    disk = Disk()
    disk.commit([*effects, *replica.checkpoint(at())])
    disk.records["key"] = newer
    assert restarted(disk, WALL_MS).tombstones.context.covers(version(1, 5))


def test_a_record_of_a_newer_format_is_not_loaded_silently() -> None:
    newer = bytes([0xF0]) + record(b"1")[1:]
    with pytest.raises(RemoteError, match="unknown record format"):
        make_replica("a").load([("key", newer)])


def test_records_that_come_in_any_order_and_twice_are_merged() -> None:
    replica = make_replica("a")
    replica.load([("key", record(b"new", ms=2)), ("key", record(b"old", ms=1))])
    assert replica.store.value("key") == b"new"
    assert replica.hlc.latest == version(2).timestamp
    assert not [effect for effect in replica.tick(at()) if isinstance(effect, Changed)]


def test_that_a_node_has_settled_is_kept_though_nothing_is_written_after_it() -> None:
    replica, disk = make_replica("b", 1, join=SEED, saved={}), Disk()
    disk.commit(replica.checkpoint(at()))
    disk.commit(replica.settle(at()))
    back = make_replica("b", 1, join=SEED, saved=disk.facts)
    assert back.settling.stale
    # and the life after that one finds it there, too
    disk.commit(back.checkpoint(at()))
    assert make_replica("b", 1, join=SEED, saved=disk.facts).settling.stale


# -- refused, and alone --------------------------------------------------------------------------

HELD = LAN.refusal("the name 'b' is held by the live node at 10.0.0.9:7481")


def refused(*sources: Address, **config: Any) -> Replica:
    """A node that joins the seed, and is refused from there."""
    replica = make_replica("b", 1, join=SEED, **config)
    replica.tick(at())
    replica.resolved(SEED[0], [address_of(0)], at())
    for source in sources:
        replica.receive(HELD, source, at(), reliable=True)
    return replica


def meet(replica: Replica, *states: MemberState) -> None:
    """The seed is in these states, one after the other."""
    for state in states:
        replica.pools.lan.membership.merge(member("a", 0, state), at())
        replica.pools.lan.take_changes(at())


def test_who_is_refused_and_alone_warns_once_a_minute() -> None:
    replica = make_replica("b", 1)
    meet(replica, MemberState.ALIVE, MemberState.DEAD)
    warned = [
        sum(
            "is not ready" in line
            for line in logs(replica.receive(HELD, address_of(0), at(seconds)))
        )
        for seconds in (0.0, 30.0, 59.0, 60.0)
    ]
    assert warned == [1, 0, 0, 1]


def codes(replica: Replica, seconds: float = 0.0) -> list[str]:
    return [reason.code for reason in replica.readiness.reasons(at(seconds))]


def test_lesson_18_a_node_that_is_refused_and_reaches_nobody_is_not_ready_and_says_why() -> None:
    disk = Disk()
    before = make_replica("b", 1, join=SEED, saved={})
    disk.commit(before.settle(at()))
    disk.commit(before.checkpoint(at()))
    # with last known good data, as a clone has it: by itself that is no reason
    clone = refused(address_of(0), saved=disk.facts)
    (reason,) = clone.readiness.reasons(at(2.0))
    assert "is held by the live node at 10.0.0.9:7481" in reason.text
    assert reason.code == "refused"
    # also one that had settled before it was refused
    clone.settle(at())
    assert codes(clone) == ["refused"]


def test_a_refusal_counts_while_it_is_new_and_nobody_is_reached() -> None:
    replica = refused(address_of(0))
    replica.settle(at())
    assert codes(replica, 140.0) == ["refused"]
    assert codes(replica, 151.0) == []
    replica.pools.lan.membership.merge(member("a", 0), at())
    assert codes(replica) == []


def test_what_a_stranger_forges_makes_no_node_unready() -> None:
    replica = refused(STRANGER, address_of(7))
    replica.settle(at())
    assert codes(replica) == []


def test_a_join_of_an_operator_that_is_refused_makes_no_node_unready() -> None:
    replica = make_replica("b", 1)
    replica.join([str(address_of(0))], at())
    replica.resolved(str(address_of(0)), [address_of(0)], at())
    replica.receive(HELD, address_of(0), at(), reliable=True)
    assert codes(replica) == []


def test_a_member_that_cannot_be_read_any_more_refuses_as_well() -> None:
    replica = make_replica("b", 1)
    meet(replica, MemberState.ALIVE)
    replica.receive(HELD, address_of(0), at())
    assert codes(replica) == []
    meet(replica, MemberState.DEAD)
    assert codes(replica) == ["refused"]


def test_a_name_that_took_over_a_data_directory_does_not_look_for_itself() -> None:
    facts = peer_fact(PoolKind.LAN, "b", SavedPeer("10.9.9.9", 7481))
    replica = make_replica("b", 1, saved={facts.key: facts.value or b""})
    assert not replica.pools.lan.known_peers.absent


def test_a_worker_that_an_earlier_life_knew_is_forgotten_when_it_wants_to_be() -> None:
    saved = {
        fact.key: fact.value or b""
        for fact in (
            peer_fact(PoolKind.LAN, "w", SavedPeer("10.9.9.8", 7481, 30)),
            peer_fact(PoolKind.LAN, "b", SavedPeer("10.9.9.9", 7481)),
        )
    }
    replica = make_replica("a", saved=saved)
    known_peers = replica.pools.lan.known_peers
    for seconds, absent in ((29.0, ["w", "b"]), (31.0, ["b"]), (80 * 3600.0, [])):
        replica.tick(at(seconds))
        assert sorted(known_peers.absent) == sorted(absent)
