"""Scenario: the meaning of one seed. Everything that is random in a run follows from the seed
and the options, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import Any

from kvgossip.config import DATAGRAM_BYTES_MIN_SEALED, KEY_BYTES, Config, config_from
from kvgossip.sim.faults import Intensity, swarm
from kvgossip.sim.layout import EVERY_GATEWAY, NEAR, WAN_PORT, Far, Layout, dns_name
from kvgossip.sim.workload import Mix

SEEDS = 3
SEALED_SHARE = 0.25
FORGET_S_MAX = 120.0
WAN_QUICK = {
    "probe_interval_s": 1.0,
    "probe_timeout_s": 0.5,
    "suspicion_multiplier": 4.0,
    "push_pull_interval_s": 30.0,
}
"""As quick as a LAN: a run is shorter by the minutes in which the wan profile makes up its mind."""


class Joining(Enum):
    """The join addresses of the nodes of a datacenter."""

    FOUNDER = "founder"
    """The first node founds the cluster, the others join it."""
    CHAIN = "chain"
    """The first node founds the cluster, each other joins the one before."""
    SEEDS = "seeds"
    """All, themselves included, join the first few."""
    ONE_NAME = "one_name"
    """All join one DNS name that has the addresses of all."""
    INTRODUCED = "introduced"
    """Nobody joins: each founds a cluster, until they are shown to each other (see
    Cluster.introduce)."""


JOININGS = (Joining.FOUNDER, Joining.CHAIN, Joining.SEEDS, Joining.ONE_NAME)
"""From which a seed picks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The runs that are wanted. None: the seed picks."""

    #: At least and at most.
    nodes: tuple[int, int] = (5, 20)
    #: None: a swarm, in which the seed picks its faults.
    intensity: Intensity | None = None
    #: How long faults and writes last, virtual seconds.
    duration_s: float = 20.0
    mix: Mix = field(default_factory=Mix)
    #: They override those of Config.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: At least and at most. None: one, but of swarms one in four has two or three.
    datacenters: tuple[int, int] | None = None
    #: True if frames are sealed. None: those of one swarm in four.
    sealed: bool | None = None
    #: Of the writes, those that are waited for until others hold them. None: a quarter of them in
    #: two of three swarms, else none.
    wait_share: float | None = None
    #: True if hosts have disks. None: those of every other swarm.
    durable: bool | None = None
    #: Of the writes that come at once, those that are made as one batch. None: half of them in one
    #: of three swarms, else none.
    batch_share: float | None = None
    #: How many messages a second the application of each node sends to another one's, on which news
    #: rides, where frames are sealed. None: two in every other sealed swarm, else none.
    ride_rate: float | None = None
    #: How many edits of typed keys there are, beside the writes.
    edits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run."""

    seed: int
    nodes: int
    config: Config
    intensity: Intensity
    duration_s: float
    mix: Mix
    joining: Joining
    #: True if faults and writes wait until all nodes have joined; else they start with the first
    #: node.
    staged: bool
    #: True if nodes do not know their own address, and learn it from the nodes that they join.
    addressless: bool
    #: Over how many zones the nodes are spread.
    zones: int = 1
    #: True if agreement is on the data of the running nodes alone, not on which are alive: nodes
    #: that cannot reach each other for good may well differ there.
    data_only: bool = False
    #: As Layout has them.
    datacenters: int = 1
    gateways: int = 1
    far: Far = NEAR
    #: As Options has them.
    wait_share: float = 0.0
    durable: bool = False
    batch_share: float = 0.0
    ride_rate: float = 0.0
    edits: int = 0
    #: How long what was merged waits for its commit to disk at most, virtual seconds.
    commit_s_max: float = 0.5

    @property
    def collects(self) -> bool:
        """True if all tombstones will have gone after a while: those of the dead go when these
        are forgotten."""
        return (
            self.config.forget_after_s <= FORGET_S_MAX
            and self.config.anti_entropy
            and not self.data_only
        )

    @property
    def layout(self) -> Layout:
        """The place of each node."""
        return Layout(
            nodes=self.nodes, datacenters=self.datacenters, gateways=self.gateways, far=self.far
        )

    @property
    def hostile(self) -> int | None:
        """The host whose process lies: the last one; None where others need that one, or nobody
        lies."""
        last = self.nodes - 1
        needed = self.layout.place_of(last) < SEEDS or self.layout.is_gateway(last)
        return None if needed or not self.intensity.hostile_rate else last

    def datacenter_of(self, node: int) -> str:
        """The name of a node's datacenter: the configured one where there is one only."""
        if self.datacenters == 1:
            return self.config.datacenter
        return f"dc{self.layout.datacenter_of(node)}"

    def targets_of(self, node: int) -> tuple[str, ...]:
        """The join addresses of a node, in its own datacenter."""
        layout = self.layout
        first, place = layout.datacenter_of(node), layout.place_of(node)
        match self.joining:
            case Joining.ONE_NAME:
                return (layout.everybody_of(first),)
            case Joining.SEEDS:
                return tuple(dns_name(seed) for seed in layout.nodes_of(first)[:SEEDS])
            case Joining.CHAIN:
                return (dns_name(node - self.datacenters),) if place else ()
            case Joining.FOUNDER:
                return (dns_name(first),) if place else ()
            case Joining.INTRODUCED:
                return ()

    def wan_targets_of(self, node: int) -> tuple[str, ...]:
        """The join addresses of a gateway in the WAN pool."""
        if not self.layout.is_gateway(node):
            return ()
        if self.joining in (Joining.ONE_NAME, Joining.SEEDS):
            return (EVERY_GATEWAY,)
        return (dns_name(0, WAN_PORT),) if node else ()

    def is_needed(self, node: int) -> bool:
        """True if others cannot do without this one to find the cluster."""
        return (
            self.joining is Joining.CHAIN
            or self.layout.place_of(node) < SEEDS
            or self.layout.is_gateway(node)
        )

    def stream(self, purpose: str) -> Random:
        """A random generator of its own for each purpose, so that a change of one does not shift
        the others."""
        return Random(self.chance(purpose))

    def chance(self, purpose: str) -> str:
        """The seed of that generator."""
        return f"{self.seed} {purpose}"


