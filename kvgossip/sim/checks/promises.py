"""Promises: write concerns that are waited for, made at random, and whether their acks are true."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from kvgossip.errors import CannotMeetError
from kvgossip.protocol.acks.write_concern import Scope, WriteConcern
from kvgossip.protocol.effect import AckReceived, Effect, WriteConcernEnded
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.sim.checks.ledger import Ledger
from kvgossip.sim.checks.violation import require

TIMEOUTS_S = (0.02, 1.0, 5.0, 30.0)
WRITE_CONCERNS = (
    WriteConcern(Scope.ALL),
    WriteConcern(Scope.MAJORITY),
    WriteConcern(Scope.ANY, 2),
    WriteConcern(Scope.ANY, 4),
    WriteConcern(Scope.EACH_ZONE, 1),
    WriteConcern(Scope.OTHER_ZONE, 1),
)


class Promise(NamedTuple):
    """A wait under way, for this record under the key; `due_s` by the clock of its node."""

    key: str
    record: bytes
    write_concern: WriteConcern
    due_s: float


class Promises:
    def __init__(self, ledger: Ledger, share: float, rng: Random) -> None:
        #: How many waits have ended, by how.
        self.met = self.unmet = 0
        self._ledger, self._rng = ledger, rng
        #: The share of the writes is waited for.
        self._share = share
        #: The waits under way, by ticket.
        self._open: dict[int, Promise] = {}
        self._count = 0

    def begin(self, replica: Replica, written: Changed, now: Now) -> list[Effect]:
        """Wait for this write, or not, as chance has it. Returns the effects of the wait."""
        if self._rng.random() >= self._share:
            return []
        write_concern, timeout_s = self._rng.choice(WRITE_CONCERNS), self._rng.choice(TIMEOUTS_S)
        self._count += 1
        try:
            effects = replica.wait(self._count, written.key, write_concern, timeout_s, now)
        except CannotMeetError:
            return []
        self._open[self._count] = Promise(
            written.key, written.new_record, write_concern, now.monotonic_s + timeout_s
        )
        return effects

    def received(self, ack: AckReceived) -> None:
        promise = self._open[ack.ticket]
        if not self._ledger.has_held(ack.peer.name, promise.key, promise.record):
            require(
                False,
                "held by a node that never had it",
                ack.peer.name,
                promise.key,
                promise.record,
            )

    def ended(
        self, end: WriteConcernEnded, now: Now, *, leaving: bool, alone: bool = False
    ) -> None:
        """A wait is over. `leaving`: its node ends, so that it may give up early. `alone`: its life
        has met none of those whom it has heard of, or whom earlier lives knew."""
        promise = self._open.pop(end.ticket)
        for peer in end.held_by:
            require(
                self._ledger.has_held(peer.name, promise.key, promise.record),
                "held by a node that never had it",
                peer,
                promise.key,
            )
        require(
            not {each.peer for each in end.lacking}.intersection(end.held_by),
            "a member that holds it is said to lack it",
            end,
        )
        if end.met:
            self.met += 1
            self._check_met(promise, end)
            require(
                not alone or promise.write_concern.is_of_one,
                "met by a life that has met nobody",
                promise.write_concern,
                end,
            )
        else:
            self.unmet += 1
            require(
                leaving or now.monotonic_s >= promise.due_s,
                "a wait gave up before its time",
                promise.write_concern,
            )

    def _check_met(self, promise: Promise, end: WriteConcernEnded) -> None:
        scope, holders = promise.write_concern.scope, len(end.held_by)
        require(
            scope is not Scope.ANY or holders >= promise.write_concern.number,
            "met by too few",
            promise.write_concern,
            end,
        )
        require(
            scope is not Scope.MAJORITY or holders > (holders + len(end.lacking)) // 2,
            "met by a minority",
            promise.write_concern,
            end,
        )
        left = all(
            each.state is not None and each.state > MemberState.SUSPECT for each in end.lacking
        )
        require(scope is not Scope.ALL or left, "met although an alive member lacks it", end)

    def check_ended(self, replica: Replica, now: Now) -> None:
        """No wait of this replica is overdue."""
        require(
            replica.acks.deadline() > now.monotonic_s,
            "a wait that is due has not ended",
            replica.config.name,
        )
