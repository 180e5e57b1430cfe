"""Waiting for holders: who holds a version is known, not guessed; who lacks it is asked, and then
has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from kvgossip.config import Address
from kvgossip.errors import CannotMeetError, LocalError, NotFoundError, OverloadedError
from kvgossip.protocol.acks.tracker import ASK_FIRST_S, WAITS_MAX, AckTracker, Wait
from kvgossip.protocol.acks.write_concern import Scope, WriteConcern, parse_write_concern
from kvgossip.protocol.effect import AckReceived, Effect, Lacking, Send, WriteConcernEnded
from kvgossip.protocol.model.entry import version_of
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.pools.probe_answers import ProbeAnswers
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.message import (
    Ack,
    Bodies,
    Confirm,
    Enquire,
    Feedback,
    Fetch,
    Gossip,
    Ping,
    Rumor,
)
from kvgossip.protocol.wire.unit import encode
from kvgossip.sim.faults import Intensity
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options
from kvgossip.sim.simulation import simulate
from kvgossip.sim.workload import Mix
from tests.protocol.net import (
    LAN,
    STRANGER,
    Network,
    address_of,
    at,
    make_replica,
    member,
    record,
    told,
)
from tests.protocol.rumors.test_mongering import gossip, of, replica_with, rumor

ALL, MAJORITY = WriteConcern(Scope.ALL), WriteConcern(Scope.MAJORITY)
PEERS = {"b": 1, "c": 2, "d": 3, "e": 4}


def lan(*names: str) -> tuple[Peer, ...]:
    return tuple(Peer(PoolKind.LAN, name) for name in names)


def held(effects: list[Effect]) -> list[str]:
    return [effect.peer.name for effect in effects if isinstance(effect, AckReceived)]


def ended(effects: list[Effect]) -> WriteConcernEnded | None:
    return next((effect for effect in effects if isinstance(effect, WriteConcernEnded)), None)


def write(
    replica: Replica, need: WriteConcern = ALL, *, timeout_s: float = 5.0, value: bytes = b"v"
) -> list[Effect]:
    """A write that is waited for, at the beginning of the tests' time, and told to the peers."""
    replica.put("k", value, at())
    effects = replica.wait(1, "k", need, timeout_s, at())
    return effects + replica.tick(at())


def feed(replica: Replica, answer: Any, name: str, seconds: float = 0.001) -> list[Effect]:
    """A datagram from this peer."""
    return replica.receive(LAN.frame([encode(answer)]), address_of(PEERS[name]), at(seconds))


def sequences(effects: list[Effect]) -> dict[Address, int]:
    return {to: opening.sequence for to, opening in of(Gossip, effects)}


def version_queries(effects: list[Effect]) -> dict[Address, Enquire]:
    return dict(of(Enquire, effects))


# -- what shows that a peer holds a version ------------------------------------------------------


def test_feedback_of_a_rumor_that_was_news_shows_a_holder() -> None:
    replica = replica_with("b", "c")
    effects = write(replica)
    assert held(effects) == ["a"]
    told_b = feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x00"), "b")
    assert held(told_b) == ["b"]
    assert ended(told_b) is None
    told_c = feed(replica, Feedback(sequences(effects)[address_of(2)], b"\x00"), "c")
    assert ended(told_c) == WriteConcernEnded(1, True, lan("a", "b", "c"), ())
    assert replica.statistics()["waits_met"] == 1


def test_feedback_that_a_rumor_was_no_news_shows_nothing_so_the_peer_is_asked() -> None:
    replica = replica_with("b")
    effects = write(replica)
    told_b = feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x01"), "b")
    assert held(told_b) == []
    assert replica.deadline() == 0.0
    asked = version_queries(replica.tick(at(0.002)))[address_of(1)]
    assert (asked.key, asked.timestamp, asked.site) == (
        "k",
        *version_of(replica.store.visible("k") or b""),
    )
    assert ended(feed(replica, Confirm(asked.number, "b", 2), "b")) == WriteConcernEnded(
        1, True, lan("a", "b"), ()
    )


