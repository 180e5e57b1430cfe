"""Node: a member of a cluster with a copy of its data; the object that users embed.

It asks the cluster through the callers of its driver; its writes are those of Changing, and its
reads those of Reading. A node lives on the thread of the event loop that started it: a method that
is called on another one, or in a forked copy of its process, raises (see resident.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from random import Random
from typing import Any

from kvgossip.config import Address, Config
from kvgossip.errors import LocalError, NotSettledError
from kvgossip.protocol.effect import Exchanged
from kvgossip.protocol.key_rotation import parse_order
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.histogram import Histogram
from kvgossip.protocol.model.lag import Lag
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.readiness import Notice, Reason
from kvgossip.protocol.wire.message import Holding
from kvgossip.runtime.changes.events import Events
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.watchers import Topic
from kvgossip.runtime.changing import Changing
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.life import Life, completed
from kvgossip.runtime.pending.survey import Comparison
from kvgossip.runtime.reports.applied import AppliedSurveys
from kvgossip.runtime.reports.cluster import ClusterReports
from kvgossip.runtime.reports.differences import Differences, Inspector
from kvgossip.runtime.reports.doctor import doctor_report
from kvgossip.runtime.reports.lag import lag_of
from kvgossip.runtime.reports.review import ReviewReport, review_report
from kvgossip.runtime.reports.round_trip import phi_of, round_trip, round_trip_to
from kvgossip.runtime.reports.status import status_of
from kvgossip.runtime.reports.story import Stories
from kvgossip.runtime.resident import check_home

JOIN_S = 10.0
CONVERGE_TIMEOUT_S = 2.0
EXCHANGE_TIMEOUT_S = 30.0
FOUNDING_GRACE_S = 0.1


class Node(Changing):
    """A node of the cluster that `config` names.

        async with Node(Config(join=("10.0.0.5:7481",))) as node:
            await node.wait_settled()
            await node.put("a", b"1")

    At the start `config` is completed by the port that was taken and by the name: of several starts
    on one data directory that of the first. `rebuild`: the first start moves what is in the data
    directory aside, and fetches everything from peers. `found`: there is nobody whom the first
    start could find, so that it founds a cluster at once. All but `config`, `name`, `address`,
    `wan_address` and `settled` raises LocalError while the node does not run; all but the first
    four also on another thread, and ForkedError in a forked process. Once stopped it may be started
    again, as a new life of the same name: without a data directory it is empty then.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        rebuild: bool = False,
        found: bool = False,
        _clocks: Callable[[], Now] = read_clocks,
        _rng: Random | None = None,
    ) -> None:
        #: true if the user chose the name
        self._named = config is not None and bool(config.name)
        #: true if the next start moves aside the content of the data directory, or founds a cluster
        self._rebuild, self._found = rebuild, found
        #: true if the node runs, or is about to: from the call of `start` to the end of `stop`
        self._started = False
        self._life: Life | None = None
        self._reports: ClusterReports | None = None
        self._clocks, self._rng = _clocks, _rng
        self.config = completed(config or Config(), 0)

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take data directory and sockets, read the data, and begin to join. Raises ConfigError
        when gossip address or keyring cannot be used, and DataDirError; then nothing is open."""
        if self._started:
            raise LocalError(f"the node {self.name!r} runs already")
        self._started = True
        try:
            life = await Life.begin(
                self.config,
                named=self._named,
                rebuild=self._rebuild,
                found=self._found,
                clocks=self._clocks,
                rng=self._rng,
            )
        except BaseException:
            self._started = False
            raise
        self._life, self.config = life, life.config
        self._reports = ClusterReports(life.driver, life.config)
        self._rebuild = self._found = False

    async def stop(self, *, leave: bool = True) -> None:
        """Leave, where `leave` says so, and close everything; watchers get what waits for them.
        Harmless when repeated."""
        if self._life is not None:
            check_home(self._life)
        try:
            if leave and self._life is not None:
                await self.leave()
        finally:
            life, self._life = self._life, None
            if life is not None:
                await life.close()
                self._started = False

    async def __aenter__(self) -> Node:
        """Returns once it has settled, or after `founding_s`: then it looks for others still."""
        await self.start()
        try:
            with suppress(NotSettledError):
                founding_s = self.config.founding_s
                await self.wait_settled(founding_s and founding_s + FOUNDING_GRACE_S)
        except BaseException:
            await self.stop(leave=False)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    @property
    def name(self) -> str:
        """Empty only before the start, where the configuration has neither a name nor a port."""
        return self.config.name

    @property
    def address(self) -> Address:
        """The address at which peers reach this node. The host is empty until a peer has said it,
        where the configuration does not."""
        life = self._life
        return life.address if life else self.config.advertise or self.config.gossip

    @property
    def wan_address(self) -> Address | None:
        """The address at which other gateways reach this one; None where it is no gateway. The host
        as for `address`."""
        if not self.config.gateway:
            return None
        life = self._life
        return life.wan_address if life else self.config.advertise_wan or self.config.wan

    @property
    def waits_among(self) -> str:
        """The members that `all` means on this node, in words."""
        gateways = " and the gateways of the WAN pool" if self.config.gateway else ""
        return f"the members of datacenter {self.config.datacenter}{gateways}"

    # -- cluster ----------------------------------------------------------------------------------

    @property
    def not_ready(self) -> list[Reason]:
        """Why this node should not be asked just now; empty: it is ready."""
        return self._running.replica.readiness.reasons(self._clocks())

    @property
    def stale_s(self) -> float | None:
        """How old the data of the disk is, while answers are but that; None: they are not."""
        return self._open.reads.stale_s

    def settle(self) -> None:
        """An operator says that what this node has is the truth."""
        self._running.submit(self._running.replica.settle)

    async def join(
        self, *targets: str, wan: bool = False, merge: bool = False, timeout_s: float = JOIN_S
    ) -> None:
        """Join through any of these `HOST:PORT`; returns once a member has taken this node in.
        `wan`: into the WAN pool, for gateways. `merge`: two clusters become one, with their id.
        Raises JoinRefusedError with every reason, ConfigError when none could be asked."""
        pool = PoolKind.WAN if wan else PoolKind.LAN
        await self._running.callers.join(targets, pool, timeout_s, merge=merge)

    async def leave(self) -> None:
        """Say farewell; returns when peers have had time to hear it. Reads are still answered."""
        await self._running.callers.leave()

    async def converge(self, timeout_s: float = CONVERGE_TIMEOUT_S) -> list[Comparison]:
        """Ask all members, a gateway those of the WAN pool too, how their data differs, sorted by
        pool and name (see pending/survey.py). Who is late is there without an answer."""
        return await self._running.callers.compare(timeout_s, self._clocks)

    async def differences(self, member: str, prefix: str = "", limit: int = 100) -> Differences:
        """Which keys that start with `prefix` differ from this member, at most `limit`, sorted:
        what each of the two has, and why that stays so (reports/differences.py). Repairs nothing.
        Raises NotFoundError, NoAnswerError where it cannot be asked or is silent, OverloadedError.
        """
        return await Inspector(self._running).differences(member, prefix, limit)

    async def entry_at(self, member: str, key: str) -> Entry | None:
        """What this member has under the key: perhaps a tombstone; None: nothing. Raises as
        `differences`."""
        return await Inspector(self._running).value(member, key)

    async def exchange(self, member: str, timeout_s: float = EXCHANGE_TIMEOUT_S) -> Exchanged:
        """Exchange with this member now, and return when that is over, completed or cut. Raises as
        `differences`; and ConfigError where anti_entropy is off."""
        return await self._running.callers.exchange(member, timeout_s)

    @property
    def applied(self) -> AppliedSurveys:
        """What the processes of all members made of releases, to report and to ask (applied.py)."""
        return AppliedSurveys(self._running)

    @property
    def stories(self) -> Stories:
        """What happened to a key on all members, where they keep that (reports/story.py)."""
        return Stories(self._running)

    def feed_of(self, topic: Topic) -> Feed:
        """The feed that this topic is of: that of changes, or that of conflicts."""
        publisher = self._running.publisher
        return publisher.conflicts.feed if topic.conflicts else publisher.feed

    def is_blocked(self, member: Member) -> bool:
        return self._running.replica.blocklist.covers(member)

    def block(self, target: str) -> None:
        """Drop everything of a member, an IP address or a network from now on, or ConfigError."""
        driver = self._running
        driver.submit(lambda now: driver.replica.block(target, now))

    def unblock(self, target: str) -> None:
        """Take a block back. Raises NotFoundError if there is none."""
        self._running.submit(lambda now: self._running.replica.unblock(target, now))

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Declare a member left that will not come back; `prune`: and let everybody forget it.
        Raises NotFoundError, and StillAliveError for one that answers and is not blocked here."""
        driver = self._running
        driver.submit(lambda now: driver.replica.force_leave(name, now, prune=prune))

    async def rotate(self, action: str = "list", key: str = "") -> list[Holding]:
        """Change the keyrings of all nodes of all datacenters: `install` a key of 64 hexadecimal
        digits, `use` or `remove` the one with this id of 8, or `list`. Returns the keys that each
        node has then, the nodes that did not answer, and the faults. Raises KeyringError where this
        node has no keyring; for `use`, while an alive member lacks the key; for `remove`, while it
        is the primary one of a member; and for both while one does not answer."""
        return await self._running.callers.rotate(*parse_order(action, key))

    def reload_keyring(self) -> list[str]:
        """Take the keys of the keyring file anew; returns their ids. Raises ConfigError."""
        return self._running.reload_keyring()

    def add_notices(self, look: Callable[[], Iterable[Notice]]) -> None:
        """From now on the doctor finds what `look()` gives, as (code, text), at this node."""
        self._running.replica.readiness.add_notices(look)

    async def doctor(self) -> dict[str, Any]:
        """Examine the cluster through this node, ready for JSON: `findings` say in words what is
        wrong, `healthy` that there are none. In each pool up to 64 members look at each other."""
        return doctor_report(await self._running.callers.examine_all(), self.config)

    async def review(
        self, against: Mapping[str, str] | None = None, ignored: Collection[str] = ()
    ) -> ReviewReport:
        """Ask all members how they are set up: `findings` say in words what differs and what that
        costs. `against`: the parameters that they should have, as `alike_parameters` of
        kvgossip.config gives those of a file; None: those of most. `ignored`: may differ."""
        return await review_report(self._running, against, ignored)

    @property
    def reports(self) -> ClusterReports:
        """The whole cluster, as this node sees it and its members tell of themselves."""
        life, reports = self._open, self._reports
        assert life is not None
        assert reports is not None
        return reports

    @property
    def events(self) -> Events:
        """What happened to the cluster lately, in the eyes of this node."""
        return self._running.publisher.events

    async def round_trip(self, one: str, other: str) -> dict[str, Any]:
        """The round trip between two members, ready for JSON: estimated, and measured, by `one`
        where neither is this node. Raises NotFoundError where no pool of this node has both."""
        driver = self._running
        return await round_trip(driver.replica, driver.callers, one, other)

    def round_trip_to(self, member: Member, pool: PoolKind) -> dict[str, float | None]:
        """The way from this node to a member as far as it is known, ready for JSON: `rtt_ms`
        measured, `rtt_estimate_ms` by coordinates, `phi` how sure its silence makes that it is
        gone."""
        known = self._running.replica.in_pool(pool)
        phi = phi_of(known, member.name, self._clocks())
        return {**round_trip_to(known, member.name), "phi": phi}

    @property
    def lag(self) -> Lag:
        """How long writes of other nodes take until they arrive here."""
        return self._running.replica.lag

    def lag_counts(self) -> list[int]:
        """How many arrivals there were in each bucket of lag."""
        return self.lag.counts()

    def lag_of(self, member: Member) -> dict[str, float | None]:
        """The lag of what this member wrote and arrived lately, ready for JSON: `lag_p50_ms`,
        `lag_p99_ms`."""
        return lag_of(self.lag, member, self._clocks())

    def tell_tokens(self, fingerprint: str) -> None:
        """Let the doctors of other members hear which tokens the HTTP of this life asks for."""
        self._running.replica.shell_report.tokens = fingerprint

    @property
    def last_exchange_age_s(self) -> float | None:
        """Seconds since an exchange completed, None if none of this life ever did."""
        return self._running.replica.pools.last_exchange_s(self._clocks())

    def status(self) -> dict[str, Any]:
        """The state of this node, ready for JSON. `transport` has the sockets' counters."""
        return status_of(self._open, self._clocks())

    @property
    def commit_times(self) -> Histogram | None:
        """How long the commits of this life took; None without a data directory."""
        commits = self._running.commits
        return None if commits is None else commits.times

    # -- on the messages of the application -------------------------------------------------------

    def piggyback(self, room: int) -> bytes:
        """News in at most `room` bytes, to ride on any message of the application to another node
        of this datacenter, which gives it to its `absorb`; empty where there is none. It counts as
        sent to nobody. Raises LocalError without a keyring: only sealed news rides."""
        return self._running.replica.piggyback(room, self._clocks())

    def absorb(self, data: bytes) -> None:
        """Take what rode on a message: merge it, and answer nothing. It proves nothing of whoever
        sent it. What cannot be taken is counted (`piggybacks_dropped`). Raises LocalError without a
        keyring, and for what is not bytes."""
        self._running.submit(lambda now: self._running.replica.absorb(data, now))
