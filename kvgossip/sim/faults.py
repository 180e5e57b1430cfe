"""Faults: the ways to go wrong, and the amount of each that a seed draws.

Swarm testing (Groce et al. 2012): each seed switches on a random subset of the kinds of faults,
each with a random intensity. A run in which everything fails at once hides the mistakes that need
one thing to fail and another to work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random

from kvgossip.sim.network import Weather

GLITCH_MS_MIN, GLITCH_MS_MAX = 5_000.0, 60_000.0
"""How far off the clocks of a glitch are."""

Way = tuple[int, int]
"""From one node to another, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """How much goes wrong. Rates are events a second: of one node, but those of partitions, cuts
    and storms of the whole cluster. Shares and probabilities are 0 to 1.

    Permanent faults outlast the others.
    """

    #: Probability that a packet is lost, and that it arrives twice.
    loss: float = 0.0
    duplicate: float = 0.0
    #: How much later a late packet is: one in twenty is late.
    tail_s: float = 0.02
    crash_rate: float = 0.0
    #: Nodes that leave and come back.
    leave_rate: float = 0.0
    #: Restarts with a new address.
    move_share: float = 0.0
    #: Restarts with a new name, perhaps at the old address.
    rename_share: float = 0.0
    #: Crashes without a restart.
    vanish_share: float = 0.0
    #: Crashes after which the host stays away for `absence_s` instead of seconds.
    absence_share: float = 0.0
    absence_s: float = 60.0
    #: Crashes that take the disk, too.
    wipe_share: float = 0.0
    #: Crashes after which the disk has silently lost some entries, and nothing else.
    hole_share: float = 0.0
    partition_rate: float = 0.0
    pause_rate: float = 0.0
    storm_rate: float = 0.0
    #: Packets of noise.
    garbage_rate: float = 0.0
    #: Look-ups of join addresses that fail.
    resolve_loss: float = 0.0
    #: Wall clocks that are set anew.
    jump_rate: float = 0.0
    #: Wall clocks, or those of all hosts at once, that are far off for a while.
    glitch_rate: float = 0.0
    #: Each wall clock is up to that far off, either way.
    clock_skew_ms: float = 0.0
    #: Each clock runs up to that share too fast or slow.
    clock_drift: float = 0.0
    #: One link, both ways, is cut for a while.
    cut_rate: float = 0.0
    #: A whole datacenter is cut off from the others for a while, or loses all its gateways at once.
    datacenter_rate: float = 0.0
    #: Machines that go on from an earlier memory, and disk, of the same life.
    set_back_rate: float = 0.0
    #: False messages of one that has the key and is no member.
    stranger_rate: float = 0.0
    #: The same of a member: the last host, unless others need it.
    hostile_rate: float = 0.0
    #: Nodes that are taken from the network for good; at least two stay.
    permanent_crash_rate: float = 0.0
    #: Links that are cut for good; the nodes that stay are connected, if not directly.
    permanent_cut_rate: float = 0.0

    @property
    def keeps_writes(self) -> bool:
        """True if nothing takes what a host with a disk has acknowledged."""
        takes = (self.vanish_share, self.wipe_share, self.hole_share, self.set_back_rate)
        return not any((*takes, self.permanent_crash_rate, self.hostile_rate, self.stranger_rate))

    @property
    def weather(self) -> Weather:
        return Weather(
            loss=self.loss,
            duplicate=self.duplicate,
            tail=0.05 if self.tail_s > 0.02 else 0.005,
            tail_s=self.tail_s,
        )

    @property
    def lies(self) -> bool:
        """True if somebody sends what is false."""
        return self.stranger_rate > 0 or self.hostile_rate > 0

    @property
    def calm(self) -> bool:
        """True if nothing goes wrong at all, clocks aside."""
        harmless = ("tail_s", "absence_s", "clock_skew_ms", "clock_drift")
        return not any(
            getattr(self, field.name) for field in fields(self) if field.name not in harmless
        )


