"""The schedule of a run: which faults strike when. It follows from the intensity and a random
generator, and is bounded in time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from random import Random

from kvgossip.sim.faults import (
    GLITCH_MS_MAX,
    GLITCH_MS_MIN,
    Blow,
    Crash,
    Cut,
    Die,
    Garbage,
    Glitch,
    Intensity,
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
    Timed,
    Way,
)
from kvgossip.sim.layout import Layout


def schedule(
    intensity: Intensity, nodes: int, duration_s: float, rng: Random, layout: Layout | None = None
) -> list[Timed]:
    """All faults within the duration, by time. The undoing of one (a restart, a mending) may lie
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
        _glitches,
        _cuts,
        _permanent,
    ):
        found.extend(kind(intensity, nodes, duration_s, rng))
    if layout is not None and layout.datacenters > 1:
        found.extend(_datacenters(intensity, layout, duration_s, rng))
    found.extend(_set_backs(intensity, nodes, duration_s, rng))
    found.extend(_lies(intensity, nodes, duration_s, rng))
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
                    holes=intensity.hole_share > 0 and rng.random() < intensity.hole_share,
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


def _set_backs(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for at_s in _moments(intensity.set_back_rate * nodes, duration_s, rng):
        node = rng.randrange(nodes)
        yield at_s, Remember(node)
        yield at_s + min(0.1 + rng.expovariate(0.3), 10.0), SetBack(node)


def _lies(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    for member, rate in ((False, intensity.stranger_rate), (True, intensity.hostile_rate)):
        for at_s in _moments(rate, duration_s, rng):
            yield at_s, Lie(rng.randrange(nodes), member)


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


def _glitches(intensity: Intensity, nodes: int, duration_s: float, rng: Random) -> Iterator[Timed]:
    """Now and then all at once: that of the machine on which all run."""
    for at_s in _moments(intensity.glitch_rate * nodes, duration_s, rng):
        struck = tuple(range(nodes)) if rng.random() < 0.2 else (rng.randrange(nodes),)
        by_ms = rng.choice((-1.0, 1.0)) * rng.uniform(GLITCH_MS_MIN, GLITCH_MS_MAX)
        yield at_s, Glitch(struck, by_ms)
        yield at_s + min(0.2 + rng.expovariate(0.2), 15.0), Glitch(struck, 0.0)


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
    """Deaths first: cuts must leave connected those that will still be there at the end."""
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
    """True if each of the nodes has a path to each other one, over any number of hops."""
    reached, lacking = [nodes[0]], list(nodes[1:])
    for node in reached:
        near = [other for other in lacking if (node, other) not in severed]
        lacking = [other for other in lacking if (node, other) in severed]
        reached += near
    return not lacking


def skew_ms(intensity: Intensity, rng: Random) -> float:
    """One clock's skew."""
    return rng.uniform(-intensity.clock_skew_ms, intensity.clock_skew_ms)