def scenario(seed: int, options: Options) -> Scenario:
    """The run that this seed means. Raises ConfigError for parameters out of their bounds."""
    rng = Random(f"{seed} scenario")
    nodes, joining, addressless = (
        rng.randint(*options.nodes),
        rng.choice(JOININGS),
        rng.random() < 0.3,
    )
    intensity = options.intensity or swarm(rng)
    varied = _variations(rng) if options.intensity is None else {}
    layout, wan = _datacenters(Random(f"{seed} datacenters"), options, nodes)
    if layout.datacenters > 1 and options.intensity is None:
        intensity = replace(
            intensity, datacenter_rate=Random(f"{seed} datacenter rate").choice((0.0, 0.05, 0.2))
        )
    if options.intensity is None:
        glitches = Random(f"{seed} glitches").choice((0.0, 0.0, 0.0, 0.0, 0.01, 0.05))
        set_backs = Random(f"{seed} set-backs").choice((0.0, 0.0, 0.01, 0.05))
        intensity = replace(intensity, glitch_rate=glitches, set_back_rate=set_backs)
    founding_s = _founding_s(seed, options)
    parameters = (
        {"cluster": "simulated", "founding_s": founding_s} | wan | varied | dict(options.parameters)
    )
    return Scenario(
        seed=seed,
        nodes=nodes,
        config=config_from(parameters | _keyring(Random(f"{seed} seal"), options, parameters)),
        intensity=intensity,
        duration_s=options.duration_s,
        mix=replace(options.mix, large_bytes=rng.choice((2_000, 20_000, 200_000)))
        if varied
        else options.mix,
        joining=joining,
        staged=intensity.calm or rng.random() < 0.5,
        addressless=addressless,
        zones=rng.choice((1, 1, 3)) if varied else 1,
        datacenters=layout.datacenters,
        gateways=layout.gateways,
        far=layout.far,
        wait_share=_wait_share(seed, options),
        batch_share=_batch_share(seed, options),
        ride_rate=_ride_rate(seed, options),
        edits=options.edits,
        durable=Random(f"{seed} disks").random() < 0.5
        if options.durable is None and options.intensity is None
        else bool(options.durable),
    )


def _founding_s(seed: int, options: Options) -> float:
    """Of a lan in one of three swarms; else nobody is waited for. From a generator of its own."""
    return (
        0.0 if options.intensity is not None else Random(f"{seed} founding").choice((0.0, 0.0, 2.0))
    )


def _wait_share(seed: int, options: Options) -> float:
    if options.wait_share is not None:
        return options.wait_share
    return (
        0.0 if options.intensity is not None else Random(f"{seed} waits").choice((0.0, 0.25, 0.25))
    )


def _batch_share(seed: int, options: Options) -> float:
    if options.batch_share is not None:
        return options.batch_share
    return (
        0.0 if options.intensity is not None else Random(f"{seed} batches").choice((0.0, 0.0, 0.5))
    )


def _ride_rate(seed: int, options: Options) -> float:
    if options.ride_rate is not None:
        return options.ride_rate
    return 0.0 if options.intensity is not None else Random(f"{seed} rides").choice((0.0, 2.0))


def _datacenters(rng: Random, options: Options, nodes: int) -> tuple[Layout, dict[str, Any]]:
    """The layout, and the parameters of the WAN pool. From a generator of its own: a seed with one
    datacenter is the run it always was."""
    if options.datacenters is None:
        wanted = rng.choice((1, 1, 1, rng.randint(2, 3))) if options.intensity is None else 1
    else:
        wanted = rng.randint(*options.datacenters)
    datacenters = max(1, min(wanted, nodes // 2))
    if datacenters == 1:
        return Layout(nodes=nodes), {}
    gateways = min(rng.choice((1, 1, 2, 3)), nodes // datacenters)
    far = Far(delay_s=rng.uniform(0.005, 0.15), loss=rng.choice((0.0, 0.01, 0.05)))
    quick = WAN_QUICK if rng.random() < 0.75 else {}
    return Layout(nodes=nodes, datacenters=datacenters, gateways=gateways, far=far), {
        "wan_parameters": tuple(quick.items())
    }


def _keyring(rng: Random, options: Options, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a sealed run. From a generator of its own: a seed that is not sealed is the run
    it always was."""
    sealed = (
        rng.random() < SEALED_SHARE and options.intensity is None
        if options.sealed is None
        else options.sealed
    )
    if not sealed:
        return {}
    limit = max(
        DATAGRAM_BYTES_MIN_SEALED,
        int(parameters.get("datagram_bytes_max", Config().datagram_bytes_max)),
    )
    return {
        "keyring": tuple(rng.randbytes(KEY_BYTES).hex() for _ in range(2)),
        "datagram_bytes_max": limit,
    }


def _variations(rng: Random) -> dict[str, Any]:
    """A swarm also varies limits, so that little data meets them, and policies, so that each works
    with every fault."""
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
