"""ClusterReports: the whole cluster as this node sees it, and as its members tell of themselves.

    asked now     by how many keys each member differs, and its overview (one round trip, by links)
    known anyway  the member tables, round trips, coordinates, clocks, how long roots have differed
    looked up     the findings of the doctor's last examination, which takes seconds

Laws
- Who asks while a report is made, or within SHARED_S after it, gets that one; and an examination
  begins no more often than each EXAMINE_S, and only where somebody asks. So a page that asks every
  few seconds costs the cluster the same as ten of them.
- Who does not answer is there all the same, with the age of what it said last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from kvgossip.config import Config
from kvgossip.protocol.effect import Surveyed
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.wire.overview_messages import Overview
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.reports.cluster_report import (
    ClusterFinding,
    ClusterMember,
    ClusterReport,
    NotReady,
    Partition,
    Said,
    Suspicion,
)
from kvgossip.runtime.reports.doctor import doctor_report
from kvgossip.runtime.reports.lag import lag_of
from kvgossip.runtime.reports.plane import on_plane
from kvgossip.runtime.reports.round_trip import clock_offset_ms, phi_of, round_trip_to

ASK_S = 1.0
SHARED_S = 1.0
EXAMINE_S = 15.0


class ClusterReports:
    """Of one life of a node."""

    def __init__(self, driver: Driver, config: Config) -> None:
        self._driver, self._replica, self._config = driver, driver.replica, config
        #: the newest overview of each member, and when it came, monotonic seconds
        self._heard: dict[Peer, tuple[Overview, float]] = {}
        self._asking: asyncio.Task[ClusterReport] | None = None
        self._examining: asyncio.Task[None] | None = None
        #: None before the first examination
        self._findings: list[ClusterFinding] | None = None
        #: when the last report was begun, and the last examination over, monotonic seconds
        self._asked_s = self._examined_s = float("-inf")

    async def report(self) -> ClusterReport:
        """Raises OverloadedError while too many surveys are under way, LocalError when the node
        stops meanwhile."""
        now = self._driver.clocks()
        self.examine_if_due()
        asking = self._asking
        if asking is None or (asking.done() and now.monotonic_s >= self._asked_s + SHARED_S):
            self._asked_s = now.monotonic_s
            asking = self._asking = _task(self._ask())
        # shared: it goes on where one of those who wait has gone
        report = await asyncio.shield(asking)
        age_s = (self._driver.clocks().wall_ms - report.at_ms) / 1000
        return replace(report, age_s=max(0.0, age_s))

    # -- findings ---------------------------------------------------------------------------------

    def examine_if_due(self) -> None:
        """Let the doctor look, unless it has done so lately."""
        due_s = self._examined_s + EXAMINE_S
        if self._examining is None and self._driver.clocks().monotonic_s >= due_s:
            self._examining = _task(self._examine())

    async def _examine(self) -> None:
        try:
            reports = await self._driver.callers.examine_all()
        finally:
            self._examining = None
        self._examined_s = self._driver.clocks().monotonic_s
        found = doctor_report(reports, self._config)["findings"]
        before, self._findings = self._findings or [], [ClusterFinding(**each) for each in found]
        self._tell("came", self._findings, before)
        self._tell("went", before, self._findings)

    def _tell(self, change: str, some: list[ClusterFinding], others: list[ClusterFinding]) -> None:
        """Those findings that the others do not have. Their words may differ: of one fault they
        name a number that changes."""
        known = [each.fault for each in others]
        for each in some:
            if each.fault not in known:
                self._driver.publisher.events.publish(
                    "finding", self._driver.clocks(), change=change, **msgspec.to_builtins(each)
                )

    # -- a report ---------------------------------------------------------------------------------

    async def _ask(self) -> ClusterReport:
        callers = self._driver.callers
        differences, overviews = await asyncio.gather(
            callers.survey(ASK_S), callers.survey_overviews(ASK_S)
        )
        now, replica = self._driver.clocks(), self._replica
        answers = {peer: (each.overview, now.monotonic_s) for peer, each in overviews.items()}
        for pool in replica.pools:
            own = Peer(pool.kind, self._config.name)
            answers[own] = pool.own_overview.at(0, now), now.monotonic_s
        members = {
            Peer(pool.kind, name): (pool, pool.membership.members[name])
            for pool in replica.pools
            for name in sorted(pool.membership.members)
        }
        known = {**self._heard, **answers}
        self._heard = {peer: known[peer] for peer in members if peer in known}
        documents = [
            self._member(
                pool, member, now, differences, answered=_way(pool, member.name) in answers
            )
            for pool, member in members.values()
        ]
        _place(documents, replica.pools)
        others = [each for each in documents if each.state in ("alive", "suspect")]
        return ClusterReport(
            asked=self._config.name,
            cluster=self._config.cluster,
            datacenter=self._config.datacenter,
            at_ms=now.wall_ms,
            age_s=0.0,
            complete=all(each.answered or each.blocked for each in others),
            equal=all(each.same or each.blocked for each in others),
            keys=replica.store.live,
            root=f"{replica.store.digest.shown:016x}",
            members=documents,
            suspicions=list(self._suspicions()),
            partitions=list(self._partitions(now)),
            findings=self._findings or [],
            findings_age_s=None
            if self._findings is None
            else round(now.monotonic_s - self._examined_s, 3),
        )

    def _member(
        self,
        pool: Pool,
        member: Member,
        now: Now,
        differences: Mapping[Peer, Surveyed],
        *,
        answered: bool,
    ) -> ClusterMember:
        name, way = member.name, _way(pool, member.name)
        own = name == self._config.name
        overview, heard_s = self._heard.get(way, (None, now.monotonic_s))
        difference = differences.get(way)
        differs_by = 0 if own else difference.keys if difference is not None else None
        unequal_s = pool.exchanges.unequal(now).get(name)
        precision = difference.precision.name.lower() if difference is not None else None
        measured, lag = round_trip_to(pool, name), lag_of(self._replica.lag, member, now)
        return ClusterMember(
            name=name,
            pool=pool.kind.value,
            self=own,
            state=member.state.name.lower(),
            addresses=[str(member.address), *_other_address(member)],
            http=_http(member),
            datacenter=member.datacenter,
            zone=member.zone,
            gateway=member.gateway,
            blocked=self._replica.blocklist.covers(member),
            rtt_ms=measured["rtt_ms"],
            rtt_estimate_ms=measured["rtt_estimate_ms"],
            clock_offset_ms=0 if own else clock_offset_ms(self._replica, name, now),
            lag_p50_ms=lag["lag_p50_ms"],
            lag_p99_ms=lag["lag_p99_ms"],
            same=None if differs_by is None else not differs_by,
            differs_by=differs_by,
            precision="exact" if own else precision,
            unequal_s=None if unequal_s is None else round(unequal_s, 3),
            answered=answered,
            age_s=None if overview is None else round(now.monotonic_s - heard_s, 3),
            said=None if overview is None else _said(overview),
            phi=phi_of(pool, name, now),
        )

    def _suspicions(self) -> Iterator[Suspicion]:
        for peer, (overview, _) in self._heard.items():
            for state, names in (("suspect", overview.suspects), ("dead", overview.dead)):
                for name in names:
                    yield Suspicion(peer.pool.value, peer.name, name, state)

    def _partitions(self, now: Now) -> Iterator[Partition]:
        """What each member says that suspects one: those that it still reaches, and those that it
        lost."""
        for peer, (overview, _) in self._heard.items():
            if not overview.lost:
                continue
            pool = self._replica.in_pool(peer.pool)
            gone = dict.fromkeys([*overview.lost, *overview.dead])
            reached = [
                name
                for name, member in sorted(pool.membership.members.items())
                if name == peer.name or (member.reachable and name not in gone)
            ]
            since_s = pool.partition.since_s if peer.name == self._config.name else None
            yield Partition(
                peer.pool.value,
                peer.name,
                None if since_s is None else round(now.monotonic_s - since_s, 3),
                [reached, list(overview.lost)],
            )


def _task(work: Any) -> asyncio.Task[Any]:
    """Its failure goes to those who wait for it; where all have gone, to nobody."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _way(pool: Pool, name: str) -> Peer:
    """The pool through which this member is asked: each on one way only."""
    return Peer(PoolKind.LAN if pool.is_reached_in_lan(name) else pool.kind, name)


