"""Residue: the share of the nodes that rumors alone do not reach (Demers et al. 1987, section 1.4,
Table 1), measured on the code that ships.

Many independent writes, each of its own key at a random node, spread by rumors only: no
anti-entropy, no loss, fan-out 1, everybody joined before. A write's residue is the share of the
nodes that never got it; its traffic is the number of times it was sent, over n.

The table is for n = 1000 in synchronous cycles and for one rumor at a time. Ours differs: rounds of
the nodes are not in step, news goes out at once instead of in the next cycle, and a contact with a
peer that is known to have the rumor needs no packet. None of it touches the law of K, so the
residue must agree; the traffic is lower by the contacts that needed no packet.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from kvgossip.config import config_from
from kvgossip.protocol.effect import Send
from kvgossip.protocol.wire.message import Notice, Rumor
from kvgossip.sim.checks.violation import BrokenLawError
from kvgossip.sim.cluster import Cluster
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Joining, Scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.workload import Mix

DEMERS_RESIDUE = {1: 0.18, 2: 0.037, 3: 0.011, 4: 0.0036, 5: 0.0012}
DEMERS_TRAFFIC = {1: 1.7, 2: 3.3, 3: 4.5, 4: 5.6, 5: 6.7}
PLAIN = {
    "gossip_fanout": 1,
    "direct_fanout": 1,
    "selection": "uniform",
    "probe_interval_s": 5.0,
    "digest_levels": 1,
}
"""The paper's setting: one uniform contact a round. The others keep out of the way what is not
measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """The measured figures beside those of the paper for this K (None: not in Table 1)."""

    k: int
    nodes: int
    writes: int
    residue: float
    #: Of the residue, over the writes.
    standard_error: float
    #: Rumors sent for each write and node.
    traffic: float
    paper_residue: float | None
    paper_traffic: float | None
    trace_hash: str


def measure_residue(
    *, k: int, nodes: int = 150, writes: int = 200, seed: int = 1, spacing_s: float = 0.25
) -> Residue:
    """`writes` are about `spacing_s` virtual seconds apart; rumors of different writes do not touch
    each other, so they may overlap."""
    config = config_from(
        {"cluster": "simulated", "founding_s": 0.0, "rumor_k": k, "anti_entropy": False} | PLAIN
    )
    plan = Scenario(
        seed=seed,
        nodes=nodes,
        config=config,
        intensity=Intensity(),
        duration_s=writes * spacing_s,
        mix=Mix(writes=writes, hot_share=0.0, delete_share=0.0, large_share=0.0, burst=1),
        joining=Joining.FOUNDER,
        staged=True,
        addressless=False,
    )
    simulation = Simulation(plan)
    sent = _count_rumors(simulation.cluster)
    report = simulation.run()
    if report.violation is not None:
        raise BrokenLawError(str(report.violation))
    shares = simulation.residues()
    mean = statistics.fmean(shares)
    return Residue(
        k=k,
        nodes=nodes,
        writes=len(shares),
        residue=mean,
        standard_error=statistics.stdev(shares) / math.sqrt(len(shares)),
        traffic=sent["rumors"] / len(shares) / nodes,
        paper_residue=DEMERS_RESIDUE.get(k),
        paper_traffic=DEMERS_TRAFFIC.get(k),
        trace_hash=report.trace_hash,
    )


def _count_rumors(cluster: Cluster) -> Counter[str]:
    """The count, from now on, of the rumors in all packets."""
    counts: Counter[str] = Counter()

    def tap(effect: Send) -> None:
        counts["rumors"] += sum(
            isinstance(message, (Rumor, Notice))
            for message in cluster.framing.open(effect.data, reliable=effect.reliable).messages
        )

    cluster.tap = tap
    return counts
