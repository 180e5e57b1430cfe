"""Machines that go on from an earlier memory: what the checks ask of them, and what they cannot
give."""

from __future__ import annotations

import pytest

from kvgossip.sim.checks.ledger import Ledger, version_bytes
from kvgossip.sim.checks.violation import BrokenLawError
from kvgossip.sim.cluster import Cluster
from kvgossip.sim.faults import Crash, Intensity, Remember, Restart, SetBack
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import simulate
from kvgossip.sim.workload import Write
from tests.protocol.net import record

SET_BACKS = Intensity(set_back_rate=0.05, loss=0.05)


def started(*, sealed: bool = False, durable: bool = False) -> Cluster:
    keeps = Intensity(set_back_rate=1e-9)
    options = Options(nodes=(2, 2), intensity=keeps, sealed=sealed, durable=durable)
    cluster = Cluster(scenario(1, options))
    for host in cluster.hosts:
        cluster.lives.start(host)
    advance(cluster, 5.0)
    cluster.faults.quiet = False
    return cluster


def advance(cluster: Cluster, until_s: float) -> None:
    cluster.timeline.stopped = False
    cluster.timeline.at(until_s, lambda: setattr(cluster.timeline, "stopped", True))
    cluster.timeline.run()


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_what_a_machine_lost_comes_back_to_it_and_its_life_is_another(
    sealed: bool, durable: bool
) -> None:
    cluster = started(sealed=sealed, durable=durable)
    cluster.faults.strike(Remember(0))
    before = cluster.running()[0]
    site = before.replica.site
    cluster.clients.write([Write("k", b"v", choice=0.0)])
    advance(cluster, 6.0)
    assert cluster.running()[1].replica.store.value("k") == b"v"
    cluster.faults.strike(SetBack(0))
    after = cluster.running()[0]
    assert after is not before
    assert after.has_met
    assert after.replica.store.value("k") is None
    advance(cluster, 120.0)
    assert after.replica.store.value("k") == b"v"
    assert after.replica.site != site
    assert after.replica.counters["set_backs"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_sealed_swarms_of_machines_that_are_set_back_agree(seed: int) -> None:
    report = simulate(
        seed, Options(nodes=(4, 6), intensity=SET_BACKS, sealed=True, duration_s=15.0)
    )
    assert report.passed, report.violation
    assert report.faults["setback"] > 0


def test_what_a_disk_has_a_renamed_node_holds() -> None:
    cluster = started(durable=True)
    cluster.clients.write([Write("k", b"v", choice=0.0)])
    advance(cluster, 6.0)
    written = cluster.running()[1].replica.store["k"]
    cluster.faults.strike(Crash(1))
    cluster.faults.strike(Restart(1, moved=False, renamed=True))
    assert cluster.running()[1].replica.store["k"] == written
    assert cluster.ledger.has_held(cluster.hosts[1].name, "k", written)


def test_a_version_may_be_given_again_by_the_machine_that_lost_it_and_by_no_other() -> None:
    ledger = Ledger()
    first, again = record(b"first", 5), record(b"again", 5)
    ledger.write("k", first)
    with pytest.raises(BrokenLawError, match="given twice"):
        ledger.write("other", again)
    ledger.lose([version_bytes(first)])
    ledger.write("other", again)
    ledger.check("k", first)
    ledger.check("other", again)
    with pytest.raises(BrokenLawError, match="nobody wrote"):
        ledger.check("k", again)
    with pytest.raises(BrokenLawError, match="given twice"):
        ledger.write("third", again)
