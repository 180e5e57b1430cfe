"""Convergence: which members have the same data as this node at this moment, and by how many keys
the others differ."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from kvgossip.protocol.effect import Surveyed
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.wire.message import Precision


class Comparison(NamedTuple):
    """What a member has said of itself. `root`, `keys` and `precision` are None where it has not
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


class Survey:
    """One under way. `asked`: how many answers there may be."""

    def __init__(self, asked: int) -> None:
        self.answers: dict[Peer, Surveyed] = {}
        self._asked = asked
        self._complete = asyncio.Event()
        self._judge()

    def answered(self, told: Surveyed) -> None:
        self.answers[told.peer] = told
        self._judge()

    def _judge(self) -> None:
        if len(self.answers) >= self._asked:
            self._complete.set()

    async def complete(self, timeout_s: float) -> None:
        """Returns when all have answered, or the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete.wait()
        except TimeoutError:
            pass
