"""Lives: hosts start, stop, move and come back. A life begins with what the host's disk has, and
ends with the loss of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from kvgossip.config import Address, Config
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.saved_state import SavedLife, SavedState
from kvgossip.sim.checks.invariants import Witness
from kvgossip.sim.checks.ledger import Ledger
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.commits import Commits
from kvgossip.sim.delivery import Delivery
from kvgossip.sim.driver import Driver
from kvgossip.sim.host import EPOCH_MS, Host, Life, Memory
from kvgossip.sim.recorded import Birth, Recorded
from kvgossip.sim.scenario import Joining, Scenario
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event, Trace


class Lives:
    def __init__(
        self,
        scenario: Scenario,
        hosts: Sequence[Host],
        timeline: Timeline,
        trace: Trace,
        delivery: Delivery,
        driver: Driver,
        commits: Commits,
        ledger: Ledger,
        oracle: Oracle,
        rng: Random,
    ) -> None:
        self._scenario, self._hosts = scenario, hosts
        self._timeline, self._trace, self._rng = timeline, trace, rng
        self._delivery, self._driver, self._commits = delivery, driver, commits
        self._ledger, self._oracle = ledger, oracle
        #: Packets of rumors sent, and exchanges started, by the lives that were counted.
        self.gossips = self.exchanges = 0

    def running(self) -> list[Life]:
        return [host.life for host in self._hosts if host.life is not None]

    @property
    def true_ms(self) -> int:
        """The wall clock of a host without skew."""
        return EPOCH_MS + int(self._timeline.time_s * 1000)

    def farthest_ms(self, life: Life) -> float:
        """How far ahead any other host's clock has ever been, by a glitch."""
        others = (host.clock.farthest_ms for host in self._hosts if host is not life.host)
        return max(others, default=0.0)

    def start(self, host: Host) -> None:
        """A new life under the host's name, with what is on its disk. No effect on a host that runs
        or is dead."""
        if host.life is not None or host.dead:
            return
        host.lives += 1
        host.clock.restart(self._rng.random() * 1e6)
        config = self._config_of(host)
        birth = Birth(
            config,
            address=self._known_to(host.address, bool(config.join)),
            wan_address=self._known_to(host.wan_address, bool(config.join_wan)),
            chance=self._scenario.chance(f"{host.name} {host.lives}"),
            now=host.clock.now(self._timeline.time_s),
            saved=dict(host.disk.saved) if host.disk is not None else self._given(),
        )
        replica = Recorded(birth, keeps=self._scenario.intensity.set_back_rate > 0)
        knows_others = replica.pools.absent() or bool(config.join or config.join_wan)
        witness = Witness(replica, self._ledger)
        host.life = life = Life(host, replica, witness, knows_others=knows_others)
        if host.disk is not None:
            records = host.disk.records
            self._driver.judged(life, replica.take, list(records.items()))
            life.witness.loaded(records)
            self._commits.commit(life)
        self._driver.turn(life, Event.START, str(host.address).encode(), replica.tick)

    def _given(self) -> dict[bytes, bytes]:
        """What a memory-only life begins with: nothing; but where nobody joins anybody, all are of
        one cluster from the beginning."""
        if self._scenario.joining is not Joining.INTRODUCED:
            return {}
        facts = SavedState({}).own_facts(SavedLife(cluster_id=ClusterId(1, 1)))
        return {fact.key: fact.value for fact in facts if fact.value is not None}

    def _known_to(self, address: Address, joins: bool) -> Address:
        """The own address as the node knows it: without a host where it must learn that from the
        nodes that it joins."""
        return Address("", address.port) if self._scenario.addressless and joins else address

    def _config_of(self, host: Host) -> Config:
        scenario = self._scenario
        return replace(
            scenario.config,
            name=host.name,
            zone=f"z{host.number % scenario.zones}" if scenario.zones > 1 else "",
            join=scenario.targets_of(host.number),
            datacenter=scenario.datacenter_of(host.number),
            gateway=scenario.layout.is_gateway(host.number),
            join_wan=scenario.wan_targets_of(host.number),
        )

    def stop(self, life: Life) -> None:
        """The process ends, and what it had in memory is lost. No effect on a life that has
        ended."""
        host = life.host
        if host.life is not life:
            return
        self._trace.note(self._timeline.time_s, host.number, Event.STOP, b"")
        self.count(life)
        host.life = None
        host.paused = False
        host.backlog.clear()
        self._delivery.close(life)
        self._oracle.crashed(host.number, durable=host.disk is not None)
        if host.disk is not None:
            host.disk.lose()

    def remember(self, life: Life) -> None:
        """A snapshot of the machine. Not while a write waits for others, for its client does not go
        back."""
        host, replica = life.host, life.replica
        if life.leaving or replica.acks:
            return
        host.memory = Memory(
            host.lives,
            life.has_met,
            len(replica.inputs),
            life.witness.copy(),
            None if host.disk is None else host.disk.copy(),
            self._oracle.mark(host.number),
        )

    def set_back(self, life: Life) -> None:
        """The machine goes on from its snapshot: what it has written since is with others, or
        nowhere. No effect where the snapshot is of another life."""
        host, memory = life.host, life.host.memory
        host.memory = None
        if memory is None or memory.lives != host.lives or life.leaving:
            return
        self._trace.note(self._timeline.time_s, host.number, Event.STOP, b"set back")
        self.count(life)
        host.lives += 1
        host.paused = False
        host.backlog.clear()
        self._delivery.close(life)
        host.disk, witness = memory.disk, memory.witness
        replica = self._driver.judged(life, life.replica.again, memory.inputs)
        witness.replica = replica
        host.life = Life(host, replica, witness, knows_others=life.knows_others)
        host.life.has_met = memory.has_met
        self._ledger.lose(self._oracle.set_back(host.number, memory.mark))
        self._driver.turn(host.life, Event.TICK, b"", replica.tick)

    def restart(self, host: Host, moved: bool, renamed: bool = False) -> None:
        """As `start`; `moved`: with another host or port, while the old address answers no more;
        `renamed`: as somebody new."""
        if host.life is not None or host.dead:
            return
        if moved:
            elsewhere = Address(
                f"10.{host.lives % 256}.{host.number >> 8}.{host.number & 255}", host.address.port
            )
            host.move(
                elsewhere
                if self._rng.random() < 0.5
                else host.address._replace(port=host.address.port + 1)
            )
            self._delivery.listen(host)
        if renamed:
            host.name = f"n{host.number}-{host.lives}"
        self.start(host)

    def resume(self, host: Host) -> None:
        """A paused host goes on: packets that have waited come at once, in their order."""
        if host.paused and host.life is not None:
            host.paused = False
            waiting, host.backlog = host.backlog, []
            for turn in waiting:
                self._timeline.after(0.0, self._driver.turn, *turn)
            self._driver.arm(host.life)

    def count(self, life: Life) -> None:
        """To be called once for each life: when it, or the run, has ended."""
        statistics = life.replica.statistics()
        self.gossips += int(statistics["gossips_sent"])
        self.exchanges += int(statistics["exchanges_started"])
