"""Promises: waits for holders, made at random, and the truth about what they are answered."""

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
from kvgossip.sim.checks.invariants import Ledger, require

TIMEOUTS_S = (0.02, 1.0, 5.0, 30.0)
NEEDS = (
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
    """`met` and `unmet` count the waits that have ended."""

    def __init__(self, ledger: Ledger, share: float, rng: Random) -> None:
        self.met = self.unmet = 0
        self._ledger, self._share, self._rng = ledger, share, rng
        self._open: dict[int, Promise] = {}
        self._count = 0

    def begin(self, replica: Replica, written: Changed, now: Now) -> list[Effect]:
        """Some of the writes are waited for."""
        if self._rng.random() >= self._share:
            return []
        write_concern, timeout_s = self._rng.choice(NEEDS), self._rng.choice(TIMEOUTS_S)
        self._count += 1
        try:
            effects = replica.wait(self._count, written.key, write_concern, timeout_s, now)
        except CannotMeetError:
            return []
        self._open[self._count] = Promise(
            written.key, written.new_record, write_concern, now.monotonic_s + timeout_s
        )
        return effects

    def held(self, told: AckReceived) -> None:
        promise = self._open[told.ticket]
        if not self._ledger.has_held(told.peer.name, promise.key, promise.record):
            require(
                False,
                "held by a node that never had it",
                told.peer.name,
                promise.key,
                promise.record,
            )

    def waited(self, told: WriteConcernEnded, now: Now, *, leaving: bool) -> None:
        promise = self._open.pop(told.ticket)
        for peer in told.held_by:
            require(
                self._ledger.has_held(peer.name, promise.key, promise.record),
                "held by a node that never had it",
                peer,
                promise.key,
            )
        require(
            not {each.peer for each in told.lacking}.intersection(told.held_by),
            "who holds it is said to lack it",
            told,
        )
        if told.met:
            self.met += 1
            self._enough(promise, told)
        else:
            self.unmet += 1
            require(
                leaving or now.monotonic_s >= promise.due_s,
                "a wait gave up before its time",
                promise.write_concern,
            )

    def check_ended(self, replica: Replica, now: Now) -> None:
        """No wait of this replica is overdue."""
        require(
            replica.acks.deadline() > now.monotonic_s,
            "a wait that is due has not ended",
            replica.config.name,
        )

    def _enough(self, promise: Promise, told: WriteConcernEnded) -> None:
        scope, holders = promise.write_concern.scope, len(told.held_by)
        require(
            scope is not Scope.ANY or holders >= promise.write_concern.number,
            "met by too few",
            promise.write_concern,
            told,
        )
        require(
            scope is not Scope.MAJORITY or holders > (holders + len(told.lacking)) // 2,
            "met by a minority",
            promise.write_concern,
            told,
        )
        left = all(each.state > MemberState.SUSPECT for each in told.lacking)
        require(scope is not Scope.ALL or left, "met although an alive member lacks it", told)
