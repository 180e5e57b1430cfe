"""Clocks that are wrong, in clusters: nothing is lost by them, and nothing that a node says of
itself is false because of them (protocol.md sections 5, 6 and 8)."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.errors import ClockAheadError
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.doctor.diagnosis import diagnose
from kvgossip.protocol.effect import Dropped, Examined, Expired, Quarantined, Revived
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.entry import expires_in, timestamp_in
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Gossip, Rumor
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, WALL_MS, Disk, Network, address_of, at, logs, record
from tests.protocol.rumors.test_mongering import replica_with
from tests.protocol.tombstones.test_expiry import put, served

HOUR_S, HOUR_MS = 3600.0, 3_600_000


def set_all(net: Network, skew_ms: int) -> None:
    net.skew_ms = dict.fromkeys(net.replicas, skew_ms)


def reasons(net: Network, name: str) -> list[str]:
    return [reason.code for reason in net.replicas[name].readiness.reasons(net.now(name))]


def went(
    net: Network, *kinds: type[Expired] | type[Dropped] | type[Quarantined]
) -> list[tuple[str, str]]:
    """The keys of these effects, with the node of each."""
    return [
        (name, effect.key)
        for name, effects in net.effects.items()
        for effect in effects
        if isinstance(effect, (Dropped, Expired, Quarantined)) and isinstance(effect, kinds)
    ]


def findings(net: Network, name: str) -> dict[str, tuple[str, ...]]:
    net.effects[name].clear()
    net.perform(name, net.replicas[name].examine(net.now(name)))
    net.run(5.0)
    (report,) = [effect.report for effect in net.effects[name] if isinstance(effect, Examined)]
    return {finding.code: finding.members for finding in diagnose(report)}


# -- expiry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["a b", "a b c", "a b c d e"])
def test_lesson_25_one_clock_that_is_ahead_takes_no_value_from_the_others_and_shows_its_own_again(
    names: str,
) -> None:
    net = Network()
    net.cluster(names)
    for number in range(20):
        put(net, "a", f"lease/{number}", ttl_s=HOUR_S)
    net.run(60.0)
    fast = names[-1]
    net.skew_ms[fast] = 2 * HOUR_MS
    net.run(120.0)
    assert went(net, Dropped, Quarantined) == []
    assert all(replica.store.live == 20 for name, replica in net.replicas.items() if name != fast)
    net.skew_ms[fast] = 0
    net.run(20.0)
    assert [replica.store.live for replica in net.replicas.values()] == [20] * len(net.replicas)
    assert net.converged()
    for replica in net.replicas.values():
        replica.store._check()
    # and when their time has come, they go from all
    net.run(HOUR_S)
    assert {replica.store.live for replica in net.replicas.values()} == {0}
    net.until(lambda: all(len(replica.store) == 0 for replica in net.replicas.values()), 240)
    assert went(net, Quarantined) == []


def test_with_two_peers_a_clock_that_is_ahead_does_not_even_hide_values_from_its_own_clients() -> (
    None
):
    net = Network()
    net.cluster("a b c")
    put(net, "a", "k", ttl_s=HOUR_S)
    net.run(10.0)
    net.skew_ms["c"] = 2 * HOUR_MS
    net.run(60.0)
    assert served(net, "k") == [b"v"] * 3
    assert went(net, Expired) == []


def test_a_value_whose_time_has_not_come_by_the_own_clock_stays_though_others_have_collected_it() -> (
    None
):
    net = Network()
    net.cluster("a b c")
    put(net, "a", "k", ttl_s=30.0)
    net.run(5.0)
    net.skew_ms["c"] = -600_000
    net.run(300.0)
    assert went(net, Quarantined) == []
    assert net.replicas["c"].store.value("k") == b"v"
    net.skew_ms["c"] = 0
    net.run(120.0)
    assert went(net, Quarantined) == []
    assert served(net, "k") == [None] * 3
    assert net.converged()


def test_it_stays_as_well_where_no_clock_that_the_node_knows_shows_that_it_has_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, saw = Network(), ClockGuard.saw

    def saw_others(clocks: ClockGuard, peer: str, *shown: Any) -> None:
        if peer != "a" or clocks is not net.replicas["c"].clock_guard:
            saw(clocks, peer, *shown)

    monkeypatch.setattr(ClockGuard, "saw", saw_others)
    net.disks = {"a": Disk()}
    net.cluster("a b c")
    put(net, "a", "k", ttl_s=30.0)
    net.run(5.0)
    net.skew_ms["c"] = -600_000
    net.run(300.0)
    assert {name for name, _ in went(net, Dropped)} == {"a", "b"}
    # the one whose clock it knows is now behind as well
    net.skew_ms["b"] = -600_000
    net.run(60.0)
    assert net.replicas["c"].store.value("k") == b"v"
    # and so is the one that says so, in a life whose clock has not come to its expiry yet
    net.crash("a")
    net.skew_ms["a"] = -600_000
    net.add("a", 0)
    net.run(60.0)
    assert net.replicas["c"].store.value("k") == b"v"
    set_all(net, 0)
    net.until(lambda: all(not len(replica.store) for replica in net.replicas.values()))
    assert went(net, Quarantined) == []


@pytest.mark.parametrize(("said_s", "stays"), [(0.0, False), (40.0, False), (90.0, True)])
def test_a_value_that_was_to_live_longer_than_anything_that_a_peer_may_have_seen_expire_was_deleted(
    said_s: float, stays: bool
) -> None:
    replica = replica_with("b")
    replica.put("k", b"v", at(), ttl_s=60.0)
    (fingerprint,) = replica.store.digest.fingerprints(replica.store.records())
    said_ms = WALL_MS + int(said_s * 1000)
    assert replica.tombstones.drops.in_exchange([fingerprint], "b", said_ms, at()) == (not stays)
    assert (replica.store.value("k") == b"v") is stays


def test_what_expires_as_a_clock_is_set_forward_is_not_taken_out_before_watchers_have_heard_so() -> (
    None
):
    replica = replica_with("b")
    replica.put("k", b"v", at(), ttl_s=1.0)
    (fingerprint,) = replica.store.digest.fingerprints(replica.store.records())
    drops, late = replica.tombstones.drops, at(60.0)
    assert drops.in_exchange([fingerprint], "b", 0, late) == 0
    effects = replica.tick(late)
    assert [type(effect) for effect in effects if isinstance(effect, (Expired, Dropped))] == [
        Expired
    ]
    assert drops.in_exchange([fingerprint], "b", 0, late) == 1
    effects = replica.tick(late)
    assert any(isinstance(effect, Dropped) for effect in effects)
    assert not any(isinstance(effect, Quarantined) for effect in effects)


def test_what_has_expired_is_served_again_when_the_clock_is_set_back_but_not_for_a_small_step() -> (
    None
):
    replica = replica_with("b")  # which confirms nothing, so that nothing is collected
    for number in range(1500):
        replica.put(f"k{number}", b"v", at(), ttl_s=60.0 if number % 2 else 6000.0)
    late = Now(at(1.0).monotonic_s, WALL_MS + 7_000_000)
    while replica.store.live:
        replica.tick(late)
    for wall_ms, live in ((5_995_000, 0), (0, 1500), (61_000, 750), (55_000, 750), (45_000, 1500)):
        effects = []
        for step in range(20):
            effects += replica.tick(Now(at(2.0 + step).monotonic_s, WALL_MS + wall_ms))
        assert replica.store.live == live, wall_ms
        assert len({effect.key for effect in effects if isinstance(effect, Revived)}) in (
            0,
            750,
            1500,
        )
        replica.store._check()
    assert {expires_in(replica.store[f"k{number}"]) for number in range(4)} == {
        WALL_MS + 60_000,
        WALL_MS + 6_000_000,
    }


def test_a_node_whose_versions_lie_in_the_future_gives_a_lease_the_time_that_was_asked_for() -> (
    None
):
    net = Network()
    net.cluster("a b c")
    set_all(net, HOUR_MS)
    net.put("a", "k", b"v")
    net.run(2.0)
    set_all(net, 0)
    net.run(10.0)
    put(net, "a", "lease", ttl_s=30.0)
    net.run(29.0)
    assert served(net, "lease") == [b"v"] * 3
    net.run(12.0)
    assert served(net, "lease") == [None] * 3


# -- a clock that was ahead ------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["a b", "a b c", "a b c d e"])
def test_lesson_25_who_was_ahead_refuses_what_its_peers_would_refuse_and_says_so(
    names: str,
) -> None:
    net = Network()
    net.cluster(names)
    net.run(5.0)
    net.skew_ms["b"] = HOUR_MS
    net.replicas["b"].clock_guard._peers.clear()  # it does not know yet
    net.replicas["b"].clock_guard._since_s.clear()
    net.replicas["b"].clock_guard._votes.clear()
    net.put("b", "glitch", b"v")
    net.run(0.01)
    net.skew_ms["b"] = 0
    net.run(5.0)
    with pytest.raises(ClockAheadError, match=r"359\d\.\d s in the future") as caught:
        net.put("b", "later", b"v")
    assert "takes writes again in 358" in caught.value.hint
    assert any("has been set back" in text for text in logs(net.effects["b"]))
    assert any("refused what 'b' sent" in text for text in logs(net.effects["a"]))
    assert findings(net, "a")["clock_trouble"] == ("b",)
    net.put("a", "later", b"v")
    net.run(1.0)
    assert served(net, "later") == [b"v"] * len(net.replicas)
    # its reads are as good as others'
    assert not any(reasons(net, name) for name in net.replicas)
    net.run(HOUR_S)
    net.put("b", "glitch", b"after an hour")
    net.until(net.converged)
    assert served(net, "glitch") == [b"after an hour"] * len(net.replicas)


def test_where_all_clocks_were_set_back_writes_go_on_and_reach_all() -> None:
    net = Network()
    net.cluster("a b c")
    set_all(net, HOUR_MS)
    for number in range(6):
        net.put("abc"[number % 3], f"k{number}", b"1")
    net.run(5.0)
    set_all(net, 0)
    net.run(8.0)
    for number in range(6):
        net.put("abc"[number % 3], f"k{number}", b"2")
    net.run(2.0)
    assert [served(net, f"k{number}") for number in range(6)] == [[b"2"] * 3] * 6
    assert not any(reasons(net, name) for name in net.replicas)
    assert findings(net, "a")["clock_trouble"]
    # who joins now takes all of it, once it has seen that most are there
    net.add("d", join=(str(address_of(0)),))
    net.until(lambda: net.replicas["d"].settled, 20)
    net.put("d", "k0", b"3")
    net.run(2.0)
    assert served(net, "k0") == [b"3"] * 4
    assert net.converged()


def test_heard_versions_do_not_lead_a_right_clock_into_the_future_step_by_step() -> None:
    net = Network()
    net.cluster("a b")
    net.run(5.0)
    for step in range(1, 20):
        net.skew_ms["b"] = 9_000 * step
        net.put("b", "k", b"%d" % step)
        net.run(0.1)
        # a small step back, as NTP makes it, opens no door
        net.skew_ms["a"] = -step
    assert net.replicas["a"].hlc.ahead_ms(net.now("a").wall_ms) <= 10_100


def test_a_life_that_goes_on_from_a_disk_of_the_future_writes_nothing_before_it_is_due() -> None:
    net = Network()
    net.disks = {"a": Disk()}
    net.add("a")
    net.skew_ms["a"] = HOUR_MS
    net.put("a", "k", b"v")
    net.crash("a")
    net.skew_ms["a"] = 0
    net.add("a", 0)
    net.add("b", join=(str(address_of(0)),))
    net.run(5.0)
    with pytest.raises(ClockAheadError):
        net.put("a", "k", b"w")


# -- a clock that is behind ------------------------------------------------------------------------


@pytest.mark.parametrize("behind_ms", [60_000, HOUR_MS, WALL_MS])
def test_who_joins_one_node_with_a_clock_that_is_behind_is_not_settled_and_is_whole_when_it_is_right(
    behind_ms: int,
) -> None:
    net = Network()
    net.cluster("a")
    net.run(5.0)
    for number in range(100):
        net.put("a", f"k{number}", b"v")
    net.run(2.0)
    net.skew_ms["z"] = -behind_ms
    net.add("z", join=(str(address_of(0)),))
    net.run(40.0)  # its clock does not reach the time of the writes yet
    assert not net.replicas["z"].settled
    assert reasons(net, "z")
    assert any(
        "refused what " in text and "ahead of the clock of this node" in text
        for text in logs(net.effects["z"])
    )
    # it takes writes all the same, and does not lose them
    net.put("z", "from-z", b"v")
    net.skew_ms["z"] = 0
    net.until(lambda: net.converged() and net.replicas["z"].settled, 15)
    assert served(net, "from-z") == [b"v"] * len(net.replicas)
    assert reasons(net, "z") == []


@pytest.mark.parametrize("behind_ms", [60_000, HOUR_MS])
def test_who_joins_two_with_a_clock_that_is_behind_takes_what_they_have_and_is_not_ready(
    behind_ms: int,
) -> None:
    net = Network()
    net.cluster("a b")
    net.run(5.0)
    net.put("a", "k", b"1")
    net.run(2.0)
    net.skew_ms["z"] = -behind_ms
    net.add("z", join=(str(address_of(0)),))
    net.run(0.3)
    assert not net.replicas["z"].settled
    net.until(lambda: net.replicas["z"].settled, 30)
    assert net.converged()
    assert reasons(net, "z") == ["clock_behind"]
    # and what is written there later is later
    net.put("z", "k", b"2")
    net.run(1.0)
    assert served(net, "k") == [b"2"] * 3


def test_a_clock_that_is_set_back_on_a_running_node_makes_it_not_ready() -> None:
    net = Network()
    net.cluster("a b c")
    net.run(5.0)
    net.skew_ms["c"] = -30_000
    net.run(15.0)
    net.put("a", "k", b"v")
    net.run(2.0)
    assert served(net, "k") == [b"v"] * 3
    assert reasons(net, "c") == ["clock_behind"]
    assert any("30.0 s behind its peers' median" in text for text in logs(net.effects["c"]))
    assert findings(net, "a")["clock_behind"] == ("c",)
    assert not reasons(net, "a")
    assert not reasons(net, "b")
    net.skew_ms["c"] = 0
    net.until(lambda: net.converged() and not reasons(net, "c"), 30)


def test_one_node_from_the_future_does_not_keep_a_fresh_cluster_from_settling() -> None:
    net = Network()
    seeds = tuple(str(address_of(place)) for place in range(3))
    net.skew_ms["a"] = HOUR_MS
    net.add("a", join=seeds)
    net.put("a", "at-boot", b"v")
    net.run(2.0)
    net.skew_ms["a"] = 0
    net.add("b", join=seeds)
    net.add("c", join=seeds)
    net.until(lambda: all(replica.settled for replica in net.replicas.values()), 30)
    with pytest.raises(ClockAheadError):
        net.put("a", "later", b"v")
    net.put("b", "later", b"v")
    net.run(2.0)
    assert served(net, "later") == [b"v"] * 3


def test_a_version_from_just_below_the_bound_ends_no_lease_and_shortens_none() -> None:
    net = Network()
    net.cluster("a b c")
    net.run(1.0)
    put(net, "b", "lease", ttl_s=8.0)
    net.run(0.5)
    ahead = record(b"v", net.now("a").wall_ms - WALL_MS + 9_900, 7)
    (outcome,) = net.replicas["a"].restore([("x", ahead)], net.now("a")).outcomes
    assert outcome is Outcome.REFUSED, "an import"
    rumor = LAN.frame([encode(Gossip(sequence=7, sender="b")), encode(Rumor("x", ahead))])
    net.perform("a", net.replicas["a"].receive(rumor, address_of(1), net.now("a")))
    net.run(0.5)
    assert all(replica.hlc.latest >= timestamp_in(ahead) for replica in net.replicas.values())
    put(net, "c", "later", ttl_s=8.0)
    net.run(6.0)
    assert served(net, "lease") == [b"v"] * 3
    net.run(1.5)
    assert served(net, "lease") == [None] * 3
    assert served(net, "later") == [b"v"] * 3
    net.run(10.5)
    assert served(net, "later") == [None] * 3, "no more than clocks may differ beyond its time"
