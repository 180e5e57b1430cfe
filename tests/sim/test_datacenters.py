"""Simulated datacenters: gateways alone cross, every cut heals, and what breaks these laws is
caught."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from kvgossip.cli import main
from kvgossip.protocol.effect import Send
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.pools.beside import Beside
from kvgossip.sim.faults import Crash, Cut, Intensity, Mend, Restart
from kvgossip.sim.layout import Far, Layout
from kvgossip.sim.network import Network, Weather
from kvgossip.sim.scenario import JOININGS, Joining, Options, Scenario, scenario
from kvgossip.sim.schedule import schedule
from kvgossip.sim.simulation import Simulation, simulate
from kvgossip.sim.workload import Mix

HARSH = Intensity(loss=0.05, crash_rate=0.01, datacenter_rate=0.2)
SMALL = Mix(writes=60)


@pytest.mark.parametrize("seed", range(3))
def test_datacenters_that_are_cut_off_and_lose_their_gateways_agree_when_the_faults_stop(
    seed: int,
) -> None:
    report = simulate(
        seed, Options(nodes=(6, 9), datacenters=(2, 3), intensity=HARSH, mix=SMALL, duration_s=10.0)
    )
    assert report.passed, (
        f"{report.violation}; repeat it with --nodes 6-9 --datacenters 2-3 and the same rates, "
        f"--seed {seed}"
    )
    assert report.datacenters in (2, 3)


def test_without_rumors_anti_entropy_alone_brings_the_datacenters_together() -> None:
    options = Options(
        nodes=(6, 6),
        datacenters=(2, 2),
        intensity=Intensity(loss=0.05),
        mix=SMALL,
        parameters={"rumor_k": 0},
    )
    report = simulate(2, options)
    assert report.passed, report.violation


def test_less_crosses_between_datacenters_than_crosses_within_them() -> None:
    options = Options(
        nodes=(6, 6),
        datacenters=(2, 2),
        intensity=Intensity(),
        mix=Mix(writes=20, large_share=0.0),
        duration_s=5.0,
    )
    run = Simulation(scenario(1, options))
    sent: Counter[PoolKind] = Counter()

    def tap(effect: Send) -> None:
        sent[effect.pool] += len(effect.data)

    run.cluster.tap = tap
    assert run.run().passed
    assert 0 < sent[PoolKind.WAN] < sent[PoolKind.LAN]


# -- what a seed means ---------------------------------------------------------------------------


def test_of_swarms_one_in_four_has_several_datacenters_and_the_others_are_the_runs_they_always_were() -> (
    None
):
    counts = Counter(scenario(seed, Options()).datacenters for seed in range(400))
    assert 60 < counts[2] + counts[3] < 140
    assert counts[2] > 20 < counts[3]
    one = next(plan for seed in range(9) if (plan := scenario(seed, Options())).datacenters == 1)
    assert one.config.wan_parameters == ()
    assert scenario(1, Options(intensity=Intensity())).datacenters == 1


def test_there_are_at_least_two_nodes_in_a_datacenter_and_one_of_them_is_a_gateway() -> None:
    for seed in range(100):
        plan = scenario(seed, Options(nodes=(1, 9), datacenters=(1, 4)))
        layout = plan.layout
        for datacenter in range(layout.datacenters):
            assert layout.datacenters == 1 or len(layout.nodes_of(datacenter)) >= 2
            assert bool(layout.gateways_of(datacenter)) == (layout.datacenters > 1)


@pytest.mark.parametrize("joining", JOININGS)
def test_nodes_join_in_their_own_datacenter_and_gateways_each_other(joining: Joining) -> None:
    layout = Layout(nodes=11, datacenters=3, gateways=2)
    plan = _plan(layout, joining)
    for node in range(layout.nodes):
        joined = [other for target in plan.targets_of(node) for other in layout.named(target)]
        assert {layout.datacenter_of(other) for other in joined} <= {layout.datacenter_of(node)}
        gateways = [other for target in plan.wan_targets_of(node) for other in layout.named(target)]
        assert all(layout.is_gateway(other) for other in gateways)
        assert bool(gateways) == (
            layout.is_gateway(node) and (node > 0 or joining in (Joining.SEEDS, Joining.ONE_NAME))
        )


def _plan(layout: Layout, joining: Joining) -> Scenario:
    plan = scenario(1, Options(nodes=(layout.nodes, layout.nodes), intensity=Intensity()))
    fields = {name: getattr(plan, name) for name in Scenario.__slots__}
    return Scenario(
        **{
            **fields,
            "joining": joining,
            "datacenters": layout.datacenters,
            "gateways": layout.gateways,
        }
    )


def test_the_way_between_datacenters_is_longer_and_loses_more() -> None:
    layout = Layout(nodes=4, datacenters=2, far=Far(delay_s=0.1, loss=0.5))
    network = Network(Random(1), Weather(), layout)
    near = [network.datagram(0, 2) for _ in range(200)]
    far = [network.datagram(0, 1) for _ in range(200)]
    assert all(len(copies) == 1 and copies[0] < 0.1 for copies in near)
    assert all(delay_s > 0.1 for copies in far for delay_s in copies)
    assert 60 < sum(not copies for copies in far) < 140
    assert network.frame_s(0, 2) < 0.1 < network.frame_s(0, 1)


def test_a_datacenter_is_cut_off_whole_or_loses_all_its_gateways_and_both_end() -> None:
    layout = Layout(nodes=9, datacenters=3, gateways=2)
    faults = [
        fault for _, fault in schedule(Intensity(datacenter_rate=1.0), 9, 40.0, Random(1), layout)
    ]
    cuts = [fault for fault in faults if isinstance(fault, Cut)]
    crashed = [fault.node for fault in faults if isinstance(fault, Crash)]
    assert len(cuts) == sum(isinstance(fault, Mend) for fault in faults) > 5
    assert all(
        layout.datacenter_of(a) != layout.datacenter_of(b) for cut in cuts for a, b in cut.ways
    )
    assert {len(cut.ways) for cut in cuts} == {18, 36}, "one way and both ways"
    assert len(crashed) == sum(isinstance(fault, Restart) for fault in faults) > 5
    assert all(layout.is_gateway(node) for node in crashed)


# -- every checker can fail ----------------------------------------------------------------------


def _lan_targets_are_elsewhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scenario, "targets_of", lambda plan, node: ("n0.simulated:7481",))


def _plain_nodes_are_joined_as_gateways(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Scenario,
        "wan_targets_of",
        lambda plan, node: ("n3.simulated:8481",) if plan.layout.is_gateway(node) else (),
    )


def _gateways_keep_to_themselves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Beside, "reaches", lambda beside, gateway: True)


@pytest.mark.parametrize(
    ("plant", "text"),
    [
        (_lan_targets_are_elsewhere, "a LAN packet leaves its datacenter"),
        (_plain_nodes_are_joined_as_gateways, "a WAN packet of or to no gateway"),
        (_gateways_keep_to_themselves, "no agreement"),
    ],
)
def test_a_planted_mistake_is_caught(
    plant: object, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    options = Options(
        nodes=(4, 4),
        datacenters=(2, 2),
        intensity=HARSH,
        mix=SMALL,
        duration_s=5.0,
        parameters={"join_retry_s": 0.2},
    )
    violation = next(
        (report.violation for seed in range(4) if (report := simulate(seed, options)).violation),
        None,
    )
    assert violation is not None, "four seeds have not found it"
    assert text in violation.text, violation


def test_the_command_runs_several_datacenters(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "--nodes",
        "4",
        "--datacenters",
        "2",
        "--datacenter-rate",
        "0.5",
        "--writes",
        "10",
        "--duration",
        "3",
        "--seed",
        "3",
    )
    with pytest.raises(SystemExit) as ended:
        main(["sim", "cluster", *arguments, "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["datacenters"] == 2