@pytest.mark.parametrize(("life", "shown"), [(0, True), (2, True), (77, False)])
def test_feedback_of_another_node_at_the_address_shows_no_holder_and_it_is_asked_who_it_is(
    life: int, shown: bool
) -> None:
    replica = replica_with("b")
    effects = write(replica)
    assert replica.members()[1].site == 2
    assert held(
        feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x00", life=life), "b")
    ) == (["b"] if shown else [])
    assert list(version_queries(replica.tick(at(0.002)))) == ([] if shown else [address_of(1)])


def test_a_node_that_refuses_a_write_for_its_own_clock_is_never_said_to_hold_it() -> None:
    network = Network()
    network.cluster("a c")  # of two nobody knows whose clock is wrong
    network.run(5.0)
    network.skew_ms["c"] = -60_000
    network.run(15.0)  # until then it takes what its clock has shown already
    network.put("a", "k", b"v")
    network.perform("a", network.replicas["a"].wait(1, "k", ALL, 3.0, network.now("a")))
    network.run(4.0)
    waited = ended(network.effects["a"])
    assert network.replicas["c"].store.visible("k") is None
    assert waited is not None
    assert (waited.met, waited.held_by, waited.lacking) == (
        False,
        lan("a"),
        (Lacking(Peer(PoolKind.LAN, "c"), MemberState.ALIVE),),
    )


