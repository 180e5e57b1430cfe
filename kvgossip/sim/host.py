"""A host of the simulator: a machine with an address and clocks of its own; a life: one run of a
process on it; a link of two lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from kvgossip.config import Address
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.sim.checks.invariants import Witness
from kvgossip.sim.checks.oracle import Mark
from kvgossip.sim.disk import Disk
from kvgossip.sim.layout import WAN_OFFSET
from kvgossip.sim.recorded import Recorded

EPOCH_MS = 1_700_000_000_000
"""The wall clock at virtual time 0, of a host without skew."""

Call = Callable[..., list[Effect]]
Waiting = tuple[Any, ...]
"""An input that waits for its paused host: the arguments of the turn that it will be."""


class Clock:
    """Both clocks run at `rate`; the wall clock is `offset_ms` off, and `glitch_ms` more for a
    while; the monotonic one began at `origin_s`."""

    __slots__ = ("_latest_s", "farthest_ms", "glitch_ms", "offset_ms", "origin_s", "rate")

    def __init__(self, rate: float, offset_ms: float) -> None:
        self.rate, self.offset_ms, self.glitch_ms = rate, offset_ms, 0.0
        #: how far ahead glitches have ever taken it
        self.farthest_ms = 0.0
        self.origin_s = self._latest_s = 0.0

    def glitch(self, by_ms: float) -> None:
        """The wall clock is that far off, beside its skew, until it is set right: 0."""
        self.glitch_ms, self.farthest_ms = by_ms, max(self.farthest_ms, by_ms)

    def restart(self, origin_s: float) -> None:
        """A machine that starts again counts from anywhere; its wall clock goes on."""
        self.origin_s, self._latest_s = origin_s, 0.0

    def now(self, time_s: float, due_s: float = 0.0) -> Now:
        """Both clocks at a virtual time. The monotonic one never goes back, and has
        reached `due_s`."""
        shown_s = self.origin_s + time_s * self.rate
        if shown_s < due_s:
            shown_s = due_s
        if shown_s > self._latest_s:
            self._latest_s = shown_s
        wrong_ms = self.offset_ms + self.glitch_ms
        return Now(self._latest_s, EPOCH_MS + int(time_s * 1000 * self.rate + wrong_ms))

    def time_of(self, monotonic_s: float) -> float:
        """The virtual time at which the monotonic clock shows this."""
        return (monotonic_s - self.origin_s) / self.rate


class Host:
    """A machine, and what runs on it now."""

    __slots__ = (
        "address",
        "backlog",
        "clock",
        "dead",
        "disk",
        "life",
        "lives",
        "memory",
        "name",
        "number",
        "paused",
        "wan_address",
    )

    def __init__(self, number: int, name: str, address: Address, clock: Clock) -> None:
        #: Its place in the cluster.
        self.number = number
        self.name, self.clock = name, clock
        self.move(address)
        #: None while it is down.
        self.life: Life | None = None
        #: How often it was started.
        self.lives = 0
        #: True if it never starts again.
        self.dead = False
        #: True if its process stands still, and the inputs that wait meanwhile.
        self.paused = False
        self.backlog: list[Waiting] = []
        #: What a set-back brings back.
        self.memory: Memory | None = None
        #: None where its processes are memory-only.
        self.disk: Disk | None = None

    def move(self, address: Address) -> None:
        """To be found there from now on; `wan_address` is where it listens for gateways, if it is
        one."""
        self.address, self.wan_address = address, address._replace(port=address.port + WAN_OFFSET)


class Memory(NamedTuple):
    """A snapshot of a machine: of its life with this number, whether that has met anybody, how many
    inputs its replica had had, and how far the oracle was."""

    lives: int
    has_met: bool
    inputs: int
    witness: Witness
    disk: Disk | None
    mark: Mark


class Life:
    """One run of the process on a host."""

    __slots__ = (
        "deadline_s",
        "has_met",
        "host",
        "knows_others",
        "leaving",
        "links",
        "replica",
        "spins",
        "spun_s",
        "timer_s",
        "title",
        "witness",
    )

    def __init__(
        self, host: Host, replica: Recorded, witness: Witness, *, knows_others: bool = False
    ) -> None:
        self.host, self.replica, self.witness = host, replica, witness
        self.title = f"{host.name} life {host.lives}"
        #: True if it has heard of others, by join addresses or its disk, and if it has met any.
        self.knows_others, self.has_met = knows_others, False
        #: True if it has begun to leave.
        self.leaving = False
        #: By the address by which it knows the other end.
        self.links: dict[Address, Link] = {}
        #: The one timer that it has set, virtual time.
        self.timer_s: float | None = None
        #: The replica's deadline after its last input, by its monotonic clock.
        self.deadline_s: float | None = None
        #: The virtual time of its last tick, and how many ticks there were at that time.
        self.spun_s, self.spins = -1.0, 0

    @property
    def active(self) -> bool:
        """Running and not paused."""
        return self.host.life is self and not self.host.paused


class Link:
    """One connection."""

    __slots__ = (
        "_ready_s",
        "accepting",
        "acceptor",
        "broken",
        "dialled",
        "dialler",
        "dialling",
        "ephemeral",
    )

    def __init__(
        self, dialler: Life, dialled: Address, ephemeral: Address, dialling: PoolKind
    ) -> None:
        self.dialler, self.dialled, self.ephemeral = dialler, dialled, ephemeral
        #: The pools of its ends.
        self.dialling = self.accepting = dialling
        #: None until the first frame arrives.
        self.acceptor: Life | None = None
        self.broken = False
        #: The time at which the last frame of the dialler arrives, and of the acceptor.
        self._ready_s = [0.0, 0.0]

    def other(self, life: Life) -> Life | None:
        return self.acceptor if life is self.dialler else self.dialler

    def key_of(self, life: Life) -> Address:
        """The address by which this end names the other one."""
        return self.dialled if life is self.dialler else self.ephemeral

    def pool_of(self, life: Life) -> PoolKind:
        """Of which of this end's pools it is."""
        return self.dialling if life is self.dialler else self.accepting

    def in_order(self, sender: Life, arrival_s: float) -> float:
        """The time at which a frame of this end arrives: not before those that it sent earlier."""
        way = 0 if sender is self.dialler else 1
        self._ready_s[way] = max(self._ready_s[way], arrival_s)
        return self._ready_s[way]


class Inputs(Protocol):
    """Hands what was delivered to the replicas."""

    def datagram(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None: ...
    def frame(self, life: Life, data: bytes, source: Address, pool: PoolKind) -> None: ...
    def unreachable(self, life: Life, address: Address, pool: PoolKind) -> None: ...
