"""Callers: the questions that callers of a node put to the cluster through it, and wait for.

Each method hands an input to the replica, waits for the effects that answer it, and leaves nothing
behind, however it ends. All raise LocalError when the node stops meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from kvgossip.config import Address, check_target, parse_address
from kvgossip.errors import KeyringError, LocalError, NoAnswerError, NotSettledError
from kvgossip.protocol.acks.write_concern import WriteConcern
from kvgossip.protocol.anti_entropy.inspection import Sought
from kvgossip.protocol.anti_entropy.survey import Topic
from kvgossip.protocol.effect import (
    AckReceived,
    AppliedReported,
    Departed,
    DoctorReport,
    Effect,
    Examined,
    Exchanged,
    Inspected,
    Joined,
    JoinRefused,
    KeyringReported,
    OverviewReported,
    Settled,
    StoryReported,
    Surveyed,
    WriteConcernEnded,
)
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.story import Watch
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.message import Holding, KeyringAction
from kvgossip.runtime.pending.join_attempt import DEFAULT_PORTS, JoinAttempt
from kvgossip.runtime.pending.pending import Answer, Pending
from kvgossip.runtime.pending.survey import Comparison, Survey, comparison
from kvgossip.runtime.pending.write_acks import OnAck, WriteAcks

FAREWELL_TIMEOUT_S = 5.0
SILENT_HINT = (
    "a member is silent that blocks this node, has anti_entropy off, or is about to be found dead: "
    "`kvgossip doctor` looks"
)

Submit = Callable[[Callable[[Now], Sequence[Effect]]], None]
"""Takes an input of the replica, which needs but the time, and performs its effects."""


class Callers:
    """`submit` is the driver's. `effects` says which effects end up here."""

    def __init__(self, replica: Replica, submit: Submit) -> None:
        self._replica, self._submit = replica, submit
        self._tickets = itertools.count()
        self._closed = False
        #: set once reads are answered as truth, or the node stops
        self._settled = asyncio.Event()
        #: set once the farewell has been said, or the node stops
        self._departed = asyncio.Event()
        self._joins = Pending[int, JoinAttempt]("the node stopped while it was joining")
        self._rotations = Pending[int, Answer[KeyringReported]](
            "the node stopped while keyrings were changed: list them on another one"
        )
        #: by the pool and the two members; both are empty where all members are examined
        self._examinations = Pending[tuple[PoolKind, str, str], Answer[DoctorReport]](
            "the node stopped while it was examining others"
        )
        self._surveys = Pending[int, Survey[Any]]("the node stopped while it was asking the others")
        self._inspections = Pending[int, Answer[Inspected]](
            "the node stopped while it was comparing its data with a member's"
        )
        self._exchanges = Pending[Peer, Answer[Exchanged]](
            "the node stopped during an exchange", "another node goes on with it"
        )
        self._writes = Pending[int, WriteAcks](
            "the node stopped while a write waited", "the write stands where it has arrived"
        )
        self.effects: Mapping[type[Effect], Callable[[Any], object]] = {
            Settled: lambda effect: self._settled.set(),
            Departed: lambda effect: self._departed.set(),
            Joined: self._joined,
            KeyringReported: self._rotated,
            Examined: self._examined,
            Surveyed: self._surveyed,
            AppliedReported: self._surveyed,
            OverviewReported: self._surveyed,
            StoryReported: self._surveyed,
            Inspected: self._inspected,
            AckReceived: self._acked,
            WriteConcernEnded: self._write_ended,
        }

    def close(self) -> None:
        """All that wait have an error, and no input is submitted from now on."""
        self._closed = True
        for pending in (
            self._joins,
            self._rotations,
            self._examinations,
            self._surveys,
            self._inspections,
            self._exchanges,
            self._writes,
        ):
            pending.close()
        self._settled.set()
        self._departed.set()

    # -- coming and going -------------------------------------------------------------------------

    async def wait_settled(self, timeout_s: float | None) -> None:
        """Raises NotSettledError when it takes longer than that."""
        if self._replica.settled:
            return
        name = self._replica.config.name
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            raise NotSettledError(
                f"the node {name!r} has not settled within {timeout_s} s"
            ) from None
        if not self._replica.settled:
            raise LocalError(f"the node {name!r} stopped before it had settled")

    async def join(
        self, targets: Sequence[str], pool: PoolKind, timeout_s: float, *, merge: bool
    ) -> None:
        """Raises as JoinAttempt; and ConfigError for what is no address, or on a node that is not
        in such a pool."""
        for target in targets:
            check_target("join", parse_address(target, DEFAULT_PORTS[pool]))
        ticket = next(self._tickets)
        attempt = self._joins.begin(ticket, JoinAttempt(targets, pool))
        try:
            self._submit(lambda now: self._replica.join(targets, now, pool, merge=merge))
            await attempt.wait_until_joined(timeout_s)
        finally:
            self._joins.end(ticket)

    def resolved(self, target: str, addresses: Sequence[Address], pool: PoolKind) -> None:
        """These are going to be asked to let the node into this pool."""
        for attempt in self._joins_of(pool):
            attempt.resolved(target, addresses)

    def refused(self, effect: JoinRefused) -> bool:
        """True if a caller waits for this answer."""
        waits = False
        for attempt in self._joins_of(effect.pool):
            waits |= attempt.refused(effect.source, effect.text)
        return waits

    def _joined(self, effect: Joined) -> None:
        for attempt in self._joins_of(effect.pool):
            attempt.joined(effect.source)

    def _joins_of(self, pool: PoolKind) -> list[JoinAttempt]:
        return [attempt for attempt in self._joins.answers() if attempt.pool is pool]

    async def leave(self) -> None:
        """Returns when the peers have had time to hear the farewell, or it takes too long."""
        self._submit(self._replica.leave)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                await self._departed.wait()

    # -- keyrings ---------------------------------------------------------------------------------

    async def rotate(self, action: KeyringAction, key: bytes) -> list[Holding]:
        """An order for the keyrings of the whole cluster; returns the keys that each node has then.
        Raises KeyringError."""
        ticket = next(self._tickets)
        answer = self._rotations.begin(ticket, Answer())
        try:
            self._submit(lambda now: self._replica.rotate(ticket, action, key, now))
            result = await answer.wait()
        finally:
            self._rotations.end(ticket)
        if result.objection:
            raise KeyringError(
                result.objection, "nothing was changed; `kvgossip keyring list` shows who has what"
            )
        return list(result.found)

    def _rotated(self, effect: KeyringReported) -> None:
        answer = self._rotations.get(effect.ticket)
        if answer is not None:
            answer.give(effect)

    # -- the doctor -------------------------------------------------------------------------------

    async def examine(self, pool: PoolKind, one: str = "", other: str = "") -> DoctorReport:
        """Examine a pool; or let one member look at another one. Callers that ask for the same at
        the same time share the answer. Raises NotFoundError for a name that is not known."""
        key = (pool, one, other)
        answer = self._examinations.get(key)
        if answer is None:
            answer = self._examinations.begin(key, Answer())
            try:
                self._submit(lambda now: self._replica.examine(now, pool, one, other))
            except BaseException:
                self._examinations.end(key)
                raise
        return await answer.wait()

    async def examine_all(self) -> list[DoctorReport]:
        """Examine every pool of this node."""
        pools = self._replica.pools
        return await asyncio.gather(*(self.examine(pool.kind) for pool in pools))

    def _examined(self, effect: Examined) -> None:
        answer = self._examinations.end((effect.pool, *effect.asked))
        if answer is not None:
            answer.give(effect.report)

    # -- surveys ----------------------------------------------------------------------------------

    async def survey(self, timeout_s: float) -> Mapping[Peer, Surveyed]:
        """The answers of the members that answer within this time. Raises OverloadedError."""
        return await self._survey(timeout_s, Topic.DATA)

    async def survey_applied(self, prefix: str, timeout_s: float) -> Mapping[Peer, AppliedReported]:
        """As `survey`, of what the processes of members made of the releases under a prefix."""
        return await self._survey(timeout_s, Topic.APPLIED, prefix)

    async def survey_overviews(
        self, timeout_s: float, topic: Topic = Topic.OVERVIEW
    ) -> Mapping[Peer, OverviewReported]:
        """As `survey`, of what members say of themselves; of Topic.SETUP also how they are set
        up."""
        return await self._survey(timeout_s, topic)

    async def survey_stories(
        self, subject: str | Watch, timeout_s: float
    ) -> Mapping[Peer, StoryReported]:
        """As `survey`, of what happened to a key; or with an order for all members, and this."""
        return await self._survey(timeout_s, Topic.STORY, subject)

    async def _survey(
        self, timeout_s: float, topic: Topic, subject: str | Watch = ""
    ) -> Mapping[Peer, Any]:
        ticket = next(self._tickets)
        asked = sum(1 for _ in self._replica.pools.surveyed())
        survey = self._surveys.begin(ticket, Survey[Any](asked))
        try:
            self._submit(lambda now: self._replica.survey(ticket, now, topic, subject))
            await survey.wait_for_all(timeout_s)
            return survey.answers
        finally:
            self._surveys.end(ticket)
            if not self._closed:
                self._submit(lambda now: self._replica.cancel(ticket, now))

    async def compare(self, timeout_s: float, clocks: Callable[[], Now]) -> list[Comparison]:
        """How the data of all members differs from this node's, sorted by pool and name. Raises as
        `survey`."""
        answers, now = await self.survey(timeout_s), clocks()
        return [
            comparison(pool, candidate.peer, answers.get(candidate.peer), now)
            for pool in self._replica.pools
            for candidate in self._replica.pools.candidates(pool)
        ]

    def _surveyed(
        self, effect: Surveyed | AppliedReported | OverviewReported | StoryReported
    ) -> None:
        survey = self._surveys.get(effect.ticket)
        if survey is not None:
            survey.answered(effect)

    # -- one member -------------------------------------------------------------------------------

    async def inspect(self, name: str, sought: Sought, timeout_s: float) -> Inspected:
        """Which keys differ from this member. Raises NoAnswerError where it does not say so in
        time, and as Replica.compare."""
        ticket = next(self._tickets)
        answer = self._inspections.begin(ticket, Answer())
        try:
            self._submit(lambda now: self._replica.compare(name, now, sought, ticket))
            async with asyncio.timeout(timeout_s):
                inspected = await answer.wait()
        except TimeoutError:
            raise NoAnswerError(
                f"the member {name!r} has not said within {timeout_s:g} s what it has", SILENT_HINT
            ) from None
        finally:
            self._inspections.end(ticket)
            if not self._closed:
                self._submit(lambda now: self._replica.cancel(ticket, now))
        if inspected.fault:
            raise NoAnswerError(
                f"the data of {name!r} could not be compared: {inspected.fault}", "ask again"
            )
        return inspected

    def _inspected(self, effect: Inspected) -> None:
        answer = self._inspections.get(effect.ticket)
        if answer is not None:
            answer.give(effect)

    async def exchange(self, name: str, timeout_s: float) -> Exchanged:
        """Exchange with this member now; who asks during one gets its end. Raises NoAnswerError
        where it takes longer, and as Replica.compare."""
        peer = self._replica.pools.way_to(name).peer
        answer = self._exchanges.get(peer) or self._exchanges.begin(peer, Answer())
        try:
            self._submit(lambda now: self._replica.compare(name, now))
            async with asyncio.timeout(timeout_s):
                return await answer.wait()
        except TimeoutError:
            raise NoAnswerError(
                f"no exchange with {name!r} was over within {timeout_s:g} s",
                f"one that has begun goes on: the events show its end. {SILENT_HINT}",
            ) from None

    def exchanged(self, effect: Exchanged) -> None:
        """An exchange of this node is over."""
        answer = self._exchanges.end(effect.peer)
        if answer is not None:
            answer.give(effect)

    # -- acks of writes ---------------------------------------------------------------------------

    def begin_acks(
        self, key: str, write_concern: WriteConcern, timeout_s: float, on_ack: OnAck | None
    ) -> tuple[int, WriteAcks]:
        """Wait for those that shall hold what is under the key now; `end_acks` must follow, with
        the ticket that is returned. Raises as Replica.wait."""
        ticket = next(self._tickets)
        acks = self._writes.begin(ticket, WriteAcks(on_ack))
        try:
            self._submit(lambda now: self._replica.wait(ticket, key, write_concern, timeout_s, now))
        except BaseException:
            self._writes.end(ticket)
            raise
        return ticket, acks

    def end_acks(self, ticket: int) -> None:
        self._writes.end(ticket)
        if not self._closed:
            self._submit(lambda now: self._replica.cancel(ticket, now))

    def _acked(self, effect: AckReceived) -> None:
        acks = self._writes.get(effect.ticket)
        if acks is not None:
            acks.received(effect)

    def _write_ended(self, effect: WriteConcernEnded) -> None:
        acks = self._writes.get(effect.ticket)
        if acks is not None:
            acks.give(effect)