def test_a_notice_of_a_large_entry_shows_no_holder_before_the_body_is_there() -> None:
    replica = replica_with("b")
    effects = write(replica, value=bytes(5000))
    assert held(feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x00"), "b")) == []
    assert list(version_queries(replica.tick(at(0.002)))) == [address_of(1)]


def test_a_record_of_the_version_or_a_newer_one_shows_a_holder_and_an_older_one_does_not() -> None:
    replica = replica_with("b", "c", "d")
    write(replica)
    own = replica.store.visible("k") or b""
    assert (
        held(replica.receive(gossip(rumor("k", ms=-1), sender="b"), address_of(1), at(0.001))) == []
    )
    packet = gossip(Rumor("k", own), sender="c")
    assert held(replica.receive(packet, address_of(2), at(0.001))) == ["c"]
    assert held(
        replica.receive(gossip(rumor("k", ms=1), sender="d"), address_of(3), at(0.001))
    ) == ["d"]


def test_an_equal_root_shows_a_holder_and_another_root_does_not() -> None:
    replica = replica_with("b", "c")
    write(replica)
    for name, root in (("b", replica.store.digest.root), ("c", replica.store.digest.root ^ 1)):
        assert held(
            feed(replica, Ack(1, name, root, at().wall_ms, replica.settling.sync_state), name)
        ) == (["b"] if name == "b" else [])


@pytest.mark.parametrize(("life", "shown"), [(0, True), (2, True), (77, False)])
def test_an_equal_root_of_another_life_of_that_name_shows_no_holder(life: int, shown: bool) -> None:
    replica = replica_with("b")
    write(replica)
    root, state = replica.store.digest.root, replica.settling.sync_state
    for probe in (
        Ack(1, "b", root, at().wall_ms, state, life),
        Ping(1, "b", "a", root, at().wall_ms, state, life),
    ):
        assert held(feed(replica, probe, "b")) == (["b"] if shown else [])
        shown = False  # once is enough


def test_a_body_that_was_fetched_names_no_sender_and_shows_no_holder() -> None:
    replica = replica_with("b")
    write(replica)
    bodies = Bodies((("k", record(b"newer", ms=1)),))
    data = LAN.frame([encode(bodies)], reliable=True)
    assert held(replica.receive(data, address_of(1), at(0.001), reliable=True)) == []
    assert replica.store.value("k") == b"newer"


def test_a_new_life_of_a_holder_is_no_holder() -> None:
    replica = replica_with("b", "c")
    effects = write(replica)
    assert held(feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x00"), "b")) == ["b"]
    feed(replica, member("b", 1, generation=2, site=77), "b")
    waited = ended(feed(replica, Feedback(sequences(effects)[address_of(2)], b"\x00"), "c"))
    assert waited is None
    late = ended(replica.tick(at(5.0)))
    assert late is not None
    assert (late.met, late.held_by) == (False, lan("a", "c"))


def test_an_answer_of_an_earlier_life_or_to_a_number_that_was_not_asked_is_not_believed() -> None:
    replica = replica_with("b")
    write(replica)
    asked = version_queries(replica.tick(at(ASK_FIRST_S)))[address_of(1)]
    assert held(feed(replica, Confirm(asked.number, "b", 99), "b")) == []
    assert held(feed(replica, Confirm(asked.number + 1, "b", 2), "b")) == []
    assert held(feed(replica, Confirm(asked.number, "stranger", 2), "b")) == []
    assert held(feed(replica, Confirm(asked.number, "b", 2), "b")) == ["b"]


# -- asking --------------------------------------------------------------------------------------


def test_a_silent_member_is_asked_again_with_growing_pauses_and_at_last_over_a_link() -> None:
    replica = replica_with(
        "b", probe_interval_s=600.0, probe_timeout_s=500.0, push_pull_interval_s=3600.0
    )
    write(replica, timeout_s=10.0)
    asked: list[tuple[float, bool]] = []
    for step in range(1, 200):
        for effect in replica.tick(at(step * 0.05)):
            if isinstance(effect, Send) and any(
                isinstance(m, Enquire)
                for m in LAN.open(effect.data, reliable=effect.reliable).messages
            ):
                asked.append((round(step * 0.05, 2), effect.reliable))
    assert asked[:5] == [(0.05, False), (0.15, False), (0.35, True), (0.75, True), (1.55, True)]
    assert [later - earlier for (earlier, _), (later, _) in pairwise(asked[5:])] == pytest.approx(
        [1.0] * len(asked[6:])
    )


def test_a_holder_answers_a_version_query_at_once_and_another_one_fetches_it_first() -> None:
    replica = replica_with("b")
    replica.receive(gossip(rumor("k", ms=5)), address_of(1), at())
    older, newer = version_of(record(b"", 5)), version_of(record(b"w", 9))
    assert of(Confirm, feed(replica, Enquire(7, "k", *older, 20), "b")) == [
        (address_of(1), Confirm(7, "a", replica.site))
    ]
    asked = feed(replica, Enquire(8, "k", *newer, 20), "b")
    assert of(Confirm, asked) == []
    assert of(Fetch, asked) == [(address_of(1), Fetch(("k",)))]
    heard = replica.receive(gossip(rumor("k", b"w", ms=9)), address_of(1), at())
    assert (address_of(1), Confirm(8, "a", replica.site)) in of(Confirm, heard)
    assert of(Confirm, replica.receive(gossip(rumor("k", ms=11)), address_of(1), at())) == []


def test_the_blocked_are_not_answered_over_a_link_either() -> None:
    network = Network()
    network.cluster("a b")
    network.perform("b", network.replicas["b"].block("a", network.now("b")))
    network.put("a", "k", b"v")
    network.perform("a", network.replicas["a"].wait(1, "k", ALL, 3.0, network.now("a")))
    network.run(4.0)
    waited = ended(network.effects["a"])
    assert waited is not None
    assert (waited.met, waited.held_by) == (False, lan("a"))


def test_an_enquiry_of_a_stranger_makes_nobody_dial() -> None:
    replica = replica_with("b")
    asked = replica.receive(LAN.frame([encode(Enquire(7, "k", 5, 5, 20))]), STRANGER, at())
    assert of(Fetch, asked) == []


def test_enquiries_that_cannot_be_answered_are_bounded() -> None:
    replica = replica_with("b")
    for number in range(5000):
        feed(replica, Enquire(number, f"k{number % 2000}", 2**63, 5, 20), "b")
    assert len(replica.pools.lan.version_queries) <= 1024


def test_a_lost_packet_costs_a_wait_milliseconds_and_not_a_gossip_interval() -> None:
    network = Network()
    network.cluster("a b c d e f g h i j", gossip_interval_s=10.0, push_pull_interval_s=600.0)
    network.run(30.0)
    lost: list[str] = []

    def passes(frm: str, to: str, reliable: bool) -> bool:
        if frm == "a" and to == "f" and not reliable and not lost:
            lost.append(to)
            return False
        return True

    network.passes = passes
    network.put("a", "k", b"v")
    network.perform("a", network.replicas["a"].wait(1, "k", ALL, 5.0, network.now("a")))
    assert network.until(lambda: ended(network.effects["a"]) is not None) < 0.1
    assert lost == ["f"]
    waited = ended(network.effects["a"])
    assert waited is not None
    assert sorted(peer.name for peer in waited.held_by) == list("abcdefghij")


def test_members_beyond_the_direct_fan_out_are_asked() -> None:
    network = Network()
    names = [f"n{number:02}" for number in range(40)]
    network.cluster(" ".join(names), direct_fanout=4, probe_interval_s=5.0)
    network.run(10.0)
    network.put("n00", "k", b"v")
    network.perform("n00", network.replicas["n00"].wait(1, "k", ALL, 5.0, network.now("n00")))
    assert network.until(lambda: ended(network.effects["n00"]) is not None) < 0.5
    waited = ended(network.effects["n00"])
    assert waited is not None
    assert (waited.met, len(waited.held_by)) == (True, 40)


@pytest.mark.parametrize("size", [10, 5_000, 400_000])
def test_a_write_of_any_size_and_a_delete_are_waited_for(size: int) -> None:
    network = Network()
    network.cluster("a b c")
    network.put("a", "k", bytes(size))
    network.perform("a", network.replicas["a"].wait(1, "k", ALL, 5.0, network.now("a")))
    network.until(lambda: ended(network.effects["a"]) is not None)
    network.delete("a", "k")
    network.perform("a", network.replicas["a"].wait(2, "k", ALL, 5.0, network.now("a")))
    network.until(
        lambda: len([e for e in network.effects["a"] if isinstance(e, WriteConcernEnded)]) == 2
    )
    assert [
        effect.met for effect in network.effects["a"] if isinstance(effect, WriteConcernEnded)
    ] == [
        True,
        True,
    ]
    assert all(replica.store.get("k") is None for replica in network.replicas.values())


# -- the end -------------------------------------------------------------------------------------


def test_a_wait_that_is_out_of_time_tells_who_has_it_and_who_not_and_the_write_stands() -> None:
    replica = replica_with("b", "c")
    effects = write(replica, timeout_s=0.5)
    feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x00"), "b")
    assert ended(replica.tick(at(0.49))) is None
    late = ended(replica.tick(at(0.5)))
    assert late == WriteConcernEnded(
        1, False, lan("a", "b"), (Lacking(Peer(PoolKind.LAN, "c"), MemberState.ALIVE),)
    )
    assert replica.store.value("k") == b"v"
    assert ended(replica.tick(at(1.0))) is None


def test_who_dies_while_it_is_waited_for_is_named_and_who_leaves_is_not_waited_for() -> None:
    replica = replica_with("b", "c", "d")
    effects = write(replica)
    feed(replica, Feedback(sequences(effects)[address_of(1)], b"\x00"), "b")
    feed(replica, member("c", 2, MemberState.DEAD), "b")
    assert ended(feed(replica, member("d", 3, MemberState.LEFT), "b")) is None
    late = ended(replica.tick(at(5.0)))
    assert late is not None
    assert late.lacking == (
        Lacking(Peer(PoolKind.LAN, "c"), MemberState.DEAD),
        Lacking(Peer(PoolKind.LAN, "d"), MemberState.LEFT),
    )

    other = replica_with("b", "d")
    effects = write(other)
    feed(other, Feedback(sequences(effects)[address_of(1)], b"\x00"), "b")
    waited = ended(feed(other, member("d", 2, MemberState.LEFT), "b"))
    assert waited == WriteConcernEnded(
        1, True, lan("a", "b"), (Lacking(Peer(PoolKind.LAN, "d"), MemberState.LEFT),)
    )


def test_a_cancelled_wait_asks_nobody_and_ends_without_a_word() -> None:
    replica = replica_with("b")
    write(replica, timeout_s=1.0)
    assert replica.cancel(1, at()) == []
    assert version_queries(replica.tick(at(ASK_FIRST_S))) == {}
    assert ended(replica.tick(at(1.0))) is None
    assert not replica.acks
    replica.cancel(1, at())


def test_waits_end_when_the_node_leaves() -> None:
    replica = replica_with("b")
    write(replica)
    waited = ended(replica.leave(at(0.1)))
    assert waited is not None
    assert not waited.met


def test_a_write_without_a_wait_asks_nobody() -> None:
    replica = replica_with("b", "c")
    replica.put("k", b"v", at())
    effects = replica.tick(at()) + replica.tick(at(ASK_FIRST_S)) + replica.tick(at(0.2))
    assert version_queries(effects) == {}
    assert {type(message) for _, message in told(LAN, effects)} <= {Gossip, Rumor, Ping}


# -- needs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("1", WriteConcern(Scope.ANY, 1)),
        ("majority", MAJORITY),
        ("all", ALL),
        ("zone:2", WriteConcern(Scope.EACH_ZONE, 2)),
        ("other-zone:3", WriteConcern(Scope.OTHER_ZONE, 3)),
    ],
)
def test_a_need_is_read_and_written(text: str, need: WriteConcern) -> None:
    assert parse_write_concern(text) == need
    assert str(need) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "1.5",
        "some",
        "zone",
        "zone:",
        "zone:0",
        "all:1",
        ":1",
        "zone:x",
        "9999999",
        "٣",
        "All",
    ],
)
def test_what_says_nothing_that_can_be_waited_for_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match="wait ="):
        parse_write_concern(text)