@dataclass(frozen=True, slots=True)
class Crash:
    """All memory is lost. `vanishes`: it never starts again, if the others can do without it.
    `wipes`: the disk is lost, too; `holes`: some of its entries are."""

    node: int
    vanishes: bool = False
    wipes: bool = False
    holes: bool = False


@dataclass(frozen=True, slots=True)
class Die:
    """The machine fails silently and for good: its process ends, its links carry nothing more, and
    no kernel tells anybody."""

    node: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A new life; `moved`: with a new address; `renamed`: with a new name."""

    node: int
    moved: bool
    renamed: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """A graceful farewell, then the process ends."""

    node: int


@dataclass(frozen=True, slots=True)
class Pause:
    """The process stands still and its packets queue up, as in a long garbage collection or a
    suspended machine."""

    node: int


@dataclass(frozen=True, slots=True)
class Resume:
    node: int


@dataclass(frozen=True, slots=True)
class Remember:
    """A snapshot of the machine: its memory and its disk."""

    node: int


@dataclass(frozen=True, slots=True)
class SetBack:
    """The machine goes on from its snapshot, if that is of the same life. Not even its process
    knows."""

    node: int


@dataclass(frozen=True, slots=True)
class Cut:
    """These directed ways carry nothing more."""

    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Sever:
    """A cut that never mends."""

    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Mend:
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class SetClock:
    """The wall clock jumps to this skew."""

    node: int
    offset_ms: float


@dataclass(frozen=True, slots=True)
class Glitch:
    """The wall clocks of these are that far off, beside their skew, until they are set right: 0."""

    nodes: tuple[int, ...]
    by_ms: float


@dataclass(frozen=True, slots=True)
class Blow:
    """The network gets this loss for a while."""

    loss: float


@dataclass(frozen=True, slots=True)
class Garbage:
    """A packet of noise: `kind` says which."""

    node: int
    kind: int


@dataclass(frozen=True, slots=True)
class Lie:
    """A false message to this node (liar.py): of a member, or of a stranger."""

    node: int
    member: bool


Fault = (
    Crash
    | Die
    | Restart
    | Leave
    | Pause
    | Resume
    | Remember
    | SetBack
    | Cut
    | Sever
    | Mend
    | SetClock
    | Glitch
    | Blow
    | Garbage
    | Lie
)
Timed = tuple[float, Fault]


def swarm(rng: Random) -> Intensity:
    """The intensity of one seed of a swarm: each kind with probability one half, its intensity
    spread over two orders.

    One in ten has clocks so far apart that entries are refused until the slow clocks have caught up
    (`clock_drift_max_s`).
    """

    def perhaps(low: float, high: float, chance: float = 0.5) -> float:
        return low * (high / low) ** rng.random() if rng.random() < chance else 0.0

    return Intensity(
        loss=perhaps(0.003, 0.3),
        duplicate=perhaps(0.003, 0.3),
        tail_s=perhaps(0.02, 1.0) or 0.02,
        crash_rate=perhaps(0.002, 0.05),
        leave_rate=perhaps(0.002, 0.02, 0.2),
        move_share=perhaps(0.1, 1.0),
        rename_share=perhaps(0.05, 0.5, 0.2),
        vanish_share=perhaps(0.05, 0.5, 0.2),
        partition_rate=perhaps(0.02, 0.5),
        pause_rate=perhaps(0.002, 0.05),
        storm_rate=perhaps(0.02, 0.2, 0.3),
        garbage_rate=perhaps(0.1, 5.0, 0.3),
        resolve_loss=perhaps(0.05, 0.9, 0.2),
        jump_rate=perhaps(0.005, 0.1, 0.3),
        clock_skew_ms=perhaps(1.0, 4000.0) if rng.random() < 0.9 else 20_000.0,
        clock_drift=perhaps(0.00001, 0.01),
    )
