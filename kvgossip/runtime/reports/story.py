"""Stories: what happened to a key on every member, and the order to keep such stories (see
protocol/model/story.py).

This node asks all members that it can reach, a gateway those of the WAN pool too, and answers for
all. Who says nothing is named, with the reason as far as this node knows it: a member of a release
before stories answers another question, and not this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from kvgossip.protocol.anti_entropy.survey import story_here
from kvgossip.protocol.effect import OverviewReported, StoryReported
from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.model.story import Step, Watch
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.wire.story_messages import StoryHere
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.reports.cluster_report import PoolName, State
from kvgossip.runtime.reports.round_trip import clock_offset_ms

ASK_S = 1.0
VERSION_BYTES = 16

VersionText = Annotated[str, Meta(pattern="^[0-9a-f]{16}-[0-9a-f]{16}$")]


class StoryStep(msgspec.Struct, frozen=True):
    """One event of a key on one member. `at_ms`: by that member's wall clock. `what`: write,
    import, rumor, exchange, disk, expired, revived, collected or quarantined; a newer release may
    know others. `written_ms`, `by`: when the version was written by its own time, and by which
    member; null where this node has never met it. `peer`, `pool`: who brought it, or said that it
    must go; null where nobody did, or nobody knows who."""

    at_ms: int
    what: str
    version: VersionText
    written_ms: int
    by: str | None
    deleted: bool
    peer: str | None
    pool: str | None


class KeptStory(msgspec.Struct, frozen=True):
    """What a member kept of a key: all events from `since_ms` to `until_ms`, by its wall clock, of
    which the newest are here, oldest first. Both are null where it kept nothing of this key.
    `holds`: the version that it has now; null: none. `deleted`: that is a delete; `expired`: its
    time has come."""

    since_ms: int | None
    until_ms: int | None
    holds: VersionText | None
    deleted: bool
    expired: bool
    steps: list[StoryStep]


class Keeping(msgspec.Struct, frozen=True):
    """The order in force on a member: it keeps the stories of this share of the keys with the
    prefix, for so many more seconds."""

    prefix: str
    share: float
    left_s: int


class MemberStory(msgspec.Struct, frozen=True):
    """`clock_offset_ms`: by how much its clock is ahead of that of the node that was asked; null
    where no probe has shown it. `silent`: why it has said nothing; empty where it has."""

    name: str
    pool: PoolName
    datacenter: str
    state: State
    clock_offset_ms: int | None
    silent: str
    story: KeptStory | None


class MemberKeeping(msgspec.Struct, frozen=True):
    """`silent` as in MemberStory. `keeps`: null where it keeps none, or is silent."""

    name: str
    pool: PoolName
    datacenter: str
    state: State
    silent: str
    keeps: Keeping | None


class StoryReport(msgspec.Struct, frozen=True):
    """The story of a key. `complete`: every member that is not known to be gone has answered."""

    key: str
    asked: str
    at_ms: int
    complete: bool
    members: list[MemberStory]


class KeepingReport(msgspec.Struct, frozen=True):
    """Who keeps which stories; `complete` as in StoryReport."""

    asked: str
    complete: bool
    members: list[MemberKeeping]


class _Heard(NamedTuple):
    """The answers of a survey of stories; and, where some are silent, of one of overviews."""

    stories: Mapping[Peer, StoryReported]
    overviews: Mapping[Peer, OverviewReported]


class Stories:
    """Of one life of a node."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._replica = driver, driver.replica

    async def of(self, key: str, *, everywhere: bool = True) -> StoryReport:
        """The story of a key: of all members, or of this node alone. Raises BadKeyError, and
        OverloadedError while too many surveys are under way."""
        check_key(key)
        heard = await self._ask(key) if everywhere else _Heard({}, {})
        now, me = self._driver.clocks(), self._replica.config.name
        members = [self._member(key, None, self._own, heard, now)]
        if everywhere:
            members += [self._member(key, *other, heard, now) for other in self._others()]
        return StoryReport(key, me, now.wall_ms, _is_complete(members), members)

    async def keep(self, watch: Watch | None) -> KeepingReport:
        """Let all members keep these stories from now on, this node too; None: only ask which they
        keep. Raises OverloadedError."""
        heard = await self._ask("" if watch is None else watch)
        now, me = self._driver.clocks(), self._replica.config.name
        members = [self._keeping(None, self._own, heard, now)]
        members += [self._keeping(*other, heard, now) for other in self._others()]
        return KeepingReport(me, _is_complete(members), members)

    # -- the members ------------------------------------------------------------------------------

    @property
    def _own(self) -> Member:
        return self._replica.member

    def _others(self) -> list[tuple[Pool, Member]]:
        """All that have not left, each on one way."""
        return [
            (pool, member)
            for pool in self._replica.pools
            for name, member in sorted(pool.membership.members.items())
            if name != self._own.name
            and member.state is not MemberState.LEFT
            and not pool.is_reached_in_lan(name)
        ]

    async def _ask(self, subject: str | Watch) -> _Heard:
        callers = self._driver.callers
        stories = await callers.survey_stories(subject, ASK_S)
        silent = any(
            Peer(pool.kind, member.name) not in stories
            for pool, member in self._replica.pools.surveyed()
        )
        return _Heard(stories, await callers.survey_overviews(ASK_S) if silent else {})

    def _said(
        self, key: str, pool: Pool | None, member: Member, heard: _Heard, now: Now
    ) -> tuple[StoryHere | None, str]:
        """What a member has said, or why it has said nothing; without a pool it is this node."""
        if pool is None:
            replica = self._replica
            return story_here(0, member.name, key, replica.story, replica.store, now), ""
        peer = Peer(pool.kind, member.name)
        if peer in heard.stories:
            return heard.stories[peer].story, ""
        if self._replica.blocklist.covers(member):
            return None, "this node blocks it"
        if not member.reachable:
            return None, f"it is {member.state.name.lower()}"
        if peer in heard.overviews:
            release = plain(heard.overviews[peer].overview.software) or "that it runs"
            return None, f"its release {release} keeps no stories"
        return None, f"it has not answered within {ASK_S:g} s, or its release keeps no stories"

    def _member(
        self, key: str, pool: Pool | None, member: Member, heard: _Heard, now: Now
    ) -> MemberStory:
        said, silent = self._said(key, pool, member, heard, now)
        own = pool is None
        return MemberStory(
            name=member.name,
            pool="lan" if pool is None else pool.kind.value,
            datacenter=member.datacenter,
            state=member.state.name.lower(),
            clock_offset_ms=0 if own else clock_offset_ms(self._replica, member.name, now),
            silent=silent,
            story=None if said is None else self._kept(said),
        )

    def _keeping(self, pool: Pool | None, member: Member, heard: _Heard, now: Now) -> MemberKeeping:
        said, silent = self._said("", pool, member, heard, now)
        watch = None if said is None else said.watch
        return MemberKeeping(
            name=member.name,
            pool="lan" if pool is None else pool.kind.value,
            datacenter=member.datacenter,
            state=member.state.name.lower(),
            silent=silent,
            keeps=None if watch is None else Keeping(plain(watch.prefix), watch.share, watch.for_s),
        )

    # -- what they say ----------------------------------------------------------------------------

    def _kept(self, said: StoryHere) -> KeptStory:
        return KeptStory(
            since_ms=said.since_ms if said.covers else None,
            until_ms=said.until_ms if said.covers else None,
            holds=str(_version(said.holds)) if len(said.holds) == VERSION_BYTES else None,
            deleted=said.deleted,
            expired=said.expired,
            steps=[self._step(each) for each in said.steps],
        )

    def _step(self, step: Step) -> StoryStep:
        version = _version(step.version)
        return StoryStep(
            at_ms=step.at_ms,
            what=step.what,
            version=str(version),
            written_ms=milliseconds_of(version.timestamp),
            by=self._driver.publisher.history.writer(version.site),
            deleted=step.deleted,
            peer=step.peer or None,
            pool=step.pool or None,
        )


def _version(encoded: bytes) -> Version:
    return Version(int.from_bytes(encoded[:8], "big"), int.from_bytes(encoded[8:], "big"))


def _is_complete(members: list[MemberStory] | list[MemberKeeping]) -> bool:
    return not any(each.silent and each.state in ("alive", "suspect") for each in members)
