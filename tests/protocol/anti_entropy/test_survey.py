"""Surveys: who differs right now, and by how many keys."""

from __future__ import annotations

import pytest

from kvgossip.errors import OverloadedError
from kvgossip.protocol.anti_entropy.survey import SURVEYS_MAX, measure, question
from kvgossip.protocol.effect import Effect, Surveyed
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.message import Measure, Precision
from tests.protocol.net import Network, at, make_replica, refused

SURVEYED = 1


def surveyed(effects: list[Effect]) -> dict[str, tuple[int, Precision]]:
    return {
        effect.peer.name: (effect.keys, effect.precision)
        for effect in effects
        if isinstance(effect, Surveyed)
    }


def survey(network: Network, name: str) -> dict[str, tuple[int, Precision]]:
    """What this node hears within half a second."""
    first = len(network.effects[name])
    network.perform(name, network.replicas[name].survey(SURVEYED, network.now(name)))
    network.run(0.5)
    network.perform(name, network.replicas[name].cancel(SURVEYED, network.now(name)))
    return surveyed(network.effects[name][first:])


def test_equal_nodes_say_so_exactly() -> None:
    network = Network()
    network.cluster("a b c")
    network.put("a", "k", b"v")
    network.run(3.0)
    assert survey(network, "a") == {"b": (0, Precision.EXACT), "c": (0, Precision.EXACT)}


@pytest.mark.parametrize("keys", [1, 60])
def test_a_small_difference_is_told_exactly_whoever_has_the_newer_version(keys: int) -> None:
    network = Network()
    network.cluster("a b c")
    for number in range(2 * keys):
        network.put("a", f"k{number}", b"old")
    network.run(20.0)
    network.passes = lambda frm, to, reliable: reliable
    for number in range(keys):
        network.put("ab"[number % 2], f"k{number}", b"new")
    network.run(0.01)
    answers = survey(network, "a")
    assert answers["b"] == (keys, Precision.EXACT)
    assert answers["c"] == ((keys + 1) // 2, Precision.EXACT)


def asked_of(store: Store) -> Measure:
    return question(store, store.digest.numbered(1), "a")


def test_a_larger_difference_is_an_estimate_and_a_very_large_one_a_lower_bound() -> None:
    one, other = make_replica("a", digest_levels=3), make_replica("b", digest_levels=3)
    for each in (one, other):
        each.cluster_id.take(ClusterId(1, 1))
    for number in range(800):
        one.put(f"k{number}", b"v", at())
    keys, precision = measure(other.store, asked_of(one.store))
    assert precision is Precision.ESTIMATE
    assert 650 < keys < 950
    for number in range(20_000):
        one.put(f"m{number}", b"v", at())
    keys, precision = measure(other.store, asked_of(one.store))
    assert precision is Precision.AT_LEAST
    assert 1_500 < keys < 20_800


def test_who_places_keys_by_another_seed_does_not_say_by_how_many_it_differs() -> None:
    one, other = make_replica("a"), make_replica("b")
    one.cluster_id.take(ClusterId(1, 1, seed=5))
    assert refused(lambda: measure(other.store, asked_of(one.store))) == "other_positions"
    other.cluster_id.take(one.cluster_id.value)
    assert measure(other.store, asked_of(one.store)) == (0, Precision.EXACT)


def test_questions_that_make_no_sense_are_refused() -> None:
    replica = make_replica("a")
    number = replica.store.digest.numbered(1)
    assert (
        refused(lambda: measure(replica.store, Measure(number, "b", 1, b"", bytes(13))))
        == "bad_message"
    )
    assert (
        refused(lambda: measure(replica.store, Measure(number, "b", 1, b"", bytes(12 * 5000))))
        == "bad_message"
    )
    assert measure(replica.store, Measure(number, "b", 1, b"", b"")) == (1, Precision.AT_LEAST)


def test_an_answer_that_nobody_waits_for_is_nothing_and_surveys_are_bounded() -> None:
    network = Network()
    network.cluster("a b")
    network.perform("a", network.replicas["a"].survey(SURVEYED, network.now("a")))
    network.perform("a", network.replicas["a"].cancel(SURVEYED, network.now("a")))
    network.run(1.0)
    assert surveyed(network.effects["a"]) == {}
    lone = make_replica("x")
    for ticket in range(SURVEYS_MAX):
        assert lone.survey(ticket, at()) == []
    with pytest.raises(OverloadedError):
        lone.survey(SURVEYS_MAX, at())
    lone.cancel(0, at())
    lone.survey(SURVEYS_MAX, at())


def test_a_gateway_asks_its_datacenter_and_the_other_gateways_each_once() -> None:
    network = Network()
    network.add("p1", datacenter="paris", gateway=True)
    seed, wan_seed = "10.0.0.1:7481", "10.0.0.1:7483"
    network.add("p2", datacenter="paris", gateway=True, join=(seed,), join_wan=(wan_seed,))
    network.add("t1", datacenter="tokyo", gateway=True, join_wan=(wan_seed,))
    network.until(lambda: all(replica.settled for replica in network.replicas.values()))
    network.run(10.0)
    network.perform("p1", network.replicas["p1"].survey(SURVEYED, network.now("p1")))
    network.run(1.0)
    peers = [effect.peer for effect in network.effects["p1"] if isinstance(effect, Surveyed)]
    assert sorted(peers, key=lambda peer: peer.name) == [
        Peer(PoolKind.LAN, "p2"),
        Peer(PoolKind.WAN, "t1"),
    ]
