"""Faults: a seed becomes a schedule of everything that goes wrong, bounded in time.

Swarm testing (Groce et al. 2012): each seed switches on a random subset of the kinds of faults,
each with a random intensity. A run in which everything fails at once hides the mistakes that need
one thing to fail and another to work.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, fields
from random import Random

from kvgossip.sim.layout import Layout
from kvgossip.sim.network import Weather

Way = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """How much goes wrong. Rates are events a second: of one node, but those of partitions, cuts
    and storms of the whole cluster.

    `loss` and `duplicate`: probabilities of one packet. `tail_s`: how much later a late packet is
    (one in twenty is late). `clock_skew_ms`: each wall clock is up to that far off, either way.
    `clock_drift`: each clock runs up to that share too fast or slow. `jump_rate`: clocks set anew.
    `leave_rate`: nodes that leave and come back. `garbage_rate`: packets of noise. `resolve_loss`:
    look-ups of join addresses that fail. `move_share`: restarts with a new address; `rename_share`:
    with a new name, perhaps at the old address; `vanish_share`: crashes without a restart.
    `absence_share`: crashes after which the host stays away for `absence_s` instead of seconds.
    `wipe_share`: crashes that take the disk, too. `cut_rate`: one link, both ways, is cut for a
    while. `datacenter_rate`: a whole datacenter is cut off from the others for a while, or loses
    all its gateways at once. Permanent is what outlasts the faults: `permanent_crash_rate` takes
    nodes from the network for good, but at least two stay; `permanent_cut_rate` cuts links for
    good, but those that stay are connected, if not directly.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    tail_s: float = 0.02
    crash_rate: float = 0.0
    leave_rate: float = 0.0
    move_share: float = 0.0
    rename_share: float = 0.0
    vanish_share: float = 0.0
    absence_share: float = 0.0
    absence_s: float = 60.0
    wipe_share: float = 0.0
    partition_rate: float = 0.0
    pause_rate: float = 0.0
    storm_rate: float = 0.0
    garbage_rate: float = 0.0
    resolve_loss: float = 0.0
    jump_rate: float = 0.0
    clock_skew_ms: float = 0.0
    clock_drift: float = 0.0
    cut_rate: float = 0.0
    datacenter_rate: float = 0.0
    permanent_crash_rate: float = 0.0
    permanent_cut_rate: float = 0.0

    @property
    def weather(self) -> Weather:
        return Weather(
            loss=self.loss,
            duplicate=self.duplicate,
            tail=0.05 if self.tail_s > 0.02 else 0.005,
            tail_s=self.tail_s,
        )

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong at all, clocks aside."""
        harmless = ("tail_s", "absence_s", "clock_skew_ms", "clock_drift")
        return not any(
            getattr(self, field.name) for field in fields(self) if field.name not in harmless
        )


@dataclass(frozen=True, slots=True)
class Crash:
    """All memory is lost. `vanishes`: it never starts again, if the others can do without it.
    `wipes`: the disk is lost, too."""

    node: int
    vanishes: bool = False
    wipes: bool = False


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
class Blow:
    """The network gets this loss for a while."""

    loss: float


@dataclass(frozen=True, slots=True)
class Garbage:
    """A packet of noise: `kind` says which."""

    node: int
    kind: int


Fault = (
    Crash | Die | Restart | Leave | Pause | Resume | Cut | Sever | Mend | SetClock | Blow | Garbage
)
Timed = tuple[float, Fault]


def swarm(rng: Random) -> Intensity:
    """What one seed of a swarm makes go wrong: each kind with probability one half, its intensity
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


