"""Cluster: real replicas on simulated hosts, and the parts that act on them, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from kvgossip.config import GOSSIP_PORT, Address
from kvgossip.protocol.effect import Resolve, Send
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.keyring import keyring_of
from kvgossip.protocol.wire.unit import encode
from kvgossip.sim.checks.absence import AbsenceCheck
from kvgossip.sim.checks.batches import Batches
from kvgossip.sim.checks.conflicts import ConflictCheck
from kvgossip.sim.checks.edits import EditCheck
from kvgossip.sim.checks.ledger import Ledger
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.checks.packets import PacketCheck
from kvgossip.sim.checks.promises import Promises
from kvgossip.sim.clients import Clients
from kvgossip.sim.commits import Commits
from kvgossip.sim.delivery import Delivery
from kvgossip.sim.disk import Disk
from kvgossip.sim.dns import DELAY_S, addresses_of
from kvgossip.sim.driver import Driver
from kvgossip.sim.editing import Editing
from kvgossip.sim.host import EPOCH_MS, Clock, Host, Life
from kvgossip.sim.injector import STRANGER, FaultInjector
from kvgossip.sim.lies import Lies
from kvgossip.sim.lives import Lives
from kvgossip.sim.merges import Merges
from kvgossip.sim.network import Network, Weather
from kvgossip.sim.riding import Riding
from kvgossip.sim.scenario import Scenario
from kvgossip.sim.schedule import skew_ms
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event, Trace


class Cluster:
    """It is the `Inputs` of its delivery and the `Outlet` of its driver."""

    def __init__(self, scenario: Scenario, trace_length: int = 0) -> None:
        self.scenario, self.layout = scenario, scenario.layout
        self.timeline, self.trace = Timeline(), Trace(trace_length)
        self._rng = scenario.stream("cluster")
        #: One a pool: those of the LANs by the number of the datacenter, then that of the WAN.
        self.framings = framings_of(scenario)
        self.framing = self.framings[0]
        self.hosts = hosts_of(scenario)
        self.network = Network(scenario.stream("network"), Weather(), self.layout)
        self.delivery = Delivery(self.timeline, self.network, self.hosts, self, self.trace)
        #: Sees every packet that is sent, if it is set.
        self.tap: Callable[[Send], None] | None = None

        self.ledger, self.oracle = Ledger(), Oracle()
        self.promises = Promises(self.ledger, scenario.wait_share, scenario.stream("promises"))
        self.conflicts, self.edits = ConflictCheck(self.oracle.had), EditCheck()
        self.batches = Batches(scenario.batch_share, scenario.stream("bundles"))
        self._packets = PacketCheck(self.layout, scenario.config, self.delivery.owner_of)

        commits = Commits(self.timeline, self.oracle, self._rng, scenario.commit_s_max)
        self.driver = Driver(
            self.timeline,
            self.trace,
            self.framings,
            commits,
            self.promises,
            self.batches,
            AbsenceCheck(self._all_stayed, self.oracle.is_forged),
            self.conflicts,
            self.edits,
            self,
        )
        self.lives = Lives(
            scenario,
            self.hosts,
            self.timeline,
            self.trace,
            self.delivery,
            self.driver,
            commits,
            self.ledger,
            self.oracle,
            self._rng,
        )
        self.clients = Clients(
            self.lives,
            self.driver,
            self.ledger,
            self.oracle,
            self.promises,
            self.batches,
            scenario.hostile,
        )
        self.editing = Editing(self.lives, self.driver, self.edits, scenario.stream("editing"))
        self.lies = self._open_lies()
        self.faults = self._open_faults()
        self.merges = Merges(self.running, self.driver)
        self.riding = self._open_riding()
        for host in self.hosts:
            self.delivery.listen(host)

    def _open_riding(self) -> Riding:
        rate = self.scenario.ride_rate if self.scenario.config.keyring else 0.0
        rng = self.scenario.stream("riding")
        return Riding(self.hosts, self.driver, self.timeline, rate, rng)

    def _open_lies(self) -> Lies:
        return Lies(
            self.scenario,
            self.hosts,
            self.framings,
            self.timeline,
            self.delivery,
            self,
            self.ledger,
            self.oracle,
            self.scenario.stream("lies"),
        )

    def _open_faults(self) -> FaultInjector:
        return FaultInjector(
            self.scenario,
            self.hosts,
            self.timeline,
            self.trace,
            self.network,
            self.delivery,
            self.driver,
            self.lives,
            self.oracle,
            self.lies,
            self._rng,
        )

    @property
    def wall_ms(self) -> int:
        """The true time."""
        return EPOCH_MS + int(self.timeline.time_s * 1000)

    def running(self) -> list[Life]:
        return self.lives.running()

    def introduce(self) -> None:
        """Show all running replicas to each other, in a frame such as members send: a cluster that
        is joined without exchanges."""
        data = self.framing.frame([encode(life.replica.member) for life in self.running()])
        for life in self.running():
            self.frame(life, data, STRANGER, PoolKind.LAN)

    def _all_stayed(self) -> bool:
        changed = any(host.lives > 1 or host.dead for host in self.hosts)
        return not (changed or self.ledger.is_doubtful)

    # -- deliveries to the replicas ----------------------------------------------------------------

    def datagram(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None:
        receive = partial(life.replica.receive, pool=pool)
        self.driver.turn(life, Event.DATAGRAM, data, receive, data, source)

    def frame(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None:
        # no router translates addresses: a link ends at the host's own
        here = life.host.address.host
        receive = partial(life.replica.receive, pool=pool, reliable=True, here=here)
        self.driver.turn(life, Event.FRAME, data, receive, data, source)

    def unreachable(self, life: Life, address: Address, pool: PoolKind) -> None:
        hear = partial(life.replica.unreachable, pool=pool)
        self.driver.turn(life, Event.UNREACHABLE, str(address).encode(), hear, address)

    # -- the effects of replicas -------------------------------------------------------------------

    def send(self, life: Life, effect: Send) -> None:
        self._packets.check(life.host.number, effect, sealed=bool(life.replica.keyring))
        self.faults.sample(effect.data)
        if self.tap is not None:
            self.tap(effect)
        self.delivery.send(life, self.lies.passed(life, effect))

    def resolve(self, life: Life, effect: Resolve) -> None:
        self.timeline.after(self._rng.uniform(*DELAY_S), self._resolved, life, effect)

    def _resolved(self, life: Life, effect: Resolve) -> None:
        target, pool = effect.target, effect.pool
        addresses = (
            []
            if self.faults.fails_to_resolve()
            else addresses_of(target, pool, self.hosts, self.layout)
        )
        answer = partial(life.replica.resolved, pool=pool)
        shown = " ".join(map(str, addresses)).encode()
        self.driver.turn(life, Event.RESOLVED, shown, answer, target, addresses)

    def depart(self, life: Life) -> None:
        self.lives.stop(life)


def framings_of(scenario: Scenario) -> list[Framing]:
    """The framing of each pool: those of the LANs, then that of the WAN."""
    config, lans = scenario.config, range(scenario.layout.datacenters)
    pools = [*(f"lan:{scenario.datacenter_of(number)}" for number in lans), "wan"]
    framings = [Framing(config.cluster, pool, frame_bytes_max(config)) for pool in pools]
    keyring = keyring_of(config)
    if keyring is not None:
        for framing in framings:
            framing.seal_with(keyring, 0, 0, config.members_max)
    return framings


def hosts_of(scenario: Scenario) -> list[Host]:
    rng = scenario.stream("clocks")
    return [_host(scenario, number, rng) for number in range(scenario.nodes)]


def _host(scenario: Scenario, number: int, rng: Random) -> Host:
    intensity = scenario.intensity
    rate = 1.0 + rng.uniform(-intensity.clock_drift, intensity.clock_drift)
    clock = Clock(rate, skew_ms(intensity, rng))
    address = Address(f"10.0.{number >> 8}.{number & 255}", GOSSIP_PORT)
    host = Host(number, f"n{number}", address, clock)
    host.disk = Disk() if scenario.durable else None
    return host
