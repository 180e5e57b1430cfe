"""Failures of nodes and links that last: the dead stay dead, the rest agree, and the command
tabulates what it costs."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from kvgossip.cli import main
from kvgossip.sim.faults import Die, Intensity, Sever
from kvgossip.sim.scenario import Joining, Options, scenario
from kvgossip.sim.schedule import schedule
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.workload import Mix

QUICK = ("--writes", "20", "--duration", "4", "--runs", "1", "--jobs", "1")


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["sim", "faults", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def simulated(intensity: Intensity, nodes: int) -> Simulation:
    plan = scenario(
        3, Options(nodes=(nodes, nodes), intensity=intensity, duration_s=6.0, mix=Mix(writes=20))
    )
    simulation = Simulation(
        replace(plan, joining=Joining.SEEDS, addressless=False, staged=True, data_only=True)
    )
    simulation.run()
    return simulation


def reached_from(start: int, links: list[tuple[int, int]]) -> set[int]:
    reached = {start}
    for _ in links:
        reached |= {node for link in links if reached.intersection(link) for node in link}
    return reached


# -- the command ---------------------------------------------------------------------------------


def test_variants_stand_side_by_side_for_each_size_and_all_agree(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("--nodes", "4,6", "--variant", "push", "--variant", "anti-entropy", *QUICK)
    assert exit_code(*command, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["nodes"], row["variant"]) for row in rows] == [
        (4, "push"),
        (4, "anti-entropy"),
        (6, "push"),
        (6, "anti-entropy"),
    ]
    assert all(
        row["passed"] == row["runs"] == 1 and row["bytes_per_node"] > row["messages_per_node"] > 0
        for row in rows
    )
    assert [row["gossips"] > 0 for row in rows] == [True, False, True, False]
    assert [row["dead"] for row in rows[::2]] == [row["dead"] for row in rows[1::2]]


@pytest.mark.parametrize(
    "wrong",
    [("--nodes", "1"), ("--nodes", "5,"), ("--nodes", "5-10"), ("--variant", "shout"), ("--loss",
    "2"), ("--crash-rate", "-1"),
     ("--cut-rate", "nan"), ("--permanent-crash-rate", "inf")],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_refused(
    wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*wrong, *QUICK) == 2
    assert wrong[0] in capsys.readouterr().err


# -- nodes ---------------------------------------------------------------------------------------


def test_who_died_never_comes_back_and_the_rest_agree() -> None:
    simulation = simulated(Intensity(permanent_crash_rate=0.1, crash_rate=0.1), 6)
    hosts = simulation.cluster.hosts
    dead = [host for host in hosts if host.dead]
    assert len(dead) == simulation.report.faults["die"] > 0
    assert all((host.life is None) == host.dead for host in hosts)
    assert simulation.report.passed, simulation.report.violation


def test_at_least_two_nodes_stay() -> None:
    deaths = [
        fault.node
        for _, fault in schedule(Intensity(permanent_crash_rate=5.0), 6, 20.0, Random(1))
        if isinstance(fault, Die)
    ]
    assert len(deaths) == len(set(deaths)) == 4


# -- links ---------------------------------------------------------------------------------------


def test_severed_links_never_mend_and_the_data_agrees_all_the_same() -> None:
    simulation = simulated(Intensity(permanent_cut_rate=2.0, cut_rate=1.0, partition_rate=0.2), 6)
    severed = [
        link for link in combinations(range(6), 2) if simulation.cluster.network.is_cut(*link)
    ]
    assert len(severed) == simulation.report.faults["sever"] > 3
    assert simulation.report.passed, simulation.report.violation


@pytest.mark.parametrize("seed", range(20))
def test_however_many_links_are_severed_those_who_stay_are_connected(seed: int) -> None:
    faults = [
        fault
        for _, fault in schedule(
            Intensity(permanent_crash_rate=0.02, permanent_cut_rate=50.0), 7, 20.0, Random(seed)
        )
    ]
    severed = {way for fault in faults if isinstance(fault, Sever) for way in fault.ways}
    dead = {fault.node for fault in faults if isinstance(fault, Die)}
    staying = [node for node in range(7) if node not in dead]
    links = [link for link in combinations(staying, 2) if link not in severed]
    assert reached_from(staying[0], links) == set(staying)
    assert all((b, a) in severed for a, b in severed)