def met_after(
    need: WriteConcern, *holders: str, zones: dict[str, str] | None = None, dead: str = ""
) -> bool:
    """Whether the need is met once these of b, c, d and e hold the write of a."""
    zones = zones or {}
    replica = make_replica("a", zone=zones.get("a", ""))
    for name, place in PEERS.items():
        state = MemberState.DEAD if name in dead else MemberState.ALIVE
        replica.pools.lan.membership.merge(member(name, place, zone=zones.get(name, "")), at())
        replica.pools.lan.membership.merge(
            member(name, place, state, zone=zones.get(name, "")), at()
        )
    replica._drain(at())
    effects = write(replica, need)
    for name in holders:
        effects += feed(
            replica, Feedback(sequences(effects)[address_of(PEERS[name])], b"\x00"), name
        )
    waited = ended(effects)
    return waited is not None and waited.met


def test_a_number_counts_this_node() -> None:
    assert met_after(WriteConcern(Scope.ANY, 1))
    assert not met_after(WriteConcern(Scope.ANY, 3), "b")
    assert met_after(WriteConcern(Scope.ANY, 3), "b", "e")


def test_a_majority_is_one_of_all_that_have_not_left_also_of_the_dead() -> None:
    assert not met_after(MAJORITY, "b")
    assert met_after(MAJORITY, "b", "c")
    assert not met_after(MAJORITY, "b", dead="cde")


