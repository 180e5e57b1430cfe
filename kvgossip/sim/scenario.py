"""Scenario: what one seed means. Everything that is random in a run follows from the seed and the options, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import Any

from kvgossip.config import Config, config_from
from kvgossip.sim.faults import Intensity, swarm
from kvgossip.sim.workload import Mix


class Joining(Enum):
    """Whom the nodes are told to join."""

    FOUNDER = "founder"
    """The first node founds the cluster, the others join it."""
    CHAIN = "chain"
    """The first node founds the cluster, each other joins the one before."""
    SEEDS = "seeds"
    """All, themselves included, join the first few."""
    ONE_NAME = "one_name"
    """All join one DNS name that has the addresses of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to run for each seed. `intensity` None: the seed picks its faults (a swarm). `parameters` override those of Config.

    `nodes`: at least and at most. `duration_s`: how long faults and writes last, in virtual seconds.
    """

    nodes: tuple[int, int] = (5, 20)
    intensity: Intensity | None = None
    duration_s: float = 20.0
    mix: Mix = field(default_factory=Mix)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. `staged`: faults and writes wait until all nodes have joined; else they start with the first node.

    `addressless`: nodes do not know their own address and learn it from those that they join. `zones`: over how many they are spread.
    `data_only`: agreement is on the data of the running nodes, not on who is alive (who cannot reach whom for good may well differ there).
    """

    seed: int
    nodes: int
    config: Config
    intensity: Intensity
    duration_s: float
    mix: Mix
    joining: Joining
    staged: bool
    addressless: bool
    zones: int = 1
    data_only: bool = False

    def stream(self, purpose: str) -> Random:
        """A random generator of its own for each purpose, so that a change of one does not shift the others."""
        return Random(f"{self.seed} {purpose}")


def scenario(seed: int, options: Options) -> Scenario:
    """The run that this seed means. Raises ConfigError for parameters out of their bounds."""
    rng = Random(f"{seed} scenario")
    nodes, joining, addressless = rng.randint(*options.nodes), rng.choice(list(Joining)), rng.random() < 0.3
    intensity = options.intensity or swarm(rng)
    varied = _variations(rng) if options.intensity is None else {}
    return Scenario(
        seed=seed,
        nodes=nodes,
        config=config_from({"cluster": "simulated"} | varied | dict(options.parameters)),
        intensity=intensity,
        duration_s=options.duration_s,
        mix=replace(options.mix, large_bytes=rng.choice((2_000, 20_000, 200_000))) if varied else options.mix,
        joining=joining,
        staged=intensity.calm or rng.random() < 0.5,
        addressless=addressless,
        zones=rng.choice((1, 1, 3)) if varied else 1,
    )


def _variations(rng: Random) -> dict[str, Any]:
    """A swarm also varies limits, so that little data meets them, and policies, so that each works with every fault."""
    return {
        "datagram_bytes_max": rng.choice((1232, 1400, 1400, 8192)),
        "message_bytes_max": rng.choice((131_072, 262_144)),
        "digest_levels": rng.choice((1, 2, 2, 3)),
        "push_pull_interval_s": rng.choice((5.0, 30.0, 30.0)),
        "gossip_fanout": rng.choice((1, 2, 3, 3)),
        "direct_fanout": rng.choice((1, 4, 16, 16)),
        "rumor_k": rng.choice((1, 2, 3, 3)),
        "rumor_mode": rng.choice(("push", "push", "push", "push", "pull", "push-pull")),
        "rumor_feedback": rng.random() < 0.9,
        "rumor_counter": rng.random() < 0.9,
        "rumor_connection_limit": rng.choice((0, 0, 0, 0, 2)),
        "rumor_hunt": rng.choice((0, 1)),
        "rumors_max": rng.choice((8, 8192, 8192)),
        "selection": rng.choice(("uniform", "rank", "rank", "distance")),
        "value_bytes_max": 262_144,
    }