def schedule(
    intensity: Intensity, nodes: int, duration_s: float, rng: Random, layout: Layout | None = None
) -> list[Timed]:
    """All faults within the duration, by time. What is undone late (a restart, a mending) may lie
    beyond it.

    The end undoes everything but what is permanent.
    """
    found: list[Timed] = []
    for kind in (
        _crashes,
        _departures,
        _partitions,
        _pauses,
        _storms,
        _garbage,
        _jumps,
        _cuts,
        _permanent,
    ):
        found.extend(kind(intensity, nodes, duration_s, rng))
    if layout is not None and layout.datacenters > 1:
        found.extend(_datacenters(intensity, layout, duration_s, rng))
    return sorted(found, key=lambda timed: timed[0])


def _moments(rate: float, duration_s: float, rng: Random) -> Iterator[float]:
    """A Poisson process."""
    at_s = rng.expovariate(rate) if rate > 0 else duration_s
    while at_s < duration_s:
        yield at_s
        at_s += rng.expovariate(rate)


def _crashes(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.crash_rate * nodes, duration_s, rng):
        # Now and then many at once, even all: the power of a rack.
        share = rng.random() if rng.random() < 0.1 else 0.0
        for node in rng.sample(range(nodes), max(1, round(share * nodes))):
            vanishes = rng.random() < intensity.vanish_share
            yield (
                at_s,
                Crash(
                    node,
                    vanishes,
                    wipes=intensity.wipe_share > 0 and rng.random() < intensity.wipe_share,
                ),
            )
            away = intensity.absence_share > 0 and rng.random() < intensity.absence_share
            yield (
                at_s + (intensity.absence_s if away else _down_s(rng)),
                _restart(node, intensity, rng),
            )


def _restart(node: int, intensity: Intensity, rng: Random) -> Restart:
    return Restart(
        node,
        moved=rng.random() < intensity.move_share,
        renamed=rng.random() < intensity.rename_share,
    )


def _down_s(rng: Random) -> float:
    return min(0.05 + rng.expovariate(0.25), 20.0)


def _departures(
    intensity: Intensity, nodes: int, duration_s: float, rng: Random
) -> Iterator[Timed]:
    for at_s in _moments(intensity.leave_rate * nodes, duration_s, rng):
        node = rng.randrange(nodes)
        yield at_s, Leave(node)
        yield at_s + 1.0 + _down_s(rng), _restart(node, intensity, rng)


def _partitions(
    intensity: Intensity, nodes: int, duration_s: float, rng: Random
) -> Iterator[Timed]:
    for at_s in _moments(intensity.partition_rate, duration_s, rng):
        ways = rng.choice(_SHAPES)(nodes, rng)
        yield at_s, Cut(ways)
        yield at_s + min(0.1 + rng.expovariate(0.15), 30.0), Mend(ways)