def test_zones_are_counted_each_by_itself() -> None:
    zones = {"a": "z1", "b": "z1", "c": "z2", "d": "z2", "e": "z3"}
    each, two, other = (
        WriteConcern(Scope.EACH_ZONE, 1),
        WriteConcern(Scope.EACH_ZONE, 2),
        WriteConcern(Scope.OTHER_ZONE, 2),
    )
    assert not met_after(each, "b", "c", zones=zones)
    assert met_after(each, "c", "e", zones=zones)
    assert not met_after(two, "b", "c", "e", zones=zones)
    assert met_after(two, "b", "c", "d", "e", zones=zones)
    assert not met_after(other, "b", "c", zones=zones)
    assert met_after(other, "c", "e", zones=zones)


def test_a_need_that_so_few_cannot_meet_is_refused_before_anything_is_written() -> None:
    replica = replica_with("b")
    with pytest.raises(CannotMeetError, match="2 such members"):
        replica.check_wait(WriteConcern(Scope.ANY, 3))
    with pytest.raises(CannotMeetError):
        replica.check_wait(WriteConcern(Scope.OTHER_ZONE, 1))
    with pytest.raises(NotFoundError):
        replica.wait(1, "nothing", ALL, 1.0, at())


def test_so_many_wait_and_no_more() -> None:
    replica = replica_with("b")
    replica.put("k", b"v", at())
    for title in range(WAITS_MAX):
        replica.wait(title, "k", ALL, 1.0, at())
    with pytest.raises(OverloadedError):
        replica.check_wait(ALL)
    assert (
        len([effect for effect in replica.tick(at(1.0)) if isinstance(effect, WriteConcernEnded)])
        == WAITS_MAX
    )
    assert not replica.acks


