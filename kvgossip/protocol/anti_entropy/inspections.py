"""Inspections: those under way at a replica (inspection.py). The driver ends them in time.

Laws
- An answer counts over the link that was dialled to the member, for the question that is open.
- The member takes an inspection for an exchange that goes no further, so it begins none with this
  node for `rumor_settling_s`: whoever inspects again and again holds up its exchanges, and none of
  this node's own.
- At most INSPECTIONS_MAX at a time: each holds what the member has said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from kvgossip.config import Address, Config
from kvgossip.errors import OverloadedError, RemoteError
from kvgossip.protocol.anti_entropy.backlog import Backlog
from kvgossip.protocol.anti_entropy.inspection import Answer, Inspection, Sought
from kvgossip.protocol.anti_entropy.questions import Question, Questions
from kvgossip.protocol.anti_entropy.session_context import SessionContext
from kvgossip.protocol.effect import Inspected
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.outbox import Outbox, SendPort
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import Room
from kvgossip.protocol.wire.exchange_messages import OtherPositions

INSPECTIONS_MAX = 4
NUMBER_BITS = 32


@dataclass(frozen=True, slots=True)
class Way:
    """How a member is asked: over a link to `address`, and work on its answers is done in the
    backlog of its pool. `members`: the digest of the member table there."""

    peer: Peer
    address: Address
    send_port: SendPort
    backlog: Backlog
    members: int


class Inspections:
    """Of one replica."""

    def __init__(self, config: Config, store: Store, outbox: Outbox, rng: Random) -> None:
        self._config, self._store, self._outbox, self._rng = config, store, outbox, rng
        #: by number: the ticket, the way, and what was found so far
        self._running: dict[int, tuple[int, Way, Inspection]] = {}

    def begin(self, ticket: int, way: Way, sought: Sought) -> None:
        """Inspect; Inspected tells the end. Raises OverloadedError where too many are under way."""
        if len(self._running) >= INSPECTIONS_MAX:
            raise OverloadedError(
                f"{INSPECTIONS_MAX} comparisons with members are under way already",
                "try again in a moment",
            )
        number = self._store.digest.numbered(self._rng.getrandbits(NUMBER_BITS))
        room = Room(self._config.message_bytes_max)
        questions = Questions(number, self._store, room, SessionContext(()))
        questions.introduce(way.members, self._config.name)
        inspection = Inspection(self._store, questions, sought)
        self._running[number] = ticket, way, inspection
        self._work(number, inspection.start())

    def heard(self, answer: Answer, arrival: Arrival) -> bool:
        """True if it is an answer to an inspection. Raises RemoteError where it makes no sense."""
        found = self._running.get(answer.exchange)
        if found is None:
            return False
        _, way, inspection = found
        if not arrival.reliable or arrival.source != way.address:
            raise RemoteError("unasked_answer", "an answer of somebody who was not asked")
        if not self._store.digest.has_numbered(answer.exchange):
            self._end(answer.exchange, "this node has just joined its cluster")
        else:
            self._work(answer.exchange, inspection.hear(answer))
        return True

    def declined(self, answer: OtherPositions, arrival: Arrival) -> None:
        """The member has another seed."""
        found = self._running.get(answer.exchange)
        if found is not None and arrival.source == found[1].address:
            self._end(answer.exchange, "it does not know yet of which cluster this node is")

    def unreachable(self, address: Address) -> None:
        """This link broke."""
        for number, (_, way, _) in list(self._running.items()):
            if way.address == address:
                self._end(number, "the link to it broke, or could not be made")

    def end(self, ticket: int) -> None:
        """Nobody waits for it any more."""
        self._running = {
            number: running for number, running in self._running.items() if running[0] != ticket
        }

    def _work(self, number: int, steps: Iterator[Question | None]) -> None:
        way = self._running[number][1]
        try:
            way.backlog.begin(self._steps(number, steps), way.address, 0)
        except RemoteError as fault:
            self._end(number, str(fault))

    def _steps(self, number: int, steps: Iterator[Question | None]) -> Iterator[None]:
        way = self._running[number][1]
        try:
            for question in steps:
                if question is not None:
                    way.send_port.send(question, way.address, reliable=True)
                    return
                yield
                if number not in self._running:
                    return
        except RemoteError as fault:
            self._end(number, f"its answer makes no sense: {fault}")
            return
        self._end(number, "")

    def _end(self, number: int, fault: str) -> None:
        ticket, way, inspection = self._running.pop(number)
        self._outbox.emit(
            Inspected(
                ticket,
                way.peer,
                fault,
                inspection.found(),
                inspection.keys,
                inspection.precision,
                inspection.matching,
                inspection.whole,
                inspection.unreadable,
            )
        )
