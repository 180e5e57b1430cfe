"""Tombstones that stay deleted: refusing, collecting, contexts on their way (protocol.md section
6)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.protocol.effect import Quarantined, Send
from kvgossip.protocol.merging import Origin, Outcome, Spread
from kvgossip.protocol.model.entry import Version, is_dead, make_record, version_of
from kvgossip.protocol.model.hlc import timestamp_of
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones import collection
from kvgossip.protocol.tombstones.collection import Waiting
from tests.protocol.net import LAN, WALL_MS, Disk, Network, make_replica

QUIET_S = 240.0

STRANGE = Origin(Peer(PoolKind.LAN, "x"), Spread.NONE)


def cluster(names: str, **config: Any) -> Network:
    """A settled cluster whose nodes have disks."""
    net = Network()
    net.disks = {name: Disk() for name in names.split()}
    net.cluster(names, **config)
    return net


def certificates(replica: Replica) -> list[str]:
    return sorted(key for key, record in replica.store.records() if is_dead(record))


def waiting(net: Network) -> int:
    return sum(len(replica.tombstones.collecting) for replica in net.replicas.values())


def quarantined(net: Network, name: str) -> list[tuple[str, bytes]]:
    return [
        (effect.key, effect.record)
        for effect in net.effects[name]
        if isinstance(effect, Quarantined)
    ]


# -- collecting ----------------------------------------------------------------------------------


def test_lesson_03_in_a_quiet_cluster_certificates_go_from_all_nodes() -> None:
    net = cluster("a b c")
    for number in range(20):
        net.put("a", f"k{number}", b"v")
        net.delete("a", f"k{number}")
    net.put("b", "stays", b"v")
    took_s = net.until(lambda: waiting(net) == 0 and net.converged(), QUIET_S)
    assert took_s < 60
    assert [len(replica.store) for replica in net.replicas.values()] == [1, 1, 1]
    assert all(list(disk.records) == ["stays"] for disk in net.disks.values())
    assert not any(quarantined(net, name) for name in "abc")


def test_alone_a_node_collects_by_itself() -> None:
    net = Network()
    net.add("a")
    net.put("a", "k", b"v")
    net.delete("a", "k")
    net.until(lambda: waiting(net) == 0, 30)
    assert len(net.replicas["a"].store) == 0


@given(
    st.lists(st.tuples(st.sampled_from("adt"), st.integers(0, 12), st.integers(1, 4)), max_size=60),
    st.integers(1, 4),
)
def test_what_waits_is_taken_in_the_order_of_its_arrival(
    steps: list[tuple[str, int, int]], part: int
) -> None:
    model: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(collection, "PART_KEYS_MAX", part)
        waiting_, arrived = Waiting(), 0
        for what, number, limit in steps:
            if what == "a" and f"k{number}" not in model:
                arrived += 1
                waiting_.add(f"k{number}", arrived)
                model[f"k{number}"] = arrived
            elif what == "d":
                assert waiting_.discard(f"k{number}") == (model.pop(f"k{number}", None) is not None)
            elif what == "t":
                taken = waiting_.take(limit, number)
                ripe = [pair for pair in model.items() if pair[1] <= number]
                assert taken == ripe[: len(taken)]
                assert len(taken) <= limit
                assert taken or not ripe
                for key, _ in taken:
                    del model[key]
            assert (len(waiting_), waiting_.oldest) == (len(model), min(model.values(), default=0))
            assert all(waiting_._parts)


def test_a_dead_member_holds_collection_back_until_it_is_forgotten() -> None:
    net = cluster("a b c", forget_after_s=300.0)
    net.put("a", "k", b"v")
    net.run(5)
    net.crash("c")
    net.run(40)
    net.delete("a", "k")
    net.run(200)
    assert certificates(net.replicas["a"]) == certificates(net.replicas["b"]) == ["k"]
    assert net.replicas["a"].tombstones.late() == ["c"]
    net.until(lambda: waiting(net) == 0, 300)
    assert certificates(net.replicas["a"]) == certificates(net.replicas["b"]) == []


def test_who_has_left_and_who_is_blocked_hold_nothing_back() -> None:
    net = cluster("a b c d")
    net.put("a", "k", b"v")
    net.run(5)
    net.leave("c")
    net.run(2)
    net.crash("c")
    net.partition("a b", "d")
    for name in "ab":
        net.perform(name, net.replicas[name].block("d", net.now(name)))
    net.delete("a", "k")
    net.until(
        lambda: certificates(net.replicas["a"]) == certificates(net.replicas["b"]) == [], QUIET_S
    )


# -- refusing ------------------------------------------------------------------------------------


def absent_while_deleted() -> Network:
    """c goes down with k and "own" on its disk; k is deleted, and collected everywhere; a new k2 is
    written."""
    net = cluster("a b c", forget_after_s=60.0)
    net.put("a", "k", b"v")
    net.run(60)
    net.crash("c")
    net.run(40)
    net.delete("b", "k")
    net.put("a", "k2", b"v")
    net.until(lambda: waiting(net) == 0, QUIET_S)
    return net


def test_lesson_01_a_node_that_returns_after_any_absence_brings_no_deleted_key_back() -> None:
    net = absent_while_deleted()
    c = net.add("c", 2, forget_after_s=60.0)
    assert c.store.value("k") == b"v", "the last known good data"
    net.put("c", "new", b"w")
    net.until(lambda: net.converged() and c.store.value("k2") == b"v", QUIET_S)
    for replica in net.replicas.values():
        assert replica.store.get("k") is None
        assert replica.store.value("new") == b"w"
    assert [key for key, _ in quarantined(net, "c")] == ["k"]
    assert not quarantined(net, "a")
    assert not quarantined(net, "b")


def test_a_write_that_the_deleter_had_not_seen_lives() -> None:
    net = cluster("a b c", forget_after_s=60.0)
    net.put("a", "k", b"v")
    net.run(60)
    net.partition("a b", "c")
    net.put("c", "k", b"late")
    net.run(0.01)
    net.crash("c")
    net.run(5)
    net.delete("a", "k")
    net.until(lambda: waiting(net) == 0, QUIET_S)
    net.heal()
    net.add("c", 2, forget_after_s=60.0)
    net.until(lambda: net.converged() and net.replicas["a"].store.value("k") == b"late", QUIET_S)
    assert not quarantined(net, "c")


def test_a_rumor_of_a_collected_value_is_answered_and_its_teller_takes_it_out() -> None:
    net = absent_while_deleted()
    senders: list[str] = []
    net.watch = lambda frm, to, sent: senders.append(frm) if b"k" in sent.data else None
    c = net.add("c", 2, forget_after_s=60.0, anti_entropy=False)
    for name in "ab":
        net.replicas[name].pools.lan.exchanges.start = lambda *args, **named: None  # type: ignore[method-assign]
    net.run(5)
    assert c.store.value("k") == b"v"
    c.pools.lan.mongering.heat("k", c.store["k"], None, at_once=True)
    net.perform("c", c.tick(net.now("c")))
    net.run(1)
    assert c.store.get("k") is None
    assert [key for key, _ in quarantined(net, "c")] == ["k"]


def test_a_collected_value_too_large_for_a_rumor_is_refused_by_its_notice() -> None:
    net = cluster("a b c", forget_after_s=60.0)
    net.put("a", "k", b"v" * 50_000)
    net.run(60)
    net.crash("c")
    net.run(40)
    net.delete("b", "k")
    net.until(lambda: waiting(net) == 0, QUIET_S)
    c = net.add("c", 2, forget_after_s=60.0, anti_entropy=False)
    net.run(0.5)
    c.pools.lan.mongering.heat("k", c.store["k"], None, at_once=True)
    net.perform("c", c.tick(net.now("c")))
    net.run(1)
    assert [key for key, _ in quarantined(net, "c")] == ["k"]


def test_an_older_value_that_came_from_elsewhere_does_not_let_the_deleted_one_replace_it() -> None:
    # the model lets it
    net = absent_while_deleted()
    a = net.replicas["a"]
    killed = net.disks["c"].records["k"]
    older = make_record(
        version_of(killed)._replace(timestamp=version_of(killed).timestamp - 1, site=7), b"older"
    )
    now = net.now("a")
    assert a.merging.merge("k", older, now, STRANGE) is Outcome.NEWS
    assert a.merging.merge("k", killed, now, STRANGE) is Outcome.COLLECTED
    assert a.store.value("k") == b"older"


def test_a_certificate_that_others_have_collected_goes_with_the_exchange() -> None:
    net = cluster("a b c", forget_after_s=60.0)
    net.put("a", "k", b"v")
    net.run(40)
    net.delete("a", "k")
    net.run(1)
    net.crash("c")
    net.until(lambda: waiting(net) == 0, QUIET_S)
    c = net.add("c", 2, forget_after_s=60.0)
    assert certificates(c) == ["k"]
    net.until(net.converged, 10)
    assert certificates(c) == []
    assert not quarantined(net, "c")


# -- restarts ------------------------------------------------------------------------------------


def test_the_context_is_not_lost_at_a_restart_and_the_earlier_life_is_a_past_site() -> None:
    net = cluster("a b")
    net.put("a", "k", b"v")
    killed = net.disks["a"].records["k"]
    net.delete("a", "k")
    net.until(lambda: waiting(net) == 0, QUIET_S)
    site = net.replicas["a"].site
    net.crash("a")
    a = net.add("a", 0)
    assert a.site != site
    assert a.tombstones.refuses("k", killed)


def test_that_a_dot_covers_a_tombstone_does_not_keep_it_out() -> None:
    net = cluster("a b")
    context, dot = net.replicas["a"].tombstones.context, Version(timestamp_of(WALL_MS - 1000), 77)
    context.add(dot)
    tombstone, value = make_record(dot, None), make_record(dot, b"v")
    assert net.replicas["a"].tombstones.refuses("k", value)
    assert not net.replicas["a"].tombstones.refuses("k", tombstone)
    context.vector[77] = dot.timestamp
    assert net.replicas["a"].tombstones.refuses("k", tombstone)


def test_a_node_whose_data_was_lost_refuses_nothing() -> None:
    net = cluster("a b")
    net.put("a", "k", b"v")
    net.run(60)
    held = net.disks["b"].records["k"]
    net.crash("b")
    net.disks["b"].records.clear()
    b = net.add("b", 1, rebuilding=True)
    assert not b.tombstones.refuses("k", held)
    net.until(lambda: b.store.value("k") == b"v", 60)


def test_members_that_an_earlier_life_knew_hold_back_what_is_collected() -> None:
    net = cluster("a b")
    net.put("a", "k", b"v")
    net.run(60)
    net.crash("b")
    net.delete("a", "k")
    net.run(1)
    net.crash("a")
    net.add("a", 0)
    net.run(120)
    assert certificates(net.replicas["a"]) == ["k"]
    net.add("b", 1)
    net.until(lambda: waiting(net) == 0 and net.converged(), QUIET_S)
    assert not quarantined(net, "b")


# -- exchanges and contexts ----------------------------------------------------------------------


def covered_up_to(net: Network, name: str, of: str) -> int:
    return net.replicas[name].tombstones.context.seen.get(net.replicas[of].site, 0)


def test_a_completed_exchange_advances_the_vectors_of_both_sides_and_carries_others_on() -> None:
    net = Network()
    net.cluster("a b c", push_pull_interval_s=3600.0)
    net.run(10)
    net.put("c", "k", b"v")
    clock = net.replicas["c"].hlc.latest
    net.run(1)
    assert covered_up_to(net, "b", "c") < clock
    net.replicas["b"].pools.lan.exchanges.start("c", net.now("b"))
    net.perform("b", net.replicas["b"].tick(net.now("b")))
    net.run(1)
    assert covered_up_to(net, "b", "c") >= clock
    assert covered_up_to(net, "c", "b") > 0
    net.replicas["a"].pools.lan.exchanges.start("b", net.now("a"))
    net.perform("a", net.replicas["a"].tick(net.now("a")))
    net.run(1)
    assert covered_up_to(net, "a", "c") >= clock


@pytest.mark.parametrize("kind", ["Push", "Merged", "Conclude"])
def test_lesson_04_an_exchange_that_is_cut_advances_no_row(kind: str) -> None:
    net = Network()
    net.cluster("a b", push_pull_interval_s=3600.0, rumor_k=0, rumor_settling_s=600.0)
    net.put("a", "mine", b"v")
    net.put("b", "theirs", b"v")
    before = covered_up_to(net, "a", "b"), covered_up_to(net, "b", "a")

    def cut(frm: str, to: str, sent: Send) -> None:
        if any(
            type(message).__name__ == kind
            for message in LAN.open(sent.data, reliable=sent.reliable).messages
        ):
            net.partition("a", "b")

    net.watch = cut
    net.replicas["a"].pools.lan.exchanges.start("b", net.now("a"))
    net.perform("a", net.replicas["a"].tick(net.now("a")))
    net.run(0.5)
    assert net.cut_pairs
    assert (covered_up_to(net, "a", "b"), covered_up_to(net, "b", "a")) == before


def test_a_gateway_says_so_in_both_pools() -> None:
    gateway, plain = make_replica("a", gateway=True), make_replica("b")
    assert [pool.membership.me.gateway for pool in (*gateway.pools, *plain.pools)] == [
        True,
        True,
        False,
    ]
