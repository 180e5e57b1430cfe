"""Surveys: who differs right now, and by how many keys; and who made what of a release."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kvgossip.config import Address
from kvgossip.errors import OverloadedError
from kvgossip.protocol.acks.applied import PROCESSES_MAX, AppliedReports, Report
from kvgossip.protocol.anti_entropy.survey import SURVEYS_MAX, Topic, measure, question
from kvgossip.protocol.effect import AppliedReported, Effect, OverviewReported, Surveyed
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.message import Measure, Precision
from kvgossip.protocol.wire.overview_messages import NAMES_MAX, AskOverview, Overview
from kvgossip.protocol.wire.release_messages import AppliedBy, AppliedHere, AskApplied
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, STRANGER, Network, at, make_replica, refused
from tests.protocol.net import told as messages_of

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
    asked = question(store, store.digest.numbered(1), "a")
    assert isinstance(asked, Measure)
    return asked


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


# -- of releases ---------------------------------------------------------------------------------


def told(effects: list[Effect]) -> dict[str, tuple[AppliedBy, ...]]:
    return {
        effect.peer.name: effect.applied
        for effect in effects
        if isinstance(effect, AppliedReported)
    }


def ask(network: Network, name: str, prefix: str) -> dict[str, tuple[AppliedBy, ...]]:
    """What this node hears within half a second."""
    first = len(network.effects[name])
    network.perform(
        name, network.replicas[name].survey(SURVEYED, network.now(name), Topic.APPLIED, prefix)
    )
    network.run(0.5)
    network.perform(name, network.replicas[name].cancel(SURVEYED, network.now(name)))
    return told(network.effects[name][first:])


def test_members_say_what_their_processes_made_of_a_prefix_and_those_without_any_say_so() -> None:
    network = Network()
    network.cluster("a b c")
    network.replicas["b"].shell_report.applied.tell(
        [
            Report("shop/", "r2"),
            Report("shop/", "r2", [("rate", "too many")]),
            Report("shop/", "r1"),
            Report("other/", "x"),
        ]
    )
    assert ask(network, "a", "shop/") == {
        "b": (AppliedBy("r2", 1, (("rate", "too many"),)), AppliedBy("r1", 1)),
        "c": (),
    }
    assert ask(network, "c", "none/") == {"a": (), "b": ()}
    assert told(network.effects["b"]) == {}


def test_a_node_that_does_not_know_the_question_is_silent() -> None:
    network = Network()
    network.cluster("a b c")
    older = network.replicas["b"].pools.lan.dispatch
    older._handlers[AskApplied] = lambda message, arrival: None
    assert ask(network, "a", "shop/") == {"c": ()}


def test_an_answer_about_releases_counts_from_the_member_alone_and_while_it_is_asked() -> None:
    network = Network()
    network.cluster("a b")
    a, b = network.replicas["a"], network.replicas["b"]
    sent = messages_of(LAN, a.survey(SURVEYED, network.now("a"), Topic.APPLIED, "shop/"))
    (asked,) = (each for _, each in sent if isinstance(each, AskApplied))
    answer = AppliedHere(asked.number, "b", (AppliedBy("r1", 1),))

    def hear(said: AppliedHere, source: Address) -> list[Effect]:
        return a.receive(LAN.frame([encode(said)]), source, network.now("a"), reliable=True)

    assert told(hear(answer, STRANGER)) == {}
    assert told(hear(replace(answer, number=asked.number + 1), b.member.address)) == {}
    assert told(hear(answer, b.member.address)) == {"b": (AppliedBy("r1", 1),)}
    a.cancel(SURVEYED, network.now("a"))
    assert told(hear(answer, b.member.address)) == {}


def test_a_survey_of_releases_is_asked_over_links_alone() -> None:
    network = Network()
    network.cluster("a b")
    question_ = LAN.frame([encode(AskApplied(1, "a", "shop/"))])
    b, source = network.replicas["b"], network.replicas["a"].member.address
    assert messages_of(LAN, b.receive(question_, source, network.now("b"))) == []
    answered = b.receive(question_, source, network.now("b"), reliable=True)
    assert AppliedHere(1, "b") in [each for _, each in messages_of(LAN, answered)]


@given(
    st.lists(
        st.builds(
            Report,
            st.just("shop/"),
            st.text(max_size=80),
            st.lists(st.tuples(st.text(max_size=600), st.text(max_size=900)), max_size=20),
        ),
        max_size=40,
    )
)
def test_whatever_processes_report_the_answer_is_one_that_every_peer_reads(
    reports: list[Report],
) -> None:
    kept = AppliedReports()
    kept.tell(reports)
    answer = AppliedHere(1, "b", kept.under("shop/"))
    data = LAN.frame([encode(answer)], reliable=True)
    assert LAN.open(data, reliable=True) == ([answer], [])
    assert len(encode(answer)) < 2**18
    assert sum(each.processes for each in answer.applied) <= len(reports)


def test_what_is_told_replaces_what_was_told_and_of_too_many_the_first_count() -> None:
    kept = AppliedReports()
    kept.tell([Report("shop/", "r1"), Report("other/", "r1")])
    kept.tell([Report("shop/", "r1")])
    assert (kept.under("shop/"), kept.under("other/")) == ((AppliedBy("r1", 1),), ())
    kept.tell(Report("shop/", "r1" if number < 5 else "r2") for number in range(2 * PROCESSES_MAX))
    assert kept.under("shop/") == (AppliedBy("r2", PROCESSES_MAX - 5), AppliedBy("r1", 5))
    kept.tell([])
    assert kept.under("shop/") == ()


# -- of overviews --------------------------------------------------------------------------------


def overviews(effects: list[Effect]) -> dict[str, Overview]:
    return {
        effect.peer.name: effect.overview
        for effect in effects
        if isinstance(effect, OverviewReported)
    }


def test_members_say_of_themselves_what_they_know_and_whom_they_suspect() -> None:
    network = Network()
    network.cluster("a b c")
    network.put("a", "key", b"value")
    network.run(1.0)
    b = network.replicas["b"]
    b.shell_report.software, b.shell_report.tokens = "9.9", "none"
    b.shell_report.overload, b.shell_report.quarantined = lambda: "too\nmuch", lambda: 7
    network.perform("b", b.block("c", network.now("b")))
    network.perform("b", b.block("10.2.0.0/16", network.now("b")))
    older = network.replicas["c"].pools.lan.dispatch
    older._handlers[AskOverview] = lambda message, arrival: None
    first = len(network.effects["a"])
    network.perform("a", network.replicas["a"].survey(SURVEYED, network.now("a"), Topic.OVERVIEW))
    network.run(0.5)
    told = overviews(network.effects["a"][first:])
    assert list(told) == ["b"], "a node that does not know the question is silent"
    assert replace(told["b"], number=0) == Overview(
        0,
        "b",
        software="9.9",
        sync_state=SyncState.SETTLED,
        keys=1,
        entries=1,
        overload="toomuch",
        tokens="none",
        blocked=("10.2.0.0/16", "c"),
        quarantined=7,
    )


def test_an_overview_is_asked_over_links_alone_and_names_the_first_of_many() -> None:
    network = Network()
    network.cluster("a b")
    question_ = LAN.frame([encode(AskOverview(1, "a"))])
    b, source = network.replicas["b"], network.replicas["a"].member.address
    assert messages_of(LAN, b.receive(question_, source, network.now("b"))) == []
    for number in range(NAMES_MAX + 1):
        b.block(f"192.168.{number}.0/24", network.now("b"))
    answers = b.receive(question_, source, network.now("b"), reliable=True)
    (overview,) = (each for _, each in messages_of(LAN, answers) if isinstance(each, Overview))
    assert overview.blocked == tuple(b.blocklist.targets()[:NAMES_MAX])
