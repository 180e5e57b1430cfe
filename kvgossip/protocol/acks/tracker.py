"""AckTracker: the members that hold a version for which a write waits - known, not guessed
(protocol.md section 3).

Laws
- A member is called a holder of a version only after it has shown that it holds this version of the
  key or a newer one, by one of
  - the feedback to a rumor that was news to it (what was no news may have been refused, and a
    notice is no body: then it is asked),
  - a record of the key that came from it,
  - a root equal to ours, while we hold it ourselves,
  - its answer to a version query (inquiry.py), under a number that it alone was told.
- A word counts as a member's only from that member: from its address, over the link that was
  dialled there, or as the answer to a number of ours. Whoever else names it shows nothing.
- To hold is to have merged: a holder that keeps its data in memory alone loses it with its process.
  One whose new life is known here before the wait is over is no holder any more.
- A wait that begins before the node has settled is for others, who may be any that the node has
  heard of. It is met by the members that are known when the node settles, and not before: a life
  that has met nobody is no majority.
- A wait ends once: when its write concern is met, or when its time is up. The write stands in
  either case.
- Nothing is kept, asked or sent for a write that nobody waits for.

Rumors do most of the work: their feedback comes first. A member that has not shown it after
ASK_FIRST_S is asked, again and again with growing pauses: it did not hear it directly, or a packet
was lost. A member that is asked and lacks the version fetches it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

from msgspec.structs import replace

from kvgossip.errors import CannotMeetError, OverloadedError
from kvgossip.protocol.acks.write_concern import Group, WriteConcern
from kvgossip.protocol.effect import AckReceived, Lacking, WriteConcernEnded
from kvgossip.protocol.model.entry import HEAD_BYTES, version_of
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.typed.body import holds
from kvgossip.protocol.wire.message import Enquire

WAITS_MAX = 1024
ASK_FIRST_S = 0.05
ASK_PAUSE_MAX_S = 1.0
DATAGRAMS_FIRST = 2
NUMBER_BITS = 62


class Wait:
    """One write that waits for its write concern."""

    __slots__ = (
        "asks",
        "concern",
        "deadline_s",
        "groups",
        "key",
        "next_ask_s",
        "numbers",
        "prompted",
        "query",
        "shown",
        "states",
        "ticket",
        "version",
    )

    def __init__(
        self,
        ticket: int,
        query: Enquire,
        version: bytes,
        states: dict[Peer, MemberState | None],
        groups: Sequence[Group],
        begin_s: float,
        concern: WriteConcern | None = None,
    ) -> None:
        #: its name to the driver
        self.ticket = ticket
        #: the message by which members are asked, but for its number, which is each one's own
        self.query, self.key = query, query.key
        #: under which each member was asked
        self.numbers: dict[Peer, int] = {}
        #: as records have it
        self.version = version
        #: the states of the members that it is about, as they are believed; None: never met
        self.states = states
        #: what it is judged by once the node has settled; None: by `groups`
        self.concern = concern
        self.groups = list(groups)
        #: the members that have shown that they hold the version
        self.shown: OrderedSet[Peer] = OrderedSet()
        #: the members to ask at the next tick
        self.prompted: OrderedSet[Peer] = OrderedSet()
        #: monotonic seconds
        self.next_ask_s, self.deadline_s = begin_s + ASK_FIRST_S, math.inf
        #: how often all that lack it were asked
        self.asks = 0

    @property
    def met(self) -> bool:
        return self.concern is None and all(
            sum(peer in self.shown for peer in group.members) >= group.needed
            for group in self.groups
        )

    @property
    def lacking(self) -> list[Peer]:
        return [peer for peer in self.states if peer not in self.shown]

    def left(self, peer: Peer) -> None:
        """A member that has left on purpose is not waited for, where all are."""
        for place, group in enumerate(self.groups):
            if peer in group.members and group.needed == len(group.members):
                self.groups[place] = Group(
                    tuple(other for other in group.members if other != peer), group.needed - 1
                )

    def pause(self, now: Now) -> None:
        self.asks += 1
        self.next_ask_s = now.monotonic_s + min(ASK_FIRST_S * 2**self.asks, ASK_PAUSE_MAX_S)


class AckTracker:
    """All waits of a replica. `ask(peer, query, reliable)` sends a
    version query, `state_of(peer)` is the believed state of a member, None of one that was not met
    yet."""

    def __init__(
        self,
        outbox: Outbox,
        rng: Random,
        ask: Callable[[Peer, Enquire, bool], None],
        state_of: Callable[[Peer], MemberState | None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._outbox, self._rng, self._ask, self._state_of = outbox, rng, ask, state_of
        #: by a number of its own; empty where nothing waits
        self.waits: dict[int, Wait] = {}
        #: by the number under which this member was asked
        self._asked: dict[int, tuple[Wait, Peer]] = {}
        self._by_key: dict[str, list[Wait]] = {}

    def __len__(self) -> int:
        return len(self.waits)

    def check_room(self) -> None:
        """Raises OverloadedError where there are too many."""
        if len(self.waits) >= WAITS_MAX:
            raise OverloadedError(
                f"{WAITS_MAX} writes wait already",
                "nothing was changed; write without waiting, or try again",
            )

    def begin(
        self,
        ticket: int,
        me: Peer,
        key: str,
        record: bytes,
        groups: Sequence[Group],
        timeout_s: float,
        now: Now,
        concern: WriteConcern | None = None,
    ) -> None:
        """Wait for the version of this record, which this node holds. `concern`: the node has not
        settled, and judges by that once it has."""
        version = version_of(record)
        query = Enquire(
            number=self._rng.getrandbits(NUMBER_BITS),
            key=key,
            timestamp=version.timestamp,
            site=version.site,
            size=len(record),
        )
        states = self._states_of(groups)
        if concern is not None and concern.is_of_one:
            concern = None
        wait = Wait(ticket, query, record[1:HEAD_BYTES], states, groups, now.monotonic_s, concern)
        wait.deadline_s = now.monotonic_s + timeout_s
        self.waits[query.number] = wait
        self._by_key.setdefault(key, []).append(wait)
        self._holds(wait, me)

    def judge_anew(self, groups_of: Callable[[WriteConcern], Sequence[Group]]) -> None:
        """The node has settled: from now on the members that it knows count. `groups_of` raises
        CannotMeetError where there are not so many: then the wait ends when its time is up."""
        for wait in [wait for wait in self.waits.values() if wait.concern is not None]:
            assert wait.concern is not None
            try:
                wait.groups = list(groups_of(wait.concern))
            except CannotMeetError:
                continue
            wait.concern = None
            wait.states = self._states_of(wait.groups)
            for peer in [peer for peer in wait.shown if peer not in wait.states]:
                wait.shown.discard(peer)
            self._judge(wait)

    def _states_of(self, groups: Iterable[Group]) -> dict[Peer, MemberState | None]:
        return {peer: self._state_of(peer) for group in groups for peer in group.members}

    def cancel(self, ticket: int) -> None:
        """The driver waits no more. Harmless when the wait is over."""
        for wait in [wait for wait in self.waits.values() if wait.ticket == ticket]:
            self._remove(wait)

    # -- the versions that peers have shown -------------------------------------------------------

    def showed(self, peer: Peer, key: str, version: bytes) -> None:
        """This peer had this version of the key when it said so."""
        for wait in list(self._by_key.get(key, ())):
            if version >= wait.version:
                self._holds(wait, peer)

    def showed_record(self, peer: Peer, key: str, record: bytes) -> None:
        """`showed` of a typed record, of which the version alone says nothing: it has joined with
        others."""
        for wait in list(self._by_key.get(key, ())):
            if holds(record, wait.version):
                self._holds(wait, peer)

    def prompt(self, peer: Peer, key: str) -> None:
        """Perhaps this peer has it, or will soon: ask it now. It answers as soon as it does."""
        for wait in self._by_key.get(key, ()):
            if peer in wait.states and peer not in wait.shown:
                wait.prompted.add(peer)

    def equals(self, peer: Peer, record_of: Callable[[str], bytes | None]) -> None:
        """This peer has all that we have; `record_of(key)` is our record."""
        for wait in [
            wait for wait in self.waits.values() if peer in wait.states and peer not in wait.shown
        ]:
            record = record_of(wait.key)
            if record is not None and holds(record, wait.version):
                self._holds(wait, peer)

    def confirmed(self, number: int, peer: Peer) -> None:
        """Nobody but the member that was asked under it knows the number."""
        wait, asked = self._asked.get(number, (None, None))
        if wait is not None and asked == peer:
            self._holds(wait, peer)

    def changed(self, peer: Peer, old: Member | None, new: Member | None) -> None:
        """A member has another state, or another life."""
        for wait in list(self.waits.values()):
            if peer not in wait.states and (wait.concern is None or new is None):
                continue
            if new is None or old is None or new.site != old.site:
                wait.shown.discard(peer)
            if wait.states.get(peer) is MemberState.LEFT and not any(
                peer in group.members for group in wait.groups
            ):
                continue  # it is not waited for any more, also if it comes back
            wait.states[peer] = new.state if new is not None else MemberState.DEAD
            if new is not None and new.state is MemberState.LEFT:
                wait.left(peer)
                self._judge(wait)

    def _holds(self, wait: Wait, peer: Peer) -> None:
        if peer in wait.states and peer not in wait.shown:
            wait.shown.add(peer)
            self._outbox.emit(AckReceived(wait.ticket, peer))
            self._judge(wait)

    def _judge(self, wait: Wait) -> None:
        if wait.met:
            self._end(wait, met=True)

    def _end(self, wait: Wait, *, met: bool) -> None:
        if self._remove(wait):
            self.counters["waits_met" if met else "waits_unmet"] += 1
            lacking = tuple(Lacking(peer, wait.states[peer]) for peer in wait.lacking)
            self._outbox.emit(WriteConcernEnded(wait.ticket, met, tuple(wait.shown), lacking))

    def _remove(self, wait: Wait) -> bool:
        """True if it was there."""
        if self.waits.pop(wait.query.number, None) is None:
            return False
        for number in wait.numbers.values():
            del self._asked[number]
        self._by_key[wait.key].remove(wait)
        if not self._by_key[wait.key]:
            del self._by_key[wait.key]
        return True

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """Monotonic seconds; infinite where nothing waits."""
        nearest = math.inf
        for wait in self.waits.values():
            nearest = min(nearest, 0.0 if wait.prompted else min(wait.next_ask_s, wait.deadline_s))
        return nearest

    def tick(self, now: Now) -> None:
        for wait in list(self.waits.values()):
            if now.monotonic_s >= wait.deadline_s:
                self._end(wait, met=False)
                continue
            asked, wait.prompted = list(wait.prompted), OrderedSet()
            if now.monotonic_s >= wait.next_ask_s:
                wait.pause(now)
                asked = wait.lacking
            for peer in asked:
                # if two datagrams were in vain perhaps all are
                state = wait.states.get(peer)
                if state is not None and state <= MemberState.SUSPECT and peer not in wait.shown:
                    query = replace(wait.query, number=self._number_for(wait, peer))
                    self._ask(peer, query, wait.asks > DATAGRAMS_FIRST)

    def _number_for(self, wait: Wait, peer: Peer) -> int:
        number = wait.numbers.get(peer)
        if number is None:
            number = wait.numbers[peer] = self._rng.getrandbits(NUMBER_BITS)
            self._asked[number] = (wait, peer)
        return number

    def end_all(self) -> None:
        """This node leaves."""
        for wait in list(self.waits.values()):
            self._end(wait, met=False)
