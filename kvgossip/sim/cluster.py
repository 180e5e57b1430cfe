"""Cluster: real replicas on simulated hosts. It hands them inputs and time, performs their effects,
and lets a witness see every step.

A *turn* is one input of one replica: the witness judges its effects, then they are performed in
their order, then the timer is set again. Inputs of a paused host wait and come in a burst when it
resumes.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from kvgossip.config import GOSSIP_PORT, Address, Config
from kvgossip.errors import ClockAheadError
from kvgossip.protocol.effect import (
    AckReceived,
    Departed,
    Dropped,
    Effect,
    JoinRefused,
    Log,
    MemberChanged,
    Quarantined,
    Resolve,
    Send,
    WriteConcernEnded,
)
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import is_dead
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import (
    Framing,
    encode,
    frame_bytes_max,
    is_of_pool,
    is_refusal,
    is_sealed,
)
from kvgossip.protocol.wire.keyring import keyring_of
from kvgossip.protocol.wire.message import Message
from kvgossip.sim.checks.batches import Batches
from kvgossip.sim.checks.invariants import BrokenLawError, Ledger, Witness, require
from kvgossip.sim.checks.oracle import Truth
from kvgossip.sim.checks.promises import Promises
from kvgossip.sim.delivery import Delivery
from kvgossip.sim.disk import COMMIT_S_MAX, Disk
from kvgossip.sim.faults import (
    Blow,
    Crash,
    Cut,
    Die,
    Fault,
    Garbage,
    Leave,
    Mend,
    Pause,
    Restart,
    Resume,
    SetClock,
    Sever,
    Way,
    skew_ms,
)
from kvgossip.sim.host import EPOCH_MS, Call, Clock, Host, Life
from kvgossip.sim.network import Network, Weather
from kvgossip.sim.scenario import Scenario
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event, Trace
from kvgossip.sim.workload import Write

SPINS_MAX = 200
"""Ticks of one replica at one virtual time: more means that its deadline does not move."""
DEPARTURE_S = 2.0
"""A process that leaves ends at the latest so long after."""
STRANGER = Address("192.0.2.1", 9)


class Cluster:
    """`changed_s` is when anything that peers should agree on changed last, `news_s` when data did;
    `speaker` whose turn it is, or was.

    `tap`, if it is set, sees every packet that is sent.
    """

    def __init__(self, scenario: Scenario, trace_length: int = 0) -> None:
        self.scenario, self.layout = scenario, scenario.layout
        self.timeline, self.ledger, self.trace, self.truth = (
            Timeline(),
            Ledger(),
            Trace(trace_length),
            Truth(),
        )
        self.network = Network(scenario.stream("network"), Weather(), self.layout)
        pools = [f"lan:{self._datacenter_of(number)}" for number in range(self.layout.datacenters)]
        self.framings = [
            Framing(scenario.config.cluster, pool, frame_bytes_max(scenario.config))
            for pool in [*pools, "wan"]
        ]
        self.framing, self._frame_bytes_max = self.framings[0], frame_bytes_max(scenario.config)
        keyring = keyring_of(scenario.config)
        if keyring is not None:
            for framing in self.framings:
                framing.seal_with(keyring, 0, 0, scenario.config.members_max)
        self.promises = Promises(self.ledger, scenario.wait_share, scenario.stream("promises"))
        self.batches = Batches(scenario.batch_share, scenario.stream("bundles"))
        clocks = scenario.stream("clocks")
        self.hosts = [self._host(number, clocks) for number in range(scenario.nodes)]
        self.delivery = Delivery(self.timeline, self.network, self.hosts, self, self.trace)
        self.counts: Counter[str] = Counter()
        self.changed_s = self.news_s = 0.0
        self.speaker = ""
        self.quiet = True
        self._somebody_went = False
        self.tap: Callable[[Send], None] | None = None
        self._rng = scenario.stream("cluster")
        self._packets: list[bytes] = []
        self._severed: list[Way] = []
        for host in self.hosts:
            self.delivery.listen(host)

    def _host(self, number: int, rng: Random) -> Host:
        intensity = self.scenario.intensity
        clock = Clock(
            1.0 + rng.uniform(-intensity.clock_drift, intensity.clock_drift),
            skew_ms(intensity, rng),
        )
        host = Host(
            number, f"n{number}", Address(f"10.0.{number >> 8}.{number & 255}", GOSSIP_PORT), clock
        )
        host.disk = Disk() if self.scenario.durable else None
        return host

    @property
    def wall_ms(self) -> int:
        """The true time."""
        return EPOCH_MS + int(self.timeline.time_s * 1000)

    def running(self) -> list[Life]:
        return [host.life for host in self.hosts if host.life is not None]

    # -- lives ------------------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """A new life under the host's name, with what is on its disk. No effect on a host that runs
        or is dead."""
        if host.life is not None or host.dead:
            return
        host.lives += 1
        host.clock.restart(self._rng.random() * 1e6)
        config = self._config_of(host)
        address = (
            Address("", host.address.port)
            if self.scenario.addressless and config.join
            else host.address
        )
        wan_address = (
            Address("", host.wan_address.port)
            if self.scenario.addressless and config.join_wan
            else host.wan_address
        )
        rng = self.scenario.stream(f"{host.name} {host.lives}")
        now, saved = (
            host.clock.now(self.timeline.time_s),
            dict(host.disk.facts) if host.disk is not None else None,
        )
        replica = Replica(
            config, address=address, wan_address=wan_address, rng=rng, now=now, saved=saved
        )
        host.life = life = Life(host, replica, Witness(replica, self.ledger))
        if host.disk is not None:
            records = host.disk.records
            self.judged(life, replica.load, records.items())
            life.witness.loaded(records)
            self._commit(life)
        self.turn(host.life, Event.START, str(host.address).encode(), replica.start)

    def introduce(self) -> None:
        """Tell every running replica of all others, in a frame such as members send: a cluster that
        is joined without exchanges."""
        data = self.framing.frame([encode(life.replica.member) for life in self.running()])
        for life in self.running():
            self.frame(life, data, STRANGER, PoolKind.LAN)

    def _config_of(self, host: Host) -> Config:
        zone = f"z{host.number % self.scenario.zones}" if self.scenario.zones > 1 else ""
        return replace(
            self.scenario.config,
            name=host.name,
            zone=zone,
            join=self.scenario.targets_of(host.number),
            datacenter=self._datacenter_of(host.number),
            gateway=self.layout.is_gateway(host.number),
            join_wan=self.scenario.wan_targets_of(host.number),
        )

    def _datacenter_of(self, number: int) -> str:
        """Its name: the configured one where there is one only."""
        return (
            self.scenario.config.datacenter
            if self.layout.datacenters == 1
            else f"dc{self.layout.datacenter_of(number)}"
        )

    def stop(self, life: Life) -> None:
        """The process ends, and what it had in memory is lost."""
        host = life.host
        if host.life is not life:
            return
        self.trace.note(self.timeline.time_s, host.number, Event.STOP, b"")
        self.count_gossips(life)
        host.life = None
        host.paused = False
        host.backlog.clear()
        self.delivery.close(life)
        self.truth.crashed(host.number, durable=host.disk is not None)
        if host.disk is not None:
            host.disk.lose()

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
            self.delivery.listen(host)
        if renamed:
            host.name = f"n{host.number}-{host.lives}"
        self.start(host)

    def resume(self, host: Host) -> None:
        """What has waited comes at once, in its order."""
        if host.paused and host.life is not None:
            host.paused = False
            waiting, host.backlog = host.backlog, []
            for turn in waiting:
                self.timeline.after(0.0, self.turn, *turn)
            self._arm(host.life)

    def count_gossips(self, life: Life) -> None:
        """To be called when the life, or the run, has ended: packets of rumors that it sent,
        exchanges that it started."""
        told = life.replica.statistics()
        self.counts["gossips"] += int(told["gossips_sent"])
        self.counts["exchanges"] += int(told["exchanges_started"])

    # -- turns ------------------------------------------------------------------------------------

    def datagram(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None:
        self.turn(
            life, Event.DATAGRAM, data, partial(life.replica.receive, pool=pool), data, source
        )

    def frame(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None:
        self.turn(
            life,
            Event.FRAME,
            data,
            partial(life.replica.receive, pool=pool, reliable=True),
            data,
            source,
        )

    def unreachable(self, life: Life, address: Address, pool: PoolKind) -> None:
        self.turn(
            life,
            Event.UNREACHABLE,
            str(address).encode(),
            partial(life.replica.unreachable, pool=pool),
            address,
        )

    def turn(self, life: Life, event: Event, data: bytes, call: Call, *arguments: Any) -> None:
        """One input. It waits while the host is paused, and misses a life that has ended."""
        host = life.host
        if host.life is not life:
            return
        if host.paused:
            host.backlog.append((life, event, data, call, *arguments))
            return
        self.trace.note(self.timeline.time_s, host.number, event, data)
        now = host.clock.now(self.timeline.time_s)
        effects = self.judged(life, call, *arguments, now)
        self._perform(life, event, effects)
        if self.batches.count and effects:
            self._judge_batches(life, event, data, effects)

    def _judge_batches(self, life: Life, event: Event, data: bytes, effects: list[Effect]) -> None:
        """Who was told of a batch as one does not show a part of it."""
        parts = self.batches.parts_shown(life.replica, effects)
        if parts and event is Event.BATCH:
            raise BrokenLawError("of a batch that was written here a part is shown")
        messages = self._messages(event, data) if parts else ()
        for batch in parts:
            self.batches.check(batch, messages, life.title)

    def _messages(self, event: Event, data: bytes) -> Sequence[Message | Member]:
        if event not in (Event.DATAGRAM, Event.FRAME):
            return ()
        framing = next(framing for framing in self.framings if is_of_pool(data, framing.pool))
        return framing.open(data, reliable=event is Event.FRAME, replays=True).messages

    def judged(self, life: Life, question: Callable[..., Any], *arguments: Any) -> Any:
        """What the question answers. Whatever it raises is a broken law of this node: a replica
        raises nothing on any input."""
        self.speaker = life.host.name
        try:
            return question(*arguments)
        except BrokenLawError:
            raise
        except Exception as error:
            raise BrokenLawError(
                f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}"
            ) from error

    def _perform(self, life: Life, event: Event, effects: list[Effect]) -> None:
        # what is sent changes nothing that the witness or the disk looks at
        told = [effect for effect in effects if type(effect) is not Send]
        if life.witness.observe(told):
            self.changed_s = self.timeline.time_s
        if effects:
            self._keep(life, event, told)
            for effect in effects:
                if type(effect) is Send:
                    self._send(life, effect)
                elif type(effect) is Changed:
                    self.news_s = self.timeline.time_s
                    self.counts[f"news_by_{event.name.lower()}"] += 1
                else:
                    self._perform_rare(life, effect)
        self._arm(life)

    def _keep(self, life: Life, event: Event, effects: list[Effect]) -> None:
        """What the truth is, and what goes to the disk: a write at once, all else some time
        later."""
        number, disk = life.host.number, life.host.disk
        for effect in effects:
            if type(effect) is Changed:
                self.judged(life, self.truth.holds, number, effect.key, effect.new_record)
        if disk is None or not disk.note(effects):
            return
        if event in (Event.PUT, Event.DELETE, Event.BATCH):
            self._commit(life)
        elif not disk.planned:
            disk.planned = True
            self.timeline.after(self._rng.random() * COMMIT_S_MAX, self._commit, life)

    def _commit(self, life: Life) -> None:
        disk = life.host.disk
        if life.host.life is life and disk is not None:
            disk.planned = False
            disk.commit(life.replica.checkpoint(life.host.clock.now(self.timeline.time_s)))
            self.truth.committed(life.host.number)

    def _send(self, life: Life, effect: Send) -> None:
        data, limit = (
            effect.data,
            self._frame_bytes_max if effect.reliable else self.scenario.config.datagram_bytes_max,
        )
        if len(data) > limit:
            require(False, "a packet is longer than its limit", len(data), limit, effect.reliable)
        if self.layout.datacenters > 1 or effect.pool is PoolKind.WAN:
            self._stays_in_its_pool(life, effect)
        require(
            is_sealed(data) == bool(life.replica.keyring) or is_refusal(data),
            "a frame that is not sealed as all are",
        )
        if self.scenario.intensity.garbage_rate and len(self._packets) < 64:
            self._packets.append(data)
        if self.tap is not None:
            self.tap(effect)
        self.delivery.send(life, effect)

    def _stays_in_its_pool(self, life: Life, effect: Send) -> None:
        """Datacenters meet through gateways only. The ends of links are known by where they were
        dialled."""
        layout, sender, owner = self.layout, life.host.number, self.delivery.owner_of(effect.to)
        if effect.pool is PoolKind.WAN:
            among_gateways = layout.is_gateway(sender) and (
                owner is None or layout.is_gateway(owner)
            )
            require(among_gateways, "a WAN packet of or to no gateway", effect.to)
        elif owner is not None:
            inside = layout.datacenter_of(owner) == layout.datacenter_of(sender)
            require(inside, "a LAN packet leaves its datacenter", effect.to)

    def _perform_rare(self, life: Life, effect: Effect) -> None:
        if isinstance(effect, (Dropped, Quarantined)):
            self.changed_s = self.timeline.time_s
            self.counts[type(effect).__name__.lower()] += 1
            # whoever collects waits for all that it knows: only who went, or was thought to have
            # gone, can have missed a delete
            missed = (
                isinstance(effect, Dropped)
                or self._somebody_went
                or any(host.lives > 1 or host.dead for host in self.hosts)
            )
            require(
                missed, "a value is put into quarantine although nobody was ever away", effect.key
            )
        elif isinstance(effect, MemberChanged):
            self._somebody_went |= effect.new is None or effect.new.state is MemberState.LEFT
        elif isinstance(effect, Resolve):
            self.timeline.after(
                self._rng.uniform(0.001, 0.02), self._resolve, life, effect.target, effect.pool
            )
        elif isinstance(effect, AckReceived):
            self.promises.held(effect)
        elif isinstance(effect, WriteConcernEnded):
            self.promises.waited(
                effect, life.host.clock.now(self.timeline.time_s), leaving=life.leaving
            )
        elif isinstance(effect, Departed):
            self.timeline.after(0.0, self.stop, life)
        elif isinstance(effect, JoinRefused):
            # Every host has a name of its own, so a refusal takes somebody for his own earlier life
            # (lesson 10).
            require("is held by" not in effect.text, "a join was refused for its name", effect.text)
        elif isinstance(effect, Log):
            self.counts[f"log_{effect.level.lower()}"] += 1
            self.trace.note(self.timeline.time_s, life.host.number, Event.LOG, effect.text.encode())

    def _resolve(self, life: Life, target: str, pool: PoolKind) -> None:
        """DNS knows where each host is, or was before it went down. A name of many does not have
        the dead."""
        failed = self._rng.random() < self.scenario.intensity.resolve_loss and not self.quiet
        hosts = [self.hosts[number] for number in self.layout.named(target)]
        found = [
            host.address if pool is PoolKind.LAN else host.wan_address
            for host in hosts
            if not host.dead or len(hosts) == 1
        ]
        addresses = [] if failed else found
        call = partial(life.replica.resolved, pool=pool)
        self.turn(
            life, Event.RESOLVED, " ".join(map(str, addresses)).encode(), call, target, addresses
        )

    # -- timers -----------------------------------------------------------------------------------

    def _arm(self, life: Life) -> None:
        """Ask the replica when it wants to be called, which nothing but an input changes."""
        life.deadline_s = life.replica.deadline()
        self._set_timer(life)

    def _set_timer(self, life: Life) -> None:
        """One timer a life. One that is set too early looks again when it fires."""
        deadline_s = life.deadline_s
        if deadline_s is None or not life.active:
            return
        due_s = max(life.host.clock.time_of(deadline_s), self.timeline.time_s)
        if life.timer_s is None or due_s < life.timer_s:
            life.timer_s = due_s
            self.timeline.at(due_s, self._timer, life, due_s)

    def _timer(self, life: Life, due_s: float) -> None:
        if life.timer_s != due_s:
            return
        life.timer_s = None
        deadline_s = life.deadline_s
        if deadline_s is None or not life.active:
            return
        if life.host.clock.time_of(deadline_s) > self.timeline.time_s:
            self._set_timer(life)
            return
        self._count_spins(life)
        self.trace.note(self.timeline.time_s, life.host.number, Event.TICK, b"")
        now = life.host.clock.now(self.timeline.time_s, deadline_s)
        self._perform(life, Event.TICK, self.judged(life, life.replica.tick, now))

    def _count_spins(self, life: Life) -> None:
        life.spins = life.spins + 1 if life.spun_s == self.timeline.time_s else 0
        life.spun_s = self.timeline.time_s
        if life.spins > SPINS_MAX:
            self.speaker = life.host.name
            raise BrokenLawError("tick() is called again and again, and its deadline does not move")

    # -- writes -----------------------------------------------------------------------------------

    def write(self, together: list[Write]) -> None:
        """Writes of one turn of the event loop, on one of the running nodes."""
        takers = [life for life in self.running() if life.active and not life.leaving]
        if takers:
            life = takers[int(together[0].choice * len(takers))]
            batch = self.batches.choose(together, life.replica.config.message_bytes_max)
            if batch:
                self.turn(
                    life,
                    Event.BATCH,
                    "\n".join(write.key for write in batch).encode(),
                    self._accept,
                    life,
                    batch,
                )
                return
            for write in together:
                event = Event.DELETE if write.value is None else Event.PUT
                self.turn(life, event, write.key.encode(), self._accept, life, write)

    def _accept(self, life: Life, what: Write | list[Write], now: Now) -> list[Effect]:
        """Hand a write, or a batch of them, to the replica, and hold it to its answer: the first
        effects are what the caller is told.

        A node whose clock is ahead of its peers' refuses, and says so.
        """
        try:
            return (
                self._batched(life, what, now)
                if isinstance(what, list)
                else self._written(life, what, now)
            )
        except ClockAheadError:
            self.counts["writes_refused"] += 1
            return []

    def _batched(self, life: Life, batch: list[Write], now: Now) -> list[Effect]:
        effects = life.replica.batch(
            [Writing(write.key, write.value, ttl_s=write.ttl_s) for write in batch], now
        ).effects
        live = life.witness.live()
        made = [write for write in batch if write.value is not None or write.key in live]
        told = [effect for effect in effects if type(effect) is Changed]
        stored = [(effect.new.key, effect.new.value) for effect in told]
        require(
            stored == [(write.key, write.value) for write in made],
            "what was stored is not the batch that was written",
            stored,
        )
        for effect in told:
            self._note(life, effect)
        if len(told) > 1:
            self.batches.wrote(tuple((effect.key, effect.new_record) for effect in told))
        return [*effects, *self.promises.begin(life.replica, told[0], now)] if told else effects

    def _note(self, life: Life, told: Changed) -> None:
        """A write that was accepted."""
        self.counts["deletes" if is_dead(told.new_record) else "puts"] += 1
        self.ledger.write(told.key, told.new_record, life.title)
        self.truth.wrote(life.host.number, told.key, told.new_record)

    def _written(self, life: Life, write: Write, now: Now) -> list[Effect]:
        if write.value is None:
            effects = life.replica.delete(write.key, now).effects
            if write.key not in life.witness.live():
                require(not effects, "a delete of nothing had effects", write.key, effects)
                return effects
        else:
            effects = life.replica.put(write.key, write.value, now, ttl_s=write.ttl_s).effects
        told = effects[0] if effects else None
        assert isinstance(told, Changed), f"the first effect of a write is {told}"
        require(
            told.new.key == write.key and told.new.value == write.value,
            "what was stored is not what was written",
            told.new,
        )
        self._note(life, told)
        return [*effects, *self.promises.begin(life.replica, told, now)]

    # -- faults -----------------------------------------------------------------------------------

    def disturb(self) -> None:
        """From now on the network is as bad as the scenario says, and faults may strike."""
        self.quiet = False
        self.network.weather = self.scenario.intensity.weather

    def strike(self, fault: Fault) -> None:
        """Let a fault happen, if the faults have not ended yet."""
        if self.quiet:
            return
        kind = type(fault).__name__.lower()
        self.counts[f"fault_{kind}"] += 1
        self.trace.note(
            self.timeline.time_s, getattr(fault, "node", 0), Event.FAULT, repr(fault).encode()
        )
        self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        match fault:
            case Crash(node, vanishes, wipes):
                self._with_life(node, self.stop)
                self._wipe(self.hosts[node], wipes)
                if vanishes and not self.scenario.is_needed(node):
                    self._vanish(self.hosts[node])
            case Die(node):
                self._die(self.hosts[node])
            case Leave(node):
                self._with_life(node, self._leave)
            case Restart(node, moved, renamed):
                self.restart(self.hosts[node], moved, renamed)
            case Pause(node):
                self.hosts[node].paused = self.hosts[node].life is not None
            case Resume(node):
                self.resume(self.hosts[node])
            case Cut(ways):
                self.network.cut(ways)
            case Sever(ways):
                self._sever(ways)
            case Mend(ways):
                self.network.mend(ways)
            case SetClock(node, offset_ms):
                self.hosts[node].clock.offset_ms = offset_ms
            case Blow(loss):
                self.network.weather = replace(self.network.weather, loss=loss)
            case Garbage(node, kind):
                self._send_garbage(self.hosts[node], kind)

    def _die(self, host: Host) -> None:
        """Off the network before the process ends, so that nobody hears its links close."""
        others = [other.number for other in self.hosts if other is not host]
        self._sever(
            [way for other in others for way in ((host.number, other), (other, host.number))]
        )
        self._with_life(host.number, self.stop)
        self._vanish(host)

    def _vanish(self, host: Host) -> None:
        """It starts no more, so that what only its disk has is lost."""
        host.dead = True
        self.truth.crashed(host.number, durable=False)

    def _wipe(self, host: Host, wipes: bool) -> None:
        if host.disk is not None and wipes:
            host.disk = Disk()
            self.truth.crashed(host.number, durable=False)

    def _sever(self, ways: Sequence[Way]) -> None:
        self._severed += ways
        self.network.cut(ways)

    def _with_life(self, node: int, action: Callable[[Life], None]) -> None:
        life = self.hosts[node].life
        if life is not None:
            action(life)

    def _leave(self, life: Life) -> None:
        """Founders stay: nobody looks for one that left, and it would look for nobody."""
        if life.active and not life.leaving and life.replica.config.join:
            life.leaving = True
            self.turn(life, Event.LEAVE, b"", life.replica.leave)
            self.timeline.after(DEPARTURE_S, self.stop, life)

    def _send_garbage(self, host: Host, kind: int) -> None:
        """From a stranger: noise, or a real packet that is cut off, comes late, or carries the
        fingerprint of another cluster."""
        draw = self._rng
        packet = draw.choice(self._packets) if self._packets else b"kv"
        noise = (
            draw.randbytes(draw.randrange(200)),
            packet[: draw.randrange(len(packet))],
            packet,
            packet[:8] + draw.randbytes(4) + packet[12:],
        )[kind]
        self.delivery.send_datagram(-1, STRANGER, host.address, noise)

    def calm(self) -> None:
        """No more faults: the paused resume, what is down starts, cuts are mended; what is dead or
        severed stays, and clocks stay wrong."""
        self.quiet = True
        self.changed_s = self.news_s = self.timeline.time_s
        self.network.weather = Weather()
        self.network.mend_all()
        self.network.cut(self._severed)
        for host in self.hosts:
            self.resume(host)
            self._with_life(host.number, lambda life: self.stop(life) if life.leaving else None)
            self.start(host)
