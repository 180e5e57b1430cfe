"""JoinTargets: the addresses that this node is to join, the nodes that answered there, and whether
that is enough to settle.

Laws (protocol.md sections 2 and 8)
- A target is resolved again and joined again, with growing pauses, while any of its addresses is no
  known member.
- A node settles when an exchange with a settled member completes; or after a while (settling.py),
  when every address of every target has answered, and an exchange with each has completed while it
  was fresh itself (see SyncState): then the cluster is fresh and nobody knows more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kvgossip.config import Address, Config
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet

PAUSE_FACTOR_MAX = 30
PAUSE_FACTOR_UNSETTLED = 3
NOWHERE = Address("", 0)


@dataclass(slots=True)
class Answer:
    """A node answered at an address."""

    name: str
    #: an exchange with it completed, and it was not waiting for others
    exchanged: bool = False


class JoinTargets:
    """`me` is this node's name: an address that is our own answers with it."""

    def __init__(self, targets: Sequence[str], config: Config, me: str, now: Now) -> None:
        self._me = me
        #: of each target; None until it is resolved
        self._addresses: dict[str, tuple[Address, ...] | None] = dict.fromkeys(targets)
        #: targets of an operator that are tried once
        self._once: OrderedSet[str] = OrderedSet()
        self._answers: dict[Address, Answer] = {}
        self._pause_s = config.join_retry_s
        self._pause_s_unsettled = config.join_retry_s * PAUSE_FACTOR_UNSETTLED
        self._pause_s_max = config.join_retry_s * PAUSE_FACTOR_MAX
        #: the time at which the targets are looked after again, monotonic seconds; None: there are
        #: none
        self._next_s: float | None = now.monotonic_s if targets else None

    @property
    def founder(self) -> bool:
        return not self._addresses

    def deadline(self) -> float | None:
        return self._next_s

    def add(self, targets: Sequence[str]) -> list[str]:
        """An operator's targets: tried once, now. Returns those to resolve."""
        self._once |= OrderedSet(targets)
        return list(targets)

    def is_due(self, now: Now, settled: bool) -> bool:
        """True if it is time to look after the targets; then the next time is set. A node that has
        not settled looks more often."""
        if self._next_s is None or now.monotonic_s < self._next_s:
            return False
        self._next_s = now.monotonic_s + self._pause_s
        self._pause_s = min(
            2 * self._pause_s, self._pause_s_max if settled else self._pause_s_unsettled
        )
        return True

    def strangers(self, is_member: Callable[[str], bool]) -> list[str]:
        """The targets to resolve and join: those that are not known members, all of their
        addresses."""
        return [target for target in self._addresses if not self._is_known(target, is_member)]

    def unexchanged(self) -> list[str]:
        """The names that answered, but have not completed an exchange with us."""
        return [
            answer.name
            for answer in self._answers.values()
            if not answer.exchanged and answer.name != self._me
        ]

    def _is_known(self, target: str, is_member: Callable[[str], bool]) -> bool:
        return bool(self._addresses[target]) and not self._strange(target, is_member)

    def _strange(self, target: str, is_member: Callable[[str], bool]) -> list[Address]:
        """The addresses of a target at which no known member, nor this node itself, has
        answered."""
        return [
            address
            for address in self._addresses[target] or ()
            if not self._is_familiar(address, is_member)
        ]

    def _is_familiar(self, address: Address, is_member: Callable[[str], bool]) -> bool:
        answer = self._answers.get(address)
        return answer is not None and (answer.name == self._me or is_member(answer.name))

    def resolved(
        self, target: str, addresses: Sequence[Address], is_member: Callable[[str], bool]
    ) -> list[Address]:
        """The addresses to send a Join to."""
        if target in self._once:
            del self._once[target]
            return list(dict.fromkeys(addresses))
        if target not in self._addresses:
            return []
        self._addresses[target] = tuple(dict.fromkeys(addresses)) or self._addresses[target]
        return self._strange(target, is_member)

    def answered(self, address: Address, name: str) -> None:
        """A node of this name took us in at this address; a new name there starts over."""
        known = self._answers.get(address)
        if self.has(address) and (known is None or known.name != name):
            self._answers[address] = Answer(name)

    def exchanged(self, name: str, sync_state: SyncState) -> None:
        for answer in self._answers.values():
            if answer.name == name and sync_state is not SyncState.WAITING:
                answer.exchanged = True

    def may_learn_from(self, name: str, sync_state: SyncState) -> bool:
        """True if an exchange with this peer would bring an unsettled node nearer to settling."""
        return sync_state is SyncState.SETTLED or (
            sync_state is SyncState.FRESH and name in self.unexchanged()
        )

    def all_answered(self) -> bool:
        """True if every address of every target has answered."""
        return all(answer is not None for answer in self._all_answers())

    def all_exchanged(self) -> bool:
        """True if every address of every target has answered and, but for ourselves, exchanged."""
        return all(
            answer is not None and (answer.exchanged or answer.name == self._me)
            for answer in self._all_answers()
        )

    def has(self, address: Address) -> bool:
        """True if some target is there; not one of an operator's."""
        return any(address in (addresses or ()) for addresses in self._addresses.values())

    def unanswered(self) -> list[str]:
        """The addresses at which nobody has answered, and the targets that are not resolved."""
        return [
            str(address) if address.host else target
            for target, addresses in self._addresses.items()
            for address in addresses or (NOWHERE,)
            if address not in self._answers
        ]

    def _all_answers(self) -> list[Answer | None]:
        """One for each address of each target, None where there is none; a target that could not be
        resolved yet has one None."""
        return [
            self._answers.get(address)
            for addresses in self._addresses.values()
            for address in addresses or (NOWHERE,)
        ]

    def lost(self, now: Now) -> None:
        """A member died: look at the targets again soon."""
        if self._next_s is not None:
            self._pause_s = self._pause_s_max / PAUSE_FACTOR_MAX
            self._next_s = min(self._next_s, now.monotonic_s + self._pause_s)
