"""Liars: hostile ones that have the key, one of them a member. What they may do is written down in
docs/security.md: the rest breaks a law. And a mistake in a rule that holds them is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest

from kvgossip.config import Address
from kvgossip.protocol.anti_entropy.asked_exchange import AskedExchange
from kvgossip.protocol.anti_entropy.questions import Question
from kvgossip.protocol.anti_entropy.responder import Responder
from kvgossip.protocol.effect import Effect, Quarantined
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.tombstones import fuse
from kvgossip.protocol.tombstones.collection import TombstoneCollection
from kvgossip.protocol.tombstones.drops import Drops, Verdict
from kvgossip.protocol.tombstones.fuse import Fuse
from kvgossip.sim.checks.ledger import version_bytes
from kvgossip.sim.deletion import deletion_options
from kvgossip.sim.faults import Intensity
from kvgossip.sim.host import Life
from kvgossip.sim.liar import Liar
from kvgossip.sim.network import Weather
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import START_SPREAD_S, Simulation, simulate

STRANGER = Intensity(stranger_rate=3.0, partition_rate=0.1)
MEMBER = Intensity(hostile_rate=3.0, partition_rate=0.1)
NODES = 5
LIAR = f"n{NODES - 1}"
VICTIM = "n2"
SLANDERS_A_S, SLANDER_S = 20, 6.0
AWAY_SHARE_MAX = 0.05
"""Of the time: one false word is believed for a round trip, 0.12 s of the 6 s where packets take
0.05 to 0.06 s, and each of the others may hear its first one."""


def simulation(seed: int, intensity: Intensity) -> Simulation:
    """Five nodes with disks, for a quarter of a minute."""
    options = replace(
        deletion_options(seed),
        nodes=(NODES, NODES),
        datacenters=(1, 1),
        duration_s=15.0,
        durable=True,
        intensity=intensity,
    )
    return Simulation(scenario(seed, options))


def false_drops(seed: int, intensity: Intensity) -> int:
    """How many values that no correct node had deleted or superseded went to a quarantine."""
    run = simulation(seed, intensity)
    report = run.run()
    assert report.passed, report.violation
    assert report.faults["lie"] > 10
    return run.cluster.oracle.false_drops


@pytest.mark.parametrize("seed", range(4))
def test_a_stranger_with_the_key_makes_nobody_drop_what_a_correct_node_wrote(seed: int) -> None:
    assert false_drops(seed, STRANGER) == 0


@pytest.mark.parametrize("seed", range(3))
def test_what_a_member_lies_about_is_told_and_all_agree_once_it_has_gone(seed: int) -> None:
    report = simulation(seed, MEMBER).run()
    assert report.passed, report.violation
    assert report.faults["lie"] > 10


@pytest.mark.parametrize("seed", [110, 111])
def test_a_dot_that_was_made_up_keeps_no_tombstone_out(seed: int) -> None:
    """Its writer has vanished, so that nothing but the dot ever comes."""
    rates = {"hostile_rate": 2.0, "stranger_rate": 1.0, "crash_rate": 0.01, "partition_rate": 0.1}
    report = simulate(seed, Options(nodes=(5, 12), intensity=Intensity(**rates)))
    assert report.passed, report.violation


def drops(seed: int, intensity: Intensity) -> Counter[tuple[str, str]]:
    """How many values, that nobody had deleted or superseded, each life took out on whose word."""
    found: Counter[tuple[str, str]] = Counter()

    def observe(life: Life, effects: Sequence[Effect]) -> None:
        found.update(
            (life.title, effect.peer)
            for effect in effects
            if isinstance(effect, Quarantined)
            and run.cluster.oracle.is_newest(effect.key, version_bytes(effect.record))
        )

    run = simulation(seed, intensity)
    run.cluster.driver.observer = observe
    run.run()
    return found


def test_what_nodes_drop_on_a_liars_word_no_other_drops_on_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the liar makes up no contexts: of these others take over what is not here yet."""
    monkeypatch.setattr(Liar, "_facts", lambda liar, target: [])
    by_peer = {peer for _, peer in drops(2, MEMBER)}
    assert by_peer == {LIAR}


