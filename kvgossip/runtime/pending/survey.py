"""Survey: which members have the same data as this node at this moment, and by how many keys the
others differ."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from kvgossip.protocol.effect import AppliedReported, OverviewReported, StoryReported, Surveyed
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.store.digest import shown
from kvgossip.protocol.wire.message import Precision
from kvgossip.runtime.pending.pending import Answer


class Comparison(NamedTuple):
    """The answer of a member. `root`, `keys` and `precision` are None where it has not
    answered in time, or is dead.

    `keys`: by how many it differs from this node, as `precision` has it. `unequal_s`: for how many
    seconds probes have shown another root.
    """

    name: str
    pool: PoolKind
    state: MemberState
    root: int | None
    keys: int | None
    precision: Precision | None
    unequal_s: float | None

    @property
    def equal(self) -> bool:
        return self.keys == 0


A = TypeVar("A", Surveyed, AppliedReported, OverviewReported, StoryReported)


class Survey(Answer[None], Generic[A]):
    """A survey under way: done once `asked` members have answered."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        #: those that have come, by member
        self.answers: dict[Peer, A] = {}
        self._asked = asked
        self._conclude()

    def answered(self, answer: A) -> None:
        self.answers[answer.peer] = answer
        self._conclude()

    def _conclude(self) -> None:
        if len(self.answers) >= self._asked:
            self.give(None)

    async def wait_for_all(self, timeout_s: float) -> None:
        """Returns when all have answered, or the time is up. Raises LocalError when the node
        stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.wait()


def comparison(pool: Pool, peer: Peer, answer: Surveyed | None, now: Now) -> Comparison:
    state = pool.membership.members[peer.name].state
    since_s = pool.exchanges.unequal_since_s(peer.name)
    unequal_s = None if since_s is None else now.monotonic_s - since_s
    if answer is None:
        return Comparison(peer.name, peer.pool, state, None, None, None, unequal_s)
    return Comparison(
        peer.name,
        peer.pool,
        state,
        shown(answer.root),
        answer.keys,
        answer.precision,
        unequal_s if answer.keys else None,
    )
