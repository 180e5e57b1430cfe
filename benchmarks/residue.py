"""How many unnecessary contacts K does a rumor need? Residue, traffic and delay of the code that
ships, in virtual time.

    python -m benchmarks.residue [--nodes 3 5 10 20 50] [--loss 0 0.05] [--writes 100] [--sites
        1000] [--runs 50] [--jobs 2] [--json]

Small clusters: real replicas in the simulator with the shipped parameters, but K, and without
anti-entropy, which would repair what is measured. One way takes 0.1 to 2 ms; `loss` is the share of
datagrams that are lost, feedback included. Writes of 100 B on random nodes are a quarter of a
second apart, so each is a rumor by itself.

    residue    share of the other nodes that never heard of a write; 0 where no write missed anybody
    traffic    rumors sent for each write and node
    mean, last delay from the write until a node has it, ms: over all nodes that ever got it, and of
    the last of them, both over all writes

Large ones: the shipped policy in synchronous cycles as in Demers et al. 1987, Table 1, delays in
cycles (see also benchmarks/epidemics.py).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from benchmarks.report import Report, Row, Table, finish
from kvgossip.cli.sim.trials import run_trials
from kvgossip.config import config_from
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.rumors.policy import RumorPolicy
from kvgossip.protocol.wire.message import Notice, Rumor
from kvgossip.sim.faults import Intensity
from kvgossip.sim.papers.epidemic import estimate, spread_rumor
from kvgossip.sim.scenario import Joining, Scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.workload import Mix

SPACING_S = 0.25
KS = (0, 1, 2, 3, 4, 5)


class VersionWaits:
    """When each key came to each node, and how many rumors were sent."""

    def __init__(self, simulation: Simulation) -> None:
        self._cluster = cluster = simulation.cluster
        self.times_s: dict[str, list[float]] = {}
        self.rumors = 0
        cluster.driver.observer, cluster.tap = self._on_effects, self._on_send

    def _on_effects(self, life: Any, effects: Sequence[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Changed):
                self.times_s.setdefault(effect.key, []).append(self._cluster.timeline.time_s)

    def _on_send(self, effect: Any) -> None:
        opened = self._cluster.framing.open(effect.data, reliable=effect.reliable)
        self.rumors += sum(isinstance(told, (Rumor, Notice)) for told in opened.messages)


def measure_cluster(nodes: int, k: int, loss: float, writes: int, seed: int) -> Row:
    """One simulated cluster; many writes."""
    plan = Scenario(
        seed=seed,
        nodes=nodes,
        config=config_from(
            {"cluster": "simulated", "rumor_k": k, "anti_entropy": False, "digest_levels": 1}
        ),
        intensity=Intensity(loss=loss),
        duration_s=writes * SPACING_S,
        mix=Mix(writes=writes, hot_share=0.0, delete_share=0.0, large_share=0.0, burst=1),
        joining=Joining.FOUNDER,
        staged=True,
        addressless=False,
    )
    simulation = Simulation(plan)
    arrivals = VersionWaits(simulation)
    report = simulation.run()
    if report.violation is not None:
        raise SystemExit(f"a law was broken: {report.violation}")
    return {"nodes": nodes, "loss": loss, "k": k, **_figures(arrivals, nodes)}


def _figures(arrivals: VersionWaits, nodes: int) -> Row:
    came = list(arrivals.times_s.values())
    delays = [[at_s - times_s[0] for at_s in times_s[1:]] for times_s in came]
    missed = [1 - len(others) / (nodes - 1) for others in delays]
    residue = estimate(missed)
    return {
        "writes": len(came),
        "residue": residue.mean,
        "error": residue.error,
        "traffic": arrivals.rumors / len(came) / nodes,
        "mean_ms": 1e3
        * statistics.fmean([delay for others in delays for delay in others] or [0.0]),
        "last_ms": 1e3 * statistics.fmean([max(others) for others in delays if others] or [0.0]),
    }


def measure_sites(sites: int, k: int, runs: int, seed: int) -> Row:
    """One rumor a run, in cycles."""
    outcomes = [
        spread_rumor(sites, RumorPolicy(k), Random(f"{seed} {k} {run}")) for run in range(runs)
    ]
    residue = estimate(outcome.residue for outcome in outcomes)
    return {
        "sites": sites,
        "k": k,
        "runs": runs,
        "residue": residue.mean,
        "error": residue.error,
        "traffic": estimate(outcome.traffic for outcome in outcomes).mean,
        "mean_cycles": estimate(outcome.t_average for outcome in outcomes).mean,
        "last_cycles": estimate(outcome.t_last for outcome in outcomes).mean,
    }


def report(clusters: Sequence[Row], sites: Sequence[Row]) -> Report:
    tables = [Table("small clusters", clusters), Table("many sites, in cycles", sites)]
    return Report("residue", [table for table in tables if table.rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="*", default=[3, 5, 10, 20, 50])
    parser.add_argument("--loss", type=float, nargs="+", default=[0.0, 0.05])
    parser.add_argument("--k", type=int, nargs="+", default=list(KS))
    parser.add_argument("--writes", type=int, default=100, help="to each small cluster")
    parser.add_argument("--sites", type=int, nargs="*", default=[1000])
    parser.add_argument("--runs", type=int, default=50, help="with so many sites")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    clusters = [
        partial(measure_cluster, nodes, k, loss, options.writes, options.seed)
        for nodes in options.nodes
        for loss in options.loss
        for k in options.k
    ]
    epidemics = [
        partial(measure_sites, sites, k, options.runs, options.seed)
        for sites in options.sites
        for k in options.k
        if k
    ]
    finish(
        report(
            run_trials(clusters, options.jobs, "small clusters") if clusters else [],
            run_trials(epidemics, options.jobs, "many sites") if epidemics else [],
        ),
        json=options.json,
    )


if __name__ == "__main__":
    main()
