"""The review of how the members are set up (see protocol/doctor/review.py): asked, and ready for
JSON. The description of the API is made of these classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

import msgspec

from kvgossip.protocol.anti_entropy.survey import Topic
from kvgossip.protocol.doctor.review import Setup, review
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.wire.overview_messages import Overview
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.reports.cluster_report import ClusterFinding, PoolName
from kvgossip.runtime.reports.round_trip import clock_offset_ms

ASK_S = 2.0


class ReviewedMember(msgspec.Struct, frozen=True):
    """A member, as it says that it is set up. `parameters`: those in force that should be alike on
    all members, as a file has them. `files_max`: 0 without a bound. `disk_free_bytes`: -1 without a
    data directory. What it does not say is empty, and null where it did not answer."""

    name: str
    pool: PoolName
    datacenter: str
    answered: bool
    clock_offset_ms: int | None
    release: str | None = None
    keyring: list[str] | None = None
    tokens: str | None = None
    parameters: dict[str, str] | None = None
    extras: list[str] | None = None
    files_max: int | None = None
    disk_bytes: int | None = None
    disk_free_bytes: int | None = None


class ReviewReport(msgspec.Struct, frozen=True):
    """`alike`: there are no findings."""

    asked: str
    alike: bool
    findings: list[ClusterFinding]
    members: list[ReviewedMember]


async def review_report(
    driver: Driver, against: Mapping[str, str] | None, ignored: Collection[str]
) -> ReviewReport:
    """Ask all members that can be reached, and are not blocked, in ASK_S; see review() for the
    arguments. Raises OverloadedError while too many surveys are under way, LocalError when the node
    stops meanwhile."""
    replica = driver.replica
    asked = list(replica.pools.surveyed())
    answers = await driver.callers.survey_overviews(ASK_S, Topic.SETUP)
    now = driver.clocks()
    observer, lan = replica.config.name, replica.pools.lan
    own = Setup(
        observer,
        lan.kind.value,
        replica.config.datacenter,
        lan.own_overview.at(0, now, setup=True),
        0,
    )
    setups = [own]
    for pool, member in asked:
        answer = answers.get(Peer(pool.kind, member.name))
        if answer is not None or not replica.blocklist.covers(member):
            overview = None if answer is None else answer.overview
            offset_ms = clock_offset_ms(replica, member.name, now)
            setups.append(
                Setup(member.name, pool.kind.value, member.datacenter, overview, offset_ms)
            )
    found = review(setups, observer, against, ignored)
    return ReviewReport(
        asked=observer,
        alike=not found,
        findings=[msgspec.convert(asdict(each), ClusterFinding) for each in found],
        members=[_member(each) for each in sorted(setups, key=lambda each: each.name)],
    )


def _member(setup: Setup) -> ReviewedMember:
    said: Overview | None = setup.overview
    known = (setup.name, setup.pool, setup.datacenter, said is not None, setup.clock_offset_ms)
    if said is None:
        return ReviewedMember(*known)
    return ReviewedMember(
        *known,
        release=plain(said.software),
        keyring=list(map(plain, said.keyring)),
        tokens=plain(said.tokens),
        parameters={name: plain(text) for name, text in said.parameters},
        extras=list(said.extras),
        files_max=said.files_max,
        disk_bytes=said.disk_bytes,
        disk_free_bytes=said.disk_free_bytes,
    )
