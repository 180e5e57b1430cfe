"""Restarts on a disk, on the pure machine: who comes back is a later life of the same node, with
its data, and finds its peers."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.errors import ClockAheadError, RemoteError
from kvgossip.protocol.doctor.diagnosis import diagnose
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.readiness import NOT_SETTLED
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.saved_state import SavedLife, SavedPeer, SavedState, peer_fact
from tests.protocol.doctor.test_examination import examined
from tests.protocol.net import (
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
    always = [b"replica/clock", b"replica/content", own_row]
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


# -- a disk that has lost data -------------------------------------------------------------------


def holed(names: str, *keys: str) -> Network:
    """A settled cluster in which all hold these keys, and one more; then the disk of the first one
    has lost them, but not its saved state."""
    net = durable(names)
    first = names.split()[0]
    for key in (*keys, "kept"):
        net.put(first, key, b"1")
    net.run(5.0)
    assert net.converged()
    net.crash(first)
    for key in keys:
        del net.disks[first].records[key]
    return net


def test_a_disk_that_has_lost_data_takes_it_from_its_peers_and_takes_none_out_of_theirs() -> None:
    net = holed("a b c", "x", "y")
    back = net.add("a", 0, join=(str(address_of(1)),))
    assert not back.settled
    assert any("the disk has lost data: it gives 1 entries" in text for text in logs(told(net)))
    net.until(lambda: back.settled)
    net.run(60.0)
    assert net.converged()
    for replica in net.replicas.values():
        assert [replica.store.value(key) for key in ("x", "y", "kept")] == [b"1"] * 3
    # the next life finds all, and is settled at once
    net.crash("a")
    assert net.add("a", 0).settled


def told(net: Network, name: str = "a") -> list[Effect]:
    return net.effects[name]


def test_a_disk_that_has_all_its_data_is_taken_at_its_word() -> None:
    net = holed("a b c")
    before = len(told(net))
    assert net.add("a", 0).settled
    assert not any("lost data" in text for text in logs(told(net)[before:]))


def test_a_node_alone_whose_disk_has_lost_data_answers_no_reads_until_its_operator_says_so() -> (
    None
):
    net = holed("a", "x")
    back = net.add("a", 0)
    net.run(120.0)
    assert not back.settled
    # so is the life after it, whose content is what was committed
    net.crash("a")
    back = net.add("a", 0)
    assert not back.settled
    net.perform("a", back.settle(net.now("a")))
    assert back.settled
    net.crash("a")
    assert net.add("a", 0).settled


def test_two_nodes_whose_disks_have_lost_data_do_not_settle_each_other() -> None:
    net = holed("a b", "x")
    net.crash("b")
    del net.disks["b"].records["x"]
    for place, name in enumerate("ab"):
        net.add(name, place, join=(str(address_of(1 - place)),))
    net.run(120.0)
    assert net.sees("a", "b")
    assert not any(replica.settled for replica in net.replicas.values())


def test_a_delete_that_a_disk_has_lost_is_taken_from_peers_and_the_value_does_not_come_back() -> (
    None
):
    net = durable("a b c")
    net.put("a", "x", b"1")
    net.run(5.0)
    net.crash("c")
    net.delete("a", "x")
    net.run(2.0)
    net.crash("a")
    del net.disks["a"].records["x"]
    net.add("a", 0, join=(str(address_of(1)),))
    net.add("c", 2)
    net.run(60.0)
    assert net.converged()
    assert all(replica.store.value("x") is None for replica in net.replicas.values())


def test_the_doctor_names_a_node_whose_disk_has_lost_data_until_it_has_it_back() -> None:
    net = holed("a b", "x")
    back = net.add("a", 0)
    found = {finding.code: finding for finding in diagnose(examined(net, "a"))}
    assert found["disk"].members == ("a",)
    assert "has lost data" in found["disk"].text
    net.until(lambda: back.settled)
    assert not diagnose(examined(net, "b"))
