"""Lag: how long the writes of other nodes take to arrive here, by the datacenter of their writers.

    lag = what the clock of the writer's node shows now - the time in the record

The clock of that node is what it has shown to probes of this one (clock_guard.py), so the lag is
true however far clocks are apart, up to half a round trip of the probe.

A writer in another datacenter that is no gateway answers no probe of this node. A gateway there has
probed it, one here has probed that gateway, and this node the one here: so three distances add up,
and so do their errors. They are asked for when something arrives that needs them (AskClocks): of a
gateway of the own datacenter, or, by a gateway, of one in each other datacenter; at most every
ASK_S, and again when what is known is older than FAR_S. Where nobody writes, nobody asks.

What is measured
- An arrival: a record of another node that is news here, by a rumor or an exchange. Not what a
  client writes here, nor what is imported here.
- Of a node that is settled. What a life catches up with after its start has waited for that life,
  not for the network.
- By a time that the clock of the writer's node has shown. A hybrid clock that was led by others
  counts on instead of the time: so only a record whose counter is 0 says when it was written.
- At most one each SAMPLE_S, the first one, as each costs more than a tenth of its merge.

What arrived and says nothing of lag is counted by reason
- writer     no member of this node's pools has this site, nor has a gateway said whose it is yet:
             it is of an earlier life, or gateways are of releases before
- clock      that member has not answered a probe yet; or its clock was set since, or this machine
             has slept, as the record is of later than it can be there
- old        it is older than OLD_S: as a record of a backup is, with the time that it has there, or
             one from behind a long cut
- expired    it has expired on the way
- place      there is no room for one more datacenter
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from kvgossip.protocol.model.entry import HEAD_BYTES, expires_in, timestamp_in
from kvgossip.protocol.model.histogram import Histogram, quantile
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.member import Count, Member, Name
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now

Way = Literal["rumor", "exchange"]
WAYS: tuple[Way, ...] = ("rumor", "exchange")
SAMPLE_S = 0.01
OLD_S = 600.0
LATELY_S = 300.0
DATACENTERS_MAX = 64
ASK_S, FAR_S = 15.0, 300.0
FAR_MAX = 512
"""So many writers of other datacenters are known, and told of in an answer."""
_Distance = Annotated[float, Meta(ge=-(2.0**60), le=2.0**60)]
BOUNDS_S = tuple(
    round(step * 10.0**power, 4) for power in range(-3, 3) for step in (1.0, 1.6, 2.5, 4.0, 6.3)
)
"""Five a decade, from a millisecond to 630 s."""


class Clocks(Protocol):
    """The clocks of members, as the guard of the own one knows them (clock_guard.py)."""

    def shown_by(self, peer: str, now: Now) -> tuple[float, float] | None: ...

    def expiry_ms(self, now: Now) -> int: ...


class Figures(NamedTuple):
    """Of what has arrived lately: how many arrivals were measured, and the lag that half of them,
    and 99 of 100, do not exceed, seconds; None where there was none."""

    measured: int
    p50_s: float | None
    p99_s: float | None


class FarClock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A member of another datacenter, its life, and between which distances, ms, its wall clock is
    ahead of that of the one who says so."""

    name: Name
    datacenter: Name
    site: Count
    low_ms: _Distance
    high_ms: _Distance


