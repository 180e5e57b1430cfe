"""Lag: how long the writes of other nodes take to arrive here, by the datacenter of their writers.

    lag = what the clock of the writer's node shows now - the time in the record

The clock of that node is what it has shown to probes of this one (clock_guard.py), so the lag is
true however far clocks are apart, up to half a round trip of the probe. No message says anything
for it.

What is measured
- An arrival: a record of another node that is news here, by a rumor or an exchange. Not what a
  client writes here, nor what is imported here.
- Of a node that is settled. What a life catches up with after its start has waited for that life,
  not for the network.
- By a time that the clock of the writer's node has shown. A hybrid clock that was led by others
  counts on instead of the time: so only a record whose counter is 0 says when it was written.
- At most one each SAMPLE_S, the first one, as each costs more than a tenth of its merge.

What arrived and says nothing of lag is counted by reason
- writer     no member of this node's pools has this site: it is of another datacenter and no
             gateway, or of an earlier life
- clock      that member has not answered a probe yet; or its clock was set since, or this machine
             has slept, as the record is of later than it can be there
- old        it is older than OLD_S: as a record of a backup is, with the time that it has there, or
             one from behind a long cut
- expired    it has expired on the way
- place      there is no room for one more datacenter
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from kvgossip.protocol.model.entry import HEAD_BYTES, expires_in, timestamp_in
from kvgossip.protocol.model.histogram import Histogram, quantile
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now

Way = Literal["rumor", "exchange"]
WAYS: tuple[Way, ...] = ("rumor", "exchange")
SAMPLE_S = 0.01
OLD_S = 600.0
LATELY_S = 300.0
DATACENTERS_MAX = 64
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


class Writer:
    """A member that writes, and the lag of what it wrote: of this span of LATELY_S, by its number,
    and of the one before."""

    __slots__ = ("_before", "_span", "_times", "datacenter", "name")

    def __init__(self, member: Member) -> None:
        self.name, self.datacenter = member.name, member.datacenter
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


class Lag:
    """`datacenter`: this node's own. `counters`: the replica's, by name."""

    __slots__ = ("_clocks", "_counters", "_writers", "histograms")

    def __init__(self, datacenter: str, clocks: Clocks, counters: Counter[str]) -> None:
        self._clocks, self._counters = clocks, counters
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
            self._writers[_encoded(new.site)] = Writer(new)

    def arrived(self, record: bytes, now: Now, *, by_exchange: bool) -> None:
        """This record is news, and its time is what its writer's clock has shown."""
        writer = self._writers.get(record[9:HEAD_BYTES])
        if writer is None:
            self._counters["lag_unmeasured.writer"] += 1
            return
        written_ms = milliseconds_of(timestamp_in(record))
        shown_ms = self._clocks.shown_by(writer.name, now)
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
        for writer in self._writers.values():
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
