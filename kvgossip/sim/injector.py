"""The fault injector: it lets the faults of the schedule happen, and ends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from kvgossip.config import Address
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.delivery import Delivery
from kvgossip.sim.disk import Disk
from kvgossip.sim.driver import Driver
from kvgossip.sim.faults import (
    Blow,
    Crash,
    Cut,
    Die,
    Fault,
    Garbage,
    Glitch,
    Leave,
    Lie,
    Mend,
    Pause,
    Remember,
    Restart,
    Resume,
    SetBack,
    SetClock,
    Sever,
    Way,
)
from kvgossip.sim.host import Host, Life
from kvgossip.sim.lies import Lies
from kvgossip.sim.lives import Lives
from kvgossip.sim.network import Network, Weather
from kvgossip.sim.scenario import Scenario
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event, Trace

DEPARTURE_S = 2.0
"""A process that leaves ends at the latest so long after."""
SAMPLES_MAX = 64
STRANGER = Address("192.0.2.1", 9)
"""The address of a sender that is no member."""


class FaultInjector:
    def __init__(
        self,
        scenario: Scenario,
        hosts: Sequence[Host],
        timeline: Timeline,
        trace: Trace,
        network: Network,
        delivery: Delivery,
        driver: Driver,
        lives: Lives,
        oracle: Oracle,
        lies: Lies,
        rng: Random,
    ) -> None:
        self._scenario, self._hosts = scenario, hosts
        self._timeline, self._trace, self._rng = timeline, trace, rng
        self._network, self._delivery = network, delivery
        self._driver, self._lives, self._oracle = driver, lives, oracle
        self._lies = lies
        #: True if no fault may strike: before `disturb`, and after `calm`.
        self.quiet = True
        #: Faults that struck, by kind.
        self.counts: Counter[str] = Counter()
        #: Real packets, from which garbage is made.
        self._samples: list[bytes] = []
        #: Ways that never mend.
        self._severed: list[Way] = []

    def disturb(self) -> None:
        """From now on the network is as bad as the scenario says, and faults may strike."""
        self.quiet = self._lies.quiet = False
        self._network.weather = self._scenario.intensity.weather

    def strike(self, fault: Fault) -> None:
        """Let a fault happen, if the faults have not ended yet."""
        if self.quiet:
            return
        self.counts[type(fault).__name__.lower()] += 1
        self._trace.note(
            self._timeline.time_s, getattr(fault, "node", 0), Event.FAULT, repr(fault).encode()
        )
        self._strike(fault)

    def calm(self) -> None:
        """No more faults: the hostile one is gone, paused hosts resume, those that are down start,
        cuts are mended; the dead and the severed stay so, and clocks keep their skew."""
        self.quiet = self._lies.quiet = True
        self._driver.forget_changes()
        self._network.weather = Weather()
        self._network.mend_all()
        self._network.cut(self._severed)
        hostile = self._lies.hostile
        if hostile is not None:
            self._with_life(hostile.number, self._lives.stop)
            self._vanish(hostile)
        for host in self._hosts:
            host.clock.glitch(0.0)
            self._lives.resume(host)
            self._with_life(host.number, self._end_if_leaving)
            self._lives.start(host)

    def fails_to_resolve(self) -> bool:
        """True if this look-up of a join address fails."""
        return self._rng.random() < self._scenario.intensity.resolve_loss and not self.quiet

    def sample(self, data: bytes) -> None:
        """A packet that was sent: garbage may be made of it."""
        if self._scenario.intensity.garbage_rate and len(self._samples) < SAMPLES_MAX:
            self._samples.append(data)

    # -- one fault ---------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        match fault:
            case Crash(node, vanishes, wipes, holes):
                self._with_life(node, self._lives.stop)
                self._wipe(self._hosts[node], wipes)
                self._punch(self._hosts[node], holes)
                if vanishes and not self._scenario.is_needed(node):
                    self._vanish(self._hosts[node])
            case Die(node):
                self._die(self._hosts[node])
            case Leave(node):
                self._with_life(node, self._leave)
            case Restart(node, moved, renamed):
                self._lives.restart(self._hosts[node], moved, renamed)
            case Pause(node):
                self._hosts[node].paused = self._hosts[node].life is not None
            case Remember(node):
                self._with_life(node, self._lives.remember)
            case SetBack(node):
                self._with_life(node, self._lives.set_back)
            case Resume(node):
                self._lives.resume(self._hosts[node])
            case Cut(ways):
                self._network.cut(ways)
            case Sever(ways):
                self._sever(ways)
            case Mend(ways):
                self._network.mend(ways)
            case SetClock(node, offset_ms):
                self._hosts[node].clock.offset_ms = offset_ms
            case Glitch(nodes, by_ms):
                for node in nodes:
                    self._hosts[node].clock.glitch(by_ms)
            case Blow(loss):
                self._network.weather = replace(self._network.weather, loss=loss)
            case Lie(node, member):
                self._lies.tell(self._hosts[node], member=member)
            case Garbage(node, kind):
                self._send_garbage(self._hosts[node], kind)

    def _die(self, host: Host) -> None:
        """Off the network before the process ends, so that nobody hears its links close."""
        others = [other.number for other in self._hosts if other is not host]
        self._sever(
            [way for other in others for way in ((host.number, other), (other, host.number))]
        )
        self._with_life(host.number, self._lives.stop)
        self._vanish(host)

    def _vanish(self, host: Host) -> None:
        """It starts no more, so that what only its disk has is lost."""
        host.dead = True
        self._oracle.crashed(host.number, durable=False)

    def _wipe(self, host: Host, wipes: bool) -> None:
        if host.disk is not None and wipes:
            host.disk = Disk()
            self._oracle.crashed(host.number, durable=False)

    def _punch(self, host: Host, holes: bool) -> None:
        """But where nobody could give it back what it loses."""
        others = [life for life in self._lives.running() if life.host is not host]
        settled = any(life.replica.settled for life in others)
        if host.disk is not None and host.life is None and holes and settled:
            host.disk.punch(self._rng)
            self._oracle.holed(host.number, host.disk.records)

    def _sever(self, ways: Sequence[Way]) -> None:
        self._severed += ways
        self._network.cut(ways)

    def _with_life(self, node: int, action: Callable[[Life], None]) -> None:
        life = self._hosts[node].life
        if life is not None:
            action(life)

    def _leave(self, life: Life) -> None:
        """Founders stay: nobody looks for one that left, and it would look for nobody."""
        if life.active and not life.leaving and life.replica.config.join:
            life.leaving = True
            self._driver.turn(life, Event.LEAVE, b"", life.replica.leave)
            self._timeline.after(DEPARTURE_S, self._lives.stop, life)

    def _end_if_leaving(self, life: Life) -> None:
        if life.leaving:
            self._lives.stop(life)

    def _send_garbage(self, host: Host, kind: int) -> None:
        """From a stranger: noise, or a real packet that is cut off, comes late, or carries the
        id of another cluster."""
        draw = self._rng
        packet = draw.choice(self._samples) if self._samples else b"kv"
        noise = (
            draw.randbytes(draw.randrange(200)),
            packet[: draw.randrange(len(packet))],
            packet,
            packet[:8] + draw.randbytes(4) + packet[12:],
        )[kind]
        self._delivery.send_datagram(-1, STRANGER, host.address, noise)