def _other_address(member: Member) -> list[str]:
    other = member.other_host
    host = f"[{other}]" if ":" in other else other
    return [f"{host}:{member.port}"] if other else []


def _http(member: Member) -> str | None:
    """A node that serves HTTP on all its addresses announces the port only: its host is the one
    that peers reach."""
    return (f"{member.host}{member.http}" if member.http.startswith(":") else member.http) or None


def _said(overview: Overview) -> Said:
    return Said(
        version=plain(overview.software),
        standing=overview.sync_state.name.lower(),
        keys=overview.keys,
        entries=overview.entries,
        not_ready=[NotReady(code, plain(text)) for code, text in overview.not_ready],
        overload=plain(overview.overload),
        keyring=list(map(plain, overview.keyring)),
        tokens=plain(overview.tokens),
        blocked=list(map(plain, overview.blocked)),
        tombstones_waiting=overview.tombstones_waiting,
        waits_for=list(overview.waits_for),
        quarantined=overview.quarantined,
        suspects=list(overview.suspects),
        dead=list(overview.dead),
        lost=list(overview.lost),
    )


def _place(documents: list[ClusterMember], pools: Any) -> None:
    """Give each member its place on the map of its pool."""
    for pool in pools:
        coordinates = pool.membership.coordinates
        mine = [each for each in documents if each.pool == pool.kind.value]
        known = {each.name: coordinates.of(each.name) for each in mine}
        known[pool.membership.me.name] = coordinates.own
        on_map = on_plane({name: at.place_s for name, at in known.items() if at is not None})
        for each in mine:
            place = on_map.get(each.name)
            each.place_ms = None if place is None else [round(1000 * part, 3) for part in place]