def most_drops(limit: int, patch: pytest.MonkeyPatch) -> int:
    """How many live values one life took out on the liar's word, where that may make it take out so
    many. Nobody is alone."""
    patch.setattr(fuse, "LIMIT", limit)
    found = drops(2, Intensity(hostile_rate=3.0))
    return max(count for (_, peer), count in found.items() if peer == LIAR)


def test_one_members_word_takes_out_no_more_than_the_fuse_lets_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert most_drops(2, monkeypatch) == 2


@dataclass(slots=True)
class Presence:
    """How often the others were asked whether the victim is there, and how often it was not."""

    asked: int = 0
    away: int = 0

    @property
    def away_share(self) -> float:
        return self.away / self.asked


def slandered(seed: int, *, one_way_s: float = 0.0) -> Presence:
    """What the others believe of a node that answers, while a stranger says to one after the other,
    SLANDERS_A_S times a second, that it is suspect or gone. `one_way_s`: of all packets."""
    run, seen = simulation(seed, Intensity()), Presence()
    cluster, rng = run.cluster, Random(seed)

    def others() -> list[Life]:
        return [life for life in cluster.running() if life.host.name != VICTIM]

    def slander() -> None:
        victim = next(life for life in cluster.running() if life.host.name == VICTIM)
        cluster.lies.slander(rng.choice(others()).host, victim)

    def look() -> None:
        for life in others():
            member = life.replica.pools.lan.membership.members.get(VICTIM)
            seen.asked += 1
            seen.away += member is None or not member.reachable

    def begin() -> None:
        """Once all know the victim, and it knows them."""
        lives = cluster.running()
        if len(lives) < NODES or any(
            len(life.replica.pools.lan.membership.reachable) < NODES - 1 for life in lives
        ):
            cluster.timeline.after(0.5, begin)
            return
        if one_way_s:
            cluster.network.weather = Weather(delay_min_s=one_way_s, delay_max_s=1.2 * one_way_s)
        for number in range(int(SLANDER_S * SLANDERS_A_S)):
            at_s = number / SLANDERS_A_S
            cluster.timeline.after(at_s, slander)
            for _ in range(4):
                cluster.timeline.after(at_s + rng.random() / SLANDERS_A_S, look)

    cluster.timeline.at(START_SPREAD_S, begin)
    report = run.run()
    assert report.passed, report.violation
    return seen


@pytest.mark.parametrize("one_way_s", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(2))
def test_a_member_that_answers_is_there_whatever_a_stranger_says_of_it(
    seed: int, one_way_s: float
) -> None:
    assert slandered(seed, one_way_s=one_way_s).away_share <= AWAY_SHARE_MAX


# -- mistakes --------------------------------------------------------------------------------------


def test_a_planted_mistake_taking_anybodys_word_for_a_members_takes_live_values_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def anybodys(
        responder: Responder, question: Question, source: Address, now: Now
    ) -> AskedExchange:
        return AskedExchange("n0", source, "n0")

    monkeypatch.setattr(Responder, "_asked_exchange", anybodys)
    monkeypatch.setattr(AskedExchange, "offered", lambda asked, prints, digest: prints)
    assert false_drops(0, STRANGER) > 0


def test_a_planted_mistake_that_hearsay_spreads_makes_others_repeat_the_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Drops, "judge", lambda *arguments: Verdict.NONE)
    monkeypatch.setattr(Drops, "sure", lambda told, facts, now: facts)
    assert {peer for _, peer in drops(2, MEMBER)} > {LIAR}


def test_a_planted_mistake_of_a_fuse_that_lets_all_pass_takes_out_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Fuse, "admit", lambda fuse, versions, peer, now: [True] * len(versions))
    assert most_drops(2, monkeypatch) > 2


def test_a_planted_mistake_of_gaps_that_never_end_leaves_tombstones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TombstoneCollection, "end_gaps", lambda collecting, wall_ms: 0)
    assert "are left, for" in str(simulation(0, MEMBER).run().violation)
