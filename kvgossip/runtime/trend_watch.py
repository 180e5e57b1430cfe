"""TrendWatch: reads the clocks, the disk and the memory for the trends of a node and its links, and
keeps what is usual over restarts.

Each TICK_S it sees how late the event loop is, each STEP_S it takes a sample of what is counted
anyway, each KEEP_S it keeps the baselines: with the disk of the node, 64 bytes a link.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from kvgossip.config import Config
from kvgossip.protocol.doctor.own_trends import AHEAD_S, STEP_S, OwnTrends, Sample
from kvgossip.protocol.doctor.trend import Trend, of_links
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.now import Now
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.host import memory_max, resident_bytes

if TYPE_CHECKING:
    from kvgossip.runtime.disk.data_dir import DataDir

TICK_S = 1.0
KEEP_S = 600.0
CALM_S = 60.0
"""So long after it has settled a node is as it usually is."""
CROWD_LOOK_S = 600.0
OWN = b"trends/own"
LINKS = b"trends/links/"

log = logging.getLogger("kvgossip")
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class TrendWatch:
    """Of one life of a node. `disk`: None without a data directory; then the next life begins
    anew. `facts`: what an earlier life kept."""

    def __init__(
        self, config: Config, driver: Driver, disk: DataDir | None, facts: Mapping[bytes, bytes]
    ) -> None:
        self.own = OwnTrends()
        #: as of the last look: those of the node, then those of its links
        self.found: list[Trend] = []
        self._config, self._driver, self._replica, self._disk = (
            config,
            driver,
            driver.replica,
            disk,
        )
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        #: the lateness of the event loop since the last sample, seconds
        self._late_s: list[float] = []
        #: the times of the next sample, of the next keeping, of the next look for crowds, and since
        #: when the node has settled, monotonic seconds
        self._sample_s = self._keep_s = self._crowd_s = self._loop.time()
        self._keep_s += KEEP_S
        self._settled_s: float | None = None
        self._crowd: tuple[int, int] | None = None
        #: the counts of the last sample: commits and their seconds, arrivals by rumor and exchange
        self._before = self._counts()
        self._memory_max = memory_max()
        self.own.take(_kept(facts, OWN))
        for pool in self._replica.pools:
            pool.membership.round_trips.links.take(_kept(facts, LINKS + pool.kind.value.encode()))
        self._replica.readiness.add_notices(
            lambda: [(trend.code, trend.text) for trend in self.found]
        )

    # -- time -------------------------------------------------------------------------------------

    def start(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick, self._loop.time() + TICK_S)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._keep()

    def _tick(self, due_s: float) -> None:
        now_s = self._loop.time()
        self._late_s.append(max(0.0, now_s - due_s))
        self.start()
        if now_s >= self._sample_s:
            self._sample_s = now_s + STEP_S - TICK_S / 2
            try:
                self.look(self._driver.clocks())
            except Exception:
                # a mistake in what only looks on must not end the looking on
                log.exception("%s: a bug of kvgossip; the node goes on", self._config.name)
        if now_s >= self._keep_s:
            self._keep_s = now_s + KEEP_S
            self._keep()

    # -- samples ----------------------------------------------------------------------------------

    def look(self, now: Now) -> None:
        """Take a sample, and find what follows from it."""
        self.own.look(self._sample(now))
        found = self.own.found()
        for pool in self._replica.pools:
            found += of_links(pool.membership.round_trips.links.changed(), now.wall_ms)
        for trend in found:
            if trend.code not in {each.code for each in self.found}:
                log.warning("%s: %s", self._config.name, trend.text)
        self.found = found

    def _sample(self, now: Now) -> Sample:
        replica, late_s = self._replica, self._late_s
        counts, before = self._counts(), self._before
        self._before, self._late_s = counts, []
        commits, seconds, rumors, repaired = (
            new - old for new, old in zip(counts, before, strict=True)
        )
        return Sample(
            now.monotonic_s,
            now.wall_ms,
            calm=self._is_calm(now),
            loop_s=sum(late_s) / len(late_s) if late_s else None,
            commit_s=seconds / commits if commits > 0 else None,
            arrived=max(0, int(rumors + repaired)),
            repaired=max(0, int(repaired)),
            memory_bytes=resident_bytes(),
            memory_max=self._memory_max,
            data_bytes=replica.store.record_bytes,
            entries=len(replica.store),
            waiting=len(replica.tombstones.collecting),
            waits_for=self._waits_for(now),
            disk_free=self._disk.size.free_bytes if self._disk is not None else None,
            clock_ahead_s=replica.clock_guard.ahead_s(now),
            clock_max_s=self._config.clock_drift_max_s,
            crowd=self._crowd_of(now),
        )

    def _counts(self) -> tuple[float, float, float, float]:
        commits = self._driver.commits
        ways = {"rumor": 0, "exchange": 0}
        for (_, way), times in self._replica.lag.histograms.items():
            ways[way] += times.count
        return (
            commits.times.count if commits is not None else 0,
            commits.times.sum_s if commits is not None else 0.0,
            ways["rumor"],
            ways["exchange"],
        )

    def _is_calm(self, now: Now) -> bool:
        if not self._replica.settled:
            self._settled_s = None
        elif self._settled_s is None:
            self._settled_s = now.monotonic_s
        return self._settled_s is not None and now.monotonic_s >= self._settled_s + CALM_S

    def _waits_for(self, now: Now) -> dict[str, int | None]:
        """The members for whom tombstones wait, and when each is forgotten, ms since 1970."""
        found: dict[str, int | None] = {}
        for name in self._replica.tombstones.late():
            found[name] = None
            for pool in self._replica.pools:
                table = pool.membership.table
                dead_s, member = table.dead_s.get(name), table.members.get(name)
                if dead_s is not None and member is not None:
                    left_s = dead_s + (member.forget_s or self._config.forget_after_s)
                    found[name] = now.wall_ms + round(1000 * (left_s - now.monotonic_s))
        return found

    def _crowd_of(self, now: Now) -> tuple[int, int] | None:
        if now.monotonic_s >= self._crowd_s:
            self._crowd_s = now.monotonic_s + CROWD_LOOK_S
            until_ms = now.wall_ms + round(1000 * AHEAD_S)
            self._crowd = self._replica.tombstones.expiry.crowd(now.wall_ms, until_ms)
        return self._crowd if self._crowd and self._crowd[0] > now.wall_ms else None

    # -- kept, and shown --------------------------------------------------------------------------

    def _keep(self) -> None:
        """With the next commit."""
        commits = self._driver.commits
        if commits is None:
            return
        encode = msgspec.msgpack.encode
        commits.take(Persist(OWN, encode(self.own.kept())))
        for pool in self._replica.pools:
            known = pool.membership.members
            rows = pool.membership.round_trips.links.kept()
            kept = {name: row for name, row in rows.items() if name in known}
            commits.take(Persist(LINKS + pool.kind.value.encode(), encode(kept)))

    def status(self) -> list[dict[str, Any]]:
        """Ready for JSON."""
        return [{**trend._asdict(), "peers": list(trend.peers)} for trend in self.found]


def _kept(facts: Mapping[bytes, bytes], key: bytes) -> dict[str, bytes]:
    """Empty where nothing was kept, or it makes no sense: then everything is met anew."""
    try:
        return _decode(facts.get(key, b"\x80"))
    except msgspec.DecodeError:
        return {}
