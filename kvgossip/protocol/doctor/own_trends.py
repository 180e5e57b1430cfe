"""OwnTrends: the numbers of this node itself, against what is usual for it and against their
limits: changes and forecasts, in words, for the doctors of all members.

    shell --Sample, each STEP_S--> baselines  has one risen?    what, since when, what it costs
                               --> courses    does one lead to its limit?   up to three days ahead

Laws
- What has risen is a finding; what has fallen is none, for nobody has to do anything.
- Nothing is judged while the node is not calm: it has not settled, or has not for long. A start is
  not as usual.
- Nothing here changes how the node works: it says, and an operator decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kvgossip.protocol.doctor.finding import listed
from kvgossip.protocol.doctor.trend import Trend, before, clock, day, span
from kvgossip.trends.baseline import STATE_BYTES, Baseline
from kvgossip.trends.course import Course, Forecast

STEP_S = 5.0
AHEAD_S = 3 * 86_400.0
"""A forecast is a finding from so long ahead on."""
LINES_S = 60.0
"""Lines are drawn no more often: one takes milliseconds."""
CLOCK_SPAN_S, CLOCK_FACTOR = 640.0, 500.0
"""A clock drifts as evenly as nothing else: ten minutes of it say where it is in three days. And
the hours before, in which it did not, say nothing."""
CLOCK_MOVED_S = 0.02
MEMORY_MIN = 16 * 2**20
ENTRY_BYTES = 512
"""About what an entry takes beside its record: a node that has more of them has not leaked."""
ARRIVALS_MIN = 10
WAITING_MIN = 1000
WAITS_S = 600.0

FLOORS = {"loop": 0.2, "commit": 0.2, "residue": 0.05, "memory": 0.03, "waiting": 0.5}
"""The numbers that have a baseline, with the least deviation that matters: of logarithms, but for
the residue, which is a share."""


class Sample(NamedTuple):
    """The numbers of a moment; None where one is not known.

    `calm`: the node has settled, and not just now. `loop_s`: how late the event loop calls back,
    `commit_s`: how long a commit takes, both on average since the last sample. `arrived`: entries
    that came since, `repaired`: those of them that exchanges brought. `memory_bytes`: of the
    process, `memory_max`: how many it may have. `data_bytes`, `entries`: of the store. `waiting`:
    tombstones; `waits_for`: members by name, and when each is forgotten, ms since 1970, None for
    one that is alive. `disk_free`: bytes, of the data directory. `clock_ahead_s`: of the peers'
    median, negative: behind; `clock_max_s`: how far it may be. `crowd`: when, ms since 1970, and
    how many entries expire within a minute, where those are most of all.
    """

    monotonic_s: float
    wall_ms: int
    calm: bool
    loop_s: float | None = None
    commit_s: float | None = None
    arrived: int = 0
    repaired: int = 0
    memory_bytes: float | None = None
    memory_max: float | None = None
    data_bytes: int = 0
    entries: int = 0
    waiting: int = 0
    waits_for: Mapping[str, int | None] = {}
    disk_free: int | None = None
    clock_ahead_s: float | None = None
    clock_max_s: float = math.inf
    crowd: tuple[int, int] | None = None


class OwnTrends:
    """Of one node."""

    def __init__(self) -> None:
        self.baselines = {name: Baseline(floor) for name, floor in FLOORS.items()}
        #: what the disk has left, and how far the clock is ahead, both negative, so that they rise
        #: to a limit; the memory, and how far the clock is ahead
        self._disk, self._memory = Course(), Course()
        self._ahead, self._behind = Course(CLOCK_SPAN_S), Course(CLOCK_SPAN_S)
        #: the forecasts by the lines that were drawn last, and when that was, monotonic seconds
        self._lines: list[Trend] = []
        self._lines_s = -math.inf
        #: the last sample, and when each baseline had its last number, monotonic seconds
        self._last: Sample | None = None
        self._taken_s: dict[str, float] = {}
        #: since when tombstones wait for somebody, monotonic seconds; None: they do not
        self._waits_since_s: float | None = None

    # -- numbers come -----------------------------------------------------------------------------

    def look(self, sample: Sample) -> None:
        self._last, now_s = sample, sample.monotonic_s
        if sample.disk_free is not None:
            self._disk.add(now_s, -float(sample.disk_free))
        if sample.memory_bytes is not None:
            self._memory.add(now_s, sample.memory_bytes)
        if sample.clock_ahead_s is not None:
            self._ahead.add(now_s, sample.clock_ahead_s)
            self._behind.add(now_s, -sample.clock_ahead_s)
        if not 0 <= now_s - self._lines_s < LINES_S:
            self._lines, self._lines_s = list(self._drawn(sample)), now_s
        waits = sample.waits_for and sample.waiting >= WAITING_MIN
        if not waits:
            self._waits_since_s = None
        elif self._waits_since_s is None:
            self._waits_since_s = now_s
        if sample.calm:
            for name, number in _numbers(sample):
                before_s = self._taken_s.get(name, now_s)
                self._taken_s[name] = now_s
                self.baselines[name].add(number, now_s - before_s)

    # -- what is found ----------------------------------------------------------------------------

    def found(self) -> list[Trend]:
        """The changes, then the forecasts; empty: all is as usual, and leads nowhere."""
        sample = self._last
        if sample is None:
            return []
        return [*self._changes(sample), *self._lines, *self._known(sample)]

    def _changes(self, sample: Sample) -> Iterator[Trend]:
        for name, baseline in self.baselines.items():
            # tombstones that nobody keeps back are many, and are gone soon
            if baseline.has_risen and (name != "waiting" or sample.waits_for):
                since_s = baseline.since_s
                code, text = _CHANGES[name]
                usual = _USUAL[name](baseline.middle)
                line = text.format(usual=usual, since=clock(sample.wall_ms, since_s))
                bound_s = baseline.numbers_until(10 * baseline.deviation) * STEP_S
                yield Trend(
                    code,
                    line,
                    since_ms=before(sample.wall_ms, since_s),
                    bound_s=bound_s if math.isfinite(bound_s) else None,
                )

    def _drawn(self, sample: Sample) -> Iterator[Trend]:
        """The forecasts that are lines through what was seen."""
        if (disk := _near(self._disk.reaches(0.0))) is not None:
            text = (
                f"its disk is full in {_when(disk)}, if it goes on as now: then writes are refused "
                "(507). Make room, delete what is not needed, or give it a larger disk"
            )
            yield Trend("disk_fills", text, in_s=disk.in_s)
        if sample.memory_max:
            memory = _near(self._memory.reaches(sample.memory_max))
            if memory is not None:
                text = (
                    f"its memory is at its limit in {_when(memory)}, if it goes on as now: then "
                    "the system ends it. Bound the data by store_bytes_max, give it more memory, "
                    "or restart it where it is no data"
                )
                yield Trend("memory_fills", text, in_s=memory.in_s)
        yield from self._clock(sample)

    def _known(self, sample: Sample) -> Iterator[Trend]:
        """The forecasts that are no guesses."""
        yield from self._backlog(sample)
        if sample.crowd is not None:
            at_ms, count = sample.crowd
            text = (
                f"about {count} entries expire within a minute, {day(at_ms)}: all nodes are busy "
                "with them then, and all who need them come at once. Give them a ttl that differs"
            )
            yield Trend("expiry_crowd", text, in_s=(at_ms - sample.wall_ms) / 1000)

    def _clock(self, sample: Sample) -> Iterator[Trend]:
        for course, way, then in (
            (self._ahead, "ahead of", "it refuses writes"),
            (self._behind, "behind", "it is not ready, and refuses what others write,"),
        ):
            drift = _near(course.reaches(sample.clock_max_s, CLOCK_FACTOR))
            if drift is not None and drift.slope * course.span_s >= CLOCK_MOVED_S:
                text = (
                    f"its clock goes {way} its peers' by {1e6 * drift.slope:.0f} ppm: {then} in "
                    f"{_when(drift)}. Set it right, by NTP for example"
                )
                yield Trend("clock_drifts", text, in_s=drift.in_s)

    def _backlog(self, sample: Sample) -> Iterator[Trend]:
        since_s = self._waits_since_s
        if since_s is None or sample.monotonic_s - since_s < WAITS_S:
            return
        names = list(sample.waits_for)
        ends_ms = [at_ms for at_ms in sample.waits_for.values() if at_ms is not None]
        back = f"when {listed(names)} {'is' if len(names) == 1 else 'are'} back"
        if len(ends_ms) < len(names):
            back = f"when {listed(names)} has exchanged with all"
        until = f", or on {day(max(ends_ms))}" if len(ends_ms) == len(names) else ""
        text = (
            f"{sample.waiting} tombstones wait: they are collected {back}{until}. If it will not "
            "come back, `kvgossip force-leave` it"
        )
        passed_s = sample.monotonic_s - since_s
        yield Trend("tombstones_wait", text, since_ms=before(sample.wall_ms, passed_s))

    # -- kept -------------------------------------------------------------------------------------

    def kept(self) -> dict[str, bytes]:
        """What the next life may go on from."""
        return {name: baseline.packed() for name, baseline in self.baselines.items()}

    def take(self, kept: Mapping[str, bytes]) -> None:
        for name, data in kept.items():
            if name in self.baselines and len(data) == STATE_BYTES:
                self.baselines[name].unpack(data)


def _numbers(sample: Sample) -> Iterator[tuple[str, float]]:
    """By baseline, what of this sample is judged: logarithms, so that twice as much is the same
    change anywhere, with a little added below which all is the same."""
    if sample.loop_s is not None:
        yield "loop", math.log(LOOP_EVEN_S + max(sample.loop_s, 0.0))
    if sample.commit_s is not None:
        yield "commit", math.log(COMMIT_EVEN_S + max(sample.commit_s, 0.0))
    if sample.arrived >= ARRIVALS_MIN:
        yield "residue", sample.repaired / sample.arrived
    if sample.memory_bytes is not None:
        data = sample.data_bytes + ENTRY_BYTES * sample.entries
        yield "memory", math.log(max(sample.memory_bytes - data, MEMORY_MIN))
    yield "waiting", math.log1p(sample.waiting)


LOOP_EVEN_S, COMMIT_EVEN_S = 0.002, 0.002

_CHANGES = {
    "loop": (
        "loop_slow",
        "its event loop is later than usual ({usual}) since {since}: each request, probe and rumor "
        "waits as long. Look what else its processor does, and whom it serves",
    ),
    "commit": (
        "commit_slow",
        "its disk takes longer than usual ({usual}) for a commit since {since}: each durable write "
        "waits as long. Look at that disk, and at who else writes to it",
    ),
    "residue": (
        "residue_high",
        "more of what it hears comes by exchanges than usual ({usual}) since {since}, seconds "
        "later than by rumors: rumors are lost on their way to it. Look for packets that are too "
        "long for the network (MTU), and at its losses",
    ),
    "memory": (
        "memory_grows",
        "it takes more memory beside its data than usual ({usual}) since {since}: where that goes "
        "on, the system ends it. Look at its watchers and links (/metrics), and restart it before "
        "its limit",
    ),
    "waiting": (
        "tombstones_grow",
        "more tombstones than usual ({usual}) wait to be collected since {since}: they take memory "
        "and disk until all members hold them. `kvgossip status` says for whom they wait",
    ),
}
_USUAL = {
    "loop": lambda middle: f"{max(0.0, 1000 * (math.exp(middle) - LOOP_EVEN_S)):.1f} ms",
    "commit": lambda middle: f"{max(0.0, 1000 * (math.exp(middle) - COMMIT_EVEN_S)):.1f} ms",
    "residue": lambda middle: f"{max(0.0, middle):.0%}",
    "memory": lambda middle: f"{math.exp(middle) / 2**20:.0f} MiB",
    "waiting": lambda middle: f"{math.expm1(middle):.0f}",
}
"""In the unit of an operator, from that of the baseline."""


def _near(forecast: Forecast | None) -> Forecast | None:
    return forecast if forecast is not None and forecast.in_s <= AHEAD_S else None


def _when(forecast: Forecast) -> str:
    """With the ends of the interval."""
    if not math.isfinite(forecast.latest_s):
        return span(forecast.in_s)
    between = f"between {span(forecast.earliest_s)} and {span(forecast.latest_s)}"
    return f"{span(forecast.in_s)} ({between})"
