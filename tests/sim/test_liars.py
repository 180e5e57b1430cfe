"""Liars: hostile ones that have the key, one of them a member. What they may do is written down in
docs/security.md: the rest breaks a law. And a mistake in each rule that holds them is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from kvgossip.protocol.anti_entropy.asked_exchange import AskedExchange
from kvgossip.protocol.anti_entropy.responder import Responder
from kvgossip.protocol.effect import Effect, Quarantined
from kvgossip.protocol.tombstones import fuse
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.tombstones.collection import TombstoneCollection
from kvgossip.protocol.tombstones.drops import Drops, Verdict
from kvgossip.protocol.tombstones.fuse import Fuse
from kvgossip.sim.deletion import deletion_options
from kvgossip.sim.faults import Intensity
from kvgossip.sim.host import Life
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import Simulation, simulate

STRANGER = Intensity(stranger_rate=3.0, partition_rate=0.1)
MEMBER = Intensity(hostile_rate=3.0, partition_rate=0.1)
Plant = Callable[[pytest.MonkeyPatch], None]


def options(seed: int, intensity: Intensity) -> Options:
    """Five nodes with disks for a quarter of a minute."""
    return replace(
        deletion_options(seed),
        nodes=(5, 5),
        datacenters=(1, 1),
        duration_s=15.0,
        durable=True,
        intensity=intensity,
    )


def run(seed: int, intensity: Intensity) -> Simulation:
    simulation = Simulation(scenario(seed, options(seed, intensity)))
    simulation.run()
    return simulation


def violations(seeds: Sequence[int], intensity: Intensity) -> list[str]:
    """The laws that these seeds' runs break."""
    reports = [run(seed, intensity).report for seed in seeds]
    return [str(report.violation) for report in reports if not report.passed]


@pytest.mark.parametrize("seed", range(4))
def test_a_stranger_with_the_key_makes_nobody_drop_what_correct_nodes_wrote(seed: int) -> None:
    simulation = run(seed, STRANGER)
    assert simulation.report.passed, simulation.report.violation
    assert simulation.report.faults["lie"] > 10
    assert simulation.cluster.oracle.false_drops == 0


@pytest.mark.parametrize("seed", range(4))
def test_what_a_member_lies_about_is_told_and_all_agree_once_it_has_gone(seed: int) -> None:
    report = run(seed, MEMBER).report
    assert report.passed, report.violation
    assert report.faults["lie"] > 10
