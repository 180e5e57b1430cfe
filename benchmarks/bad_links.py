"""What could a choice of peers gain that knows the losses of the links? Time until all know, in
virtual time.

    python -m benchmarks.bad_links [--nodes 150] [--direct-fanout 128] [--share 0.1] [--loss 0.3]
        [--writes 100] [--seeds 1] [--no-anti-entropy] [--jobs 1] [--json]

Real replicas in the simulator with the shipped parameters; writes of 100 B on random nodes are a
quarter of a second apart. On `share` of the links, both ways, the share `loss` of all packets is
lost. `links`:

    good       no link is bad
    bad        the choice of peers that ships, which knows nothing of losses
    avoided    a choice that no node can make: it knows all bad links from the start, and takes one
               by the uniform share alone. Nothing that is measured can choose better.

    all_know   of the writes of all seeds, those that came to every node: without exchanges
               (--no-anti-entropy) some do not
    mean ...   from such a write until the last node has it, ms
    bytes      all that was sent, for each write and node, while writes went on
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from benchmarks.report import Report, Row, Table, finish
from kvgossip.cli.sim.trials import run_trials
from kvgossip.config import config_from
from kvgossip.protocol.membership.spatial import Selection, SpatialPeers, SpatialPolicy
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.member import Member
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Joining, Scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.workload import Mix

SPACING_S = 0.25
LINKS = ("good", "bad", "avoided")


class Observer:
    """When each key came to each node, and how many bytes were sent while writes went on."""

    def __init__(self, simulation: Simulation, duration_s: float) -> None:
        self._cluster = cluster = simulation.cluster
        self._duration_s = duration_s
        self.times_s: dict[str, list[float]] = {}
        self.bytes = 0
        cluster.driver.observer, cluster.tap = self._on_effects, self._on_send

    def _on_effects(self, life: Any, effects: Sequence[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Changed):
                self.times_s.setdefault(effect.key, []).append(self._cluster.timeline.time_s)

    def _on_send(self, effect: Any) -> None:
        if self.times_s:
            first_s = next(iter(self.times_s.values()))[0]
            if self._cluster.timeline.time_s <= first_s + self._duration_s:
                self.bytes += len(effect.data)


def bad_ways(nodes: int, share: float, seed: int) -> list[tuple[int, int]]:
    rng = Random(f"{seed} bad links")
    links = [(a, b) for a in range(nodes) for b in range(a) if rng.random() < share]
    return links + [(b, a) for a, b in links]


def avoid(ways: Sequence[tuple[int, int]], uniform_share: float) -> None:
    """Let every node of this process choose as if it knew these ways."""
    bad = {(f"n{source}", f"n{target}") for source, target in ways}
    policy = SpatialPolicy(Selection.DISTANCE, 1.0, uniform_share)
    tables: dict[str, tuple[Any, SpatialPeers[Member]]] = {}

    def choose(self: Membership, count: int) -> list[Member]:
        here, peers = self.table.me.name, self.table.peers
        known = tables.get(here)
        if known is None or known[0] is not peers:
            far = ((p, math.inf if (here, p.name) in bad else 1.0) for p in peers)
            known = tables[here] = (peers, SpatialPeers(policy, far))
        return known[1].choose(self._rng, count)

    Membership.choose = choose  # type: ignore[method-assign]


def simulated(
    nodes: int,
    direct_fanout: int,
    links: str,
    share: float,
    loss: float,
    writes: int,
    seed: int,
    *,
    repairs: bool = True,
) -> tuple[list[float], float]:
    """How long each write that came to all took to do so, seconds, and the bytes for each write and
    node."""
    shipped, ways = Membership.choose, bad_ways(nodes, share, seed)
    plan = _scenario(nodes, direct_fanout, writes, seed, repairs=repairs)
    simulation = Simulation(plan)
    if links != "good":
        simulation.cluster.network.worsen(ways, loss)
    if links == "avoided":
        avoid(ways, plan.config.spatial_uniform_share)
    observer = Observer(simulation, plan.duration_s)
    try:
        report = simulation.run()
    finally:
        Membership.choose = shipped  # type: ignore[method-assign]
    if report.violation is not None:
        raise SystemExit(f"a law was broken: {report.violation}")
    times = observer.times_s.values()
    last_s = [came[-1] - came[0] for came in times if len(came) == nodes]
    return last_s, observer.bytes / len(times) / nodes


def _scenario(nodes: int, direct_fanout: int, writes: int, seed: int, *, repairs: bool) -> Scenario:
    return Scenario(
        seed=seed,
        nodes=nodes,
        config=config_from(
            {
                "cluster": "simulated",
                "digest_levels": 1,
                "direct_fanout": direct_fanout,
                "anti_entropy": repairs,
            }
        ),
        intensity=Intensity(),
        duration_s=writes * SPACING_S,
        mix=Mix(writes=writes, hot_share=0.0, delete_share=0.0, large_share=0.0, burst=1),
        joining=Joining.FOUNDER,
        staged=True,
        addressless=False,
    )


def measure(links: str, options: argparse.Namespace) -> Row:
    """Many writes to one simulated cluster for each seed."""
    runs = [
        simulated(
            options.nodes,
            options.direct_fanout,
            links,
            options.share,
            options.loss,
            options.writes,
            seed,
            repairs=not options.no_anti_entropy,
        )
        for seed in options.seeds
    ]
    last_s = sorted(took_s for times_s, _ in runs for took_s in times_s)
    if not last_s:
        raise SystemExit("no write came to all nodes: there is nothing to show")
    return {
        "nodes": options.nodes,
        "direct_fanout": options.direct_fanout,
        "links": links,
        "writes": options.writes * len(options.seeds),
        "all_know": len(last_s),
        "mean_ms": 1e3 * statistics.fmean(last_s),
        "p50_ms": 1e3 * last_s[(len(last_s) - 1) * 50 // 100],
        "p90_ms": 1e3 * last_s[(len(last_s) - 1) * 90 // 100],
        "p99_ms": 1e3 * last_s[(len(last_s) - 1) * 99 // 100],
        "max_ms": 1e3 * last_s[-1],
        "bytes": statistics.fmean(sent for _, sent in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=150)
    parser.add_argument("--direct-fanout", type=int, default=128)
    parser.add_argument("--share", type=float, default=0.1, help="of the links that are bad")
    parser.add_argument("--loss", type=float, default=0.3, help="on a bad link, each way")
    parser.add_argument("--writes", type=int, default=100, help="for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--no-anti-entropy", action="store_true", help="rumors alone")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = run_trials([partial(measure, links, options) for links in LINKS], options.jobs, "links")
    finish(Report("bad_links", [Table("until all know", rows)]), json=options.json)


if __name__ == "__main__":
    main()