# -- datacenters ---------------------------------------------------------------------------------


def test_all_means_the_own_datacenter_and_on_a_gateway_the_gateways_too() -> None:
    network = Network()
    network.add("p1", datacenter="paris", gateway=True)
    network.add("p2", datacenter="paris", join=(str(address_of(0)),))
    network.add("t1", datacenter="tokyo", gateway=True, join_wan=(f"{address_of(0).host}:7483",))
    network.add("t2", datacenter="tokyo", join=(str(address_of(2)),))
    network.until(
        lambda: (
            all(replica.settled for replica in network.replicas.values())
            and network.state("p2", "p1") is not None
        )
    )
    network.run(10.0)
    for name, wanted in (
        ("p1", {(PoolKind.LAN, "p1"), (PoolKind.LAN, "p2"), (PoolKind.WAN, "t1")}),
        ("p2", set(lan("p1", "p2"))),
    ):
        network.put(name, "k", name.encode())
        network.perform(name, network.replicas[name].wait(1, "k", ALL, 5.0, network.now(name)))
        network.until(lambda name=name: ended(network.effects[name]) is not None)  # type: ignore[misc]
        waited = ended(network.effects[name])
        assert waited is not None
        assert (waited.met, set(waited.held_by)) == (True, wanted)


# -- in the simulator ----------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def _feedback_is_taken_for_a_body(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        AckTracker, "prompt", lambda acks, peer, key: acks.showed(peer, key, b"\xff" * 16)
    )


def _equal_roots_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    saw = ProbeAnswers._saw

    def believing(answers: ProbeAnswers, probe: Any, now: Any, **named: bool) -> None:
        answers._acks.equals(Peer(answers._kind, probe.sender), answers._store.record)
        saw(answers, probe, now, **named)

    patch.setattr(ProbeAnswers, "_saw", believing)


def _old_versions_are_good_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("kvgossip.protocol.acks.inquiry.holds", lambda record, version: True)


def _one_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wait, "met", property(lambda wait: len(wait.shown) > 1))


def _time_does_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AckTracker, "tick", lambda acks, now: None)
    patch.setattr(
        Replica, "deadline", lambda replica: min(pool.deadline() for pool in replica.pools)
    )


HARSH = Intensity(
    loss=0.2, crash_rate=0.02, partition_rate=0.2, pause_rate=0.01, clock_skew_ms=2000.0
)


def harsh_runs(seeds: int) -> Iterator[Report]:
    """Many waits under many faults: small and large entries, nodes that crash and come back, clocks
    that refuse."""
    mix = Mix(writes=150, large_share=0.3, large_bytes=5000)
    parameters = {"digest_levels": 2, "clock_drift_max_s": 1.0, "direct_fanout": 2}
    options = Options(
        nodes=(5, 7),
        intensity=HARSH,
        duration_s=10.0,
        mix=mix,
        parameters=parameters,
        wait_share=1.0,
    )
    return (simulate(seed, options) for seed in range(seeds))


def test_who_is_said_to_hold_a_version_does_under_loss_partitions_and_crashes() -> None:
    met = unmet = 0
    for report in harsh_runs(6):
        assert report.passed, report.violation
        met, unmet = met + report.waits_met, unmet + report.waits_unmet
    assert min(met, unmet) > 50


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_feedback_is_taken_for_a_body, "held by a node that never had it"),
        (_equal_roots_are_not_looked_at, "held by a node that never had it"),
        (_old_versions_are_good_enough, "held by a node that never had it"),
        (_one_is_enough, "met by|met although"),
        (_time_does_not_count, "a wait that is due has not ended"),
    ],
)
def test_a_planted_mistake_of_waits_is_caught(
    plant: Plant, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    violation = next((report.violation for report in harsh_runs(4) if report.violation), None)
    assert violation is not None, "four seeds have not found it"
    assert any(text in violation.text for text in said.split("|")), violation