def _split(nodes: int, rng: Random) -> tuple[Way, ...]:
    """Two sides that do not hear each other."""
    left = rng.sample(range(nodes), rng.randint(1, max(1, nodes // 2)))
    return tuple((a, b) for a in range(nodes) for b in range(nodes) if (a in left) != (b in left))


def _half_split(nodes: int, rng: Random) -> tuple[Way, ...]:
    """Two sides, one of which is deaf to the other."""
    left = rng.sample(range(nodes), rng.randint(1, max(1, nodes // 2)))
    return tuple((a, b) for a in left for b in range(nodes) if b not in left)


def _isolated(nodes: int, rng: Random) -> tuple[Way, ...]:
    """One node alone."""
    alone = rng.randrange(nodes)
    return tuple(
        way for other in range(nodes) if other != alone for way in ((alone, other), (other, alone))
    )


def _bridged(nodes: int, rng: Random) -> tuple[Way, ...]:
    """Two sides, and one node that both sides hear."""
    bridge = rng.randrange(nodes)
    return tuple(way for way in _split(nodes, rng) if bridge not in way)


def _one_link(nodes: int, rng: Random) -> tuple[Way, ...]:
    """One pair, perhaps one way only."""
    a, b = rng.sample(range(nodes), 2) if nodes > 1 else (0, 0)
    return ((a, b),) if rng.random() < 0.5 else ((a, b), (b, a))


_SHAPES: tuple[Callable[[int, Random], tuple[Way, ...]], ...] = (
    _split,
    _half_split,
    _isolated,
    _bridged,
    _one_link,
)


def _pauses(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.pause_rate * nodes, duration_s, rng):
        node = rng.randrange(nodes)
        yield at_s, Pause(node)
        yield at_s + min(0.05 + rng.expovariate(0.3), 20.0), Resume(node)


def _storms(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.storm_rate, duration_s, rng):
        yield at_s, Blow(0.3 + 0.7 * rng.random())
        yield at_s + 0.1 + rng.expovariate(0.5), Blow(intensity.loss)


def _garbage(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.garbage_rate, duration_s, rng):
        yield at_s, Garbage(rng.randrange(nodes), rng.randrange(4))


def _jumps(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.jump_rate * nodes, duration_s, rng):
        yield at_s, SetClock(rng.randrange(nodes), skew_ms(intensity, rng))


def _cuts(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.cut_rate if nodes > 1 else 0.0, duration_s, rng):
        ways = _both_ways(rng.sample(range(nodes), 2))
        yield at_s, Cut(ways)
        yield at_s + min(0.1 + rng.expovariate(0.15), 30.0), Mend(ways)


def _datacenters(
    intensity: Intensity, layout: Layout, duration_s: float, rng: Random
) -> Iterator[Timed]:
    for at_s in _moments(intensity.datacenter_rate, duration_s, rng):
        struck = rng.randrange(layout.datacenters)
        if rng.random() < 0.6:
            ways = _cut_off(layout, struck, rng)
            yield at_s, Cut(ways)
            yield at_s + min(0.1 + rng.expovariate(0.1), 40.0), Mend(ways)
        else:
            for node in layout.gateways_of(struck):
                yield at_s, Crash(node)
                yield at_s + _down_s(rng), _restart(node, intensity, rng)


def _cut_off(layout: Layout, struck: int, rng: Random) -> tuple[Way, ...]:
    """All ways between a datacenter and the others; one time in four only those in one
    direction."""
    inside = layout.nodes_of(struck)
    out = [(a, b) for a in inside for b in range(layout.nodes) if layout.datacenter_of(b) != struck]
    back = [(b, a) for a, b in out]
    return tuple(rng.choice((out, back)) if rng.random() < 0.25 else out + back)


def _permanent(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    """Deaths first: what is cut must leave connected those that will still be there at the end."""
    staying = list(range(nodes))
    for at_s in _moments(intensity.permanent_crash_rate * nodes, duration_s, rng):
        node = rng.randrange(nodes)
        if node in staying and len(staying) > 2:
            staying.remove(node)
            yield at_s, Die(node)
    severed: dict[Way, None] = {}
    for at_s in _moments(intensity.permanent_cut_rate if nodes > 1 else 0.0, duration_s, rng):
        ways = _both_ways(rng.sample(range(nodes), 2))
        tried = severed | dict.fromkeys(ways)
        if (
            ways[0] not in severed
            and _connected(staying, tried)
            and _connected(range(nodes), tried)
        ):
            severed = tried
            yield at_s, Sever(ways)


def _both_ways(pair: Sequence[int]) -> tuple[Way, ...]:
    a, b = pair
    return (a, b), (b, a)


def _connected(nodes: Sequence[int], severed: Container[Way]) -> bool:
    """Whether each of the nodes has a path to each other one, over any number of hops."""
    reached, lacking = [nodes[0]], list(nodes[1:])
    for node in reached:
        near = [other for other in lacking if (node, other) not in severed]
        lacking = [other for other in lacking if (node, other) in severed]
        reached += near
    return not lacking


def skew_ms(intensity: Intensity, rng: Random) -> float:
    """One clock's skew."""
    return rng.uniform(-intensity.clock_skew_ms, intensity.clock_skew_ms)