class Writer:
    """A member that writes, and the lag of what it wrote: of this span of LATELY_S, by its number,
    and of the one before."""

    __slots__ = ("_before", "_span", "_times", "datacenter", "name")

    def __init__(self, name: str, datacenter: str) -> None:
        self.name, self.datacenter = name, datacenter
        self._span = -1
        self._times = self._before = Histogram(BOUNDS_S)

    def observe(self, lag_s: float, now: Now) -> None:
        span = int(now.monotonic_s // LATELY_S)
        if span != self._span:
            self._before = self._times if span == self._span + 1 else Histogram(BOUNDS_S)
            self._times, self._span = Histogram(BOUNDS_S), span
        self._times.observe(lag_s)

    def lately(self, now: Now) -> list[Histogram]:
        """Those of the last LATELY_S to 2 * LATELY_S."""
        past = int(now.monotonic_s // LATELY_S) - self._span
        return [self._times, self._before][: max(2 - past, 0)]


class Far(NamedTuple):
    """A writer of another datacenter. `via`: the member that said so, at `heard_s`, monotonic
    seconds; `clock` is beside that of this member."""

    writer: Writer
    via: str
    clock: FarClock
    heard_s: float


class Lag:
    """`datacenter`: this node's own. `counters`: the replica's, by name. `ask()` asks gateways for
    the clocks of other datacenters."""

    __slots__ = (
        "_ask",
        "_asked_s",
        "_clocks",
        "_counters",
        "_datacenter",
        "_far",
        "_writers",
        "histograms",
    )

    def __init__(
        self,
        datacenter: str,
        clocks: Clocks,
        counters: Counter[str],
        ask: Callable[[], None],
    ) -> None:
        self._datacenter, self._clocks, self._counters = datacenter, clocks, counters
        self._ask, self._asked_s = ask, -math.inf
        #: those whom a gateway has probed, by site
        self._far: Newest[bytes, Far] = Newest(FAR_MAX)
        #: by site, as records have it
        self._writers: dict[bytes, Writer] = {}
        #: since the start, by datacenter of the writer and the way; the own one is there before
        #: it counts: who watches a rate would miss the first arrivals else
        self.histograms: dict[tuple[str, Way], Histogram] = {}
        self._open(datacenter)

    # -- inputs -----------------------------------------------------------------------------------

    def changed(self, old: Member | None, new: Member | None) -> None:
        """Another member of some pool of this node has come, has begun a new life, or is
        forgotten."""
        if old is not None and (new is None or new.site != old.site):
            self._writers.pop(_encoded(old.site), None)
        if new is not None and _encoded(new.site) not in self._writers:
            self._writers[_encoded(new.site)] = Writer(new.name, new.datacenter)

    def arrived(self, record: bytes, now: Now, *, by_exchange: bool) -> None:
        """This record is news, and its time is what its writer's clock has shown."""
        site = record[9:HEAD_BYTES]
        writer, far = self._writers.get(site), None
        if writer is None:
            far = self._far.get(site)
            if far is None or now.monotonic_s - far.heard_s >= FAR_S:
                self._ask_again(now)
            if far is None:
                self._counters["lag_unmeasured.writer"] += 1
                return
            writer = far.writer
        written_ms = milliseconds_of(timestamp_in(record))
        shown_ms = self._clocks.shown_by(writer.name, now) if far is None else self._of(far, now)
        # a clock shows whole milliseconds
        if shown_ms is None or written_ms > shown_ms[1] + 1:
            self._counters["lag_unmeasured.clock"] += 1
            return
        lag_s = (sum(shown_ms) / 2 - written_ms) / 1000
        if lag_s > OLD_S:
            self._counters["lag_unmeasured.old"] += 1
            return
        expires_ms = expires_in(record)
        if expires_ms is not None and expires_ms <= self._clocks.expiry_ms(now):
            self._counters["lag_unmeasured.expired"] += 1
            return
        way: Way = "exchange" if by_exchange else "rumor"
        if (writer.datacenter, way) not in self.histograms:
            if len(self.histograms) >= len(WAYS) * DATACENTERS_MAX:
                self._counters["lag_unmeasured.place"] += 1
                return
            self._open(writer.datacenter)
        lag_s = max(lag_s, 0.0)
        self.histograms[writer.datacenter, way].observe(lag_s)
        writer.observe(lag_s, now)

    # -- the clocks of other datacenters ----------------------------------------------------------

    def _ask_again(self, now: Now) -> None:
        if now.monotonic_s - self._asked_s >= ASK_S:
            self._asked_s = now.monotonic_s
            self._ask()

    def heard(self, via: str, clocks: Iterable[FarClock], now: Now) -> None:
        """This gateway, whose clock probes have shown, says so of others."""
        for clock in clocks:
            site = _encoded(clock.site)
            if site in self._writers or clock.datacenter == self._datacenter:
                continue
            known = self._far.pop(site, None)
            writer = known.writer if known is not None else Writer(clock.name, clock.datacenter)
            self._far[site] = Far(writer, via, clock, now.monotonic_s)

    def clocks_of(self, members: Iterable[Member], now: Now) -> list[FarClock]:
        """The clocks of these members, as far as they have shown them, beside the own wall
        clock."""
        found = ((member, self._clocks.shown_by(member.name, now)) for member in members)
        return [
            _beside(member, shown_ms, now) for member, shown_ms in found if shown_ms is not None
        ]

    def far_clocks(self, now: Now) -> list[FarClock]:
        """Those of which other gateways have said so to this one, beside its own wall clock."""
        found = ((far.clock, self._of(far, now)) for far in self._far.values())
        return [_beside(clock, shown_ms, now) for clock, shown_ms in found if shown_ms is not None]

    def _of(self, far: Far, now: Now) -> tuple[float, float] | None:
        """Between which times this clock is now, as ClockGuard.shown_by."""
        via_ms = self._clocks.shown_by(far.via, now)
        if via_ms is None:
            return None
        return via_ms[0] + far.clock.low_ms, via_ms[1] + far.clock.high_ms

    def _open(self, datacenter: str) -> None:
        for way in WAYS:
            self.histograms[datacenter, way] = Histogram(BOUNDS_S)

    # -- questions --------------------------------------------------------------------------------

    def counts(self) -> list[int]:
        """How many arrivals since the start had a lag within each of BOUNDS_S, but not within the
        one before; at last those beyond."""
        return _added_up(self.histograms.values())

    def of_writer(self, member: Member, now: Now) -> Figures:
        """Of what this member has written."""
        writer = self._writers.get(_encoded(member.site))
        return _figures([] if writer is None else writer.lately(now))

    def by_datacenter(self, now: Now) -> dict[str, Figures]:
        """Of what was written in this datacenter, and in each from which something has ever
        arrived."""
        lately: dict[str, list[Histogram]] = {place: [] for place, _ in sorted(self.histograms)}
        for writer in [*self._writers.values(), *(far.writer for far in self._far.values())]:
            if writer.datacenter in lately:
                lately[writer.datacenter] += writer.lately(now)
        return {place: _figures(histograms) for place, histograms in lately.items()}


def _added_up(histograms: Iterable[Histogram]) -> list[int]:
    """How many there are in each bucket of all."""
    counts = [0] * (len(BOUNDS_S) + 1)
    for histogram in histograms:
        for place, count in enumerate(histogram.counts):
            counts[place] += count
    return counts


def _figures(histograms: Iterable[Histogram]) -> Figures:
    counts = _added_up(histograms)
    return Figures(sum(counts), quantile(BOUNDS_S, counts, 0.5), quantile(BOUNDS_S, counts, 0.99))


def _encoded(site: int) -> bytes:
    return site.to_bytes(8, "big")


def _beside(of: Member | FarClock, shown_ms: tuple[float, float], now: Now) -> FarClock:
    """The clock that shows times between these, beside the own wall clock."""
    ahead_ms = (shown_ms[0] - now.wall_ms, shown_ms[1] - now.wall_ms)
    return FarClock(of.name, of.datacenter, of.site, *ahead_ms)
