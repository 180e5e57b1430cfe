"""Who holds a write: what those are told who wait for it, and how they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from kvgossip.errors import LocalError
from kvgossip.protocol.effect import AckReceived, Lacking, WriteConcernEnded
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.peer import PoolKind


class WriteAck(NamedTuple):
    """A member that holds the write, and how many seconds after the write this node learned so."""

    name: str
    pool: PoolKind
    after_s: float


class AckedWrite(NamedTuple):
    """What became of a wait: `met`, or its time was up. `entry` is what was written: it stands in
    either case.

    `held_by` are the members that have shown that they hold this version, or a newer one of the
    key, in the order in which they did; `lacking` those among whom was waited that have not.
    """

    entry: Entry
    met: bool
    held_by: tuple[WriteAck, ...]
    lacking: tuple[Lacking, ...]


Told = Callable[[WriteAck], None]


class PendingAcks:
    """One wait under way. `told` is called with each holder as it shows."""

    def __init__(self, told: Told | None) -> None:
        self._told = told
        self._begin_s = time.monotonic()
        self._holders: dict[str, WriteAck] = {}
        self._over: asyncio.Future[WriteConcernEnded] = asyncio.get_running_loop().create_future()

    def held(self, effect: AckReceived) -> None:
        peer = effect.peer
        holder = self._holders[str(peer)] = WriteAck(
            peer.name, peer.pool, time.monotonic() - self._begin_s
        )
        if self._told is not None:
            self._told(holder)

    def waited(self, effect: WriteConcernEnded) -> None:
        if not self._over.done():
            self._over.set_result(effect)

    def stopped(self) -> None:
        if not self._over.done():
            self._over.set_exception(
                LocalError(
                    "the node stopped while a write waited", "the write stands where it has arrived"
                )
            )
            # perhaps nobody asks any more
            self._over.exception()

    async def outcome(self, entry: Entry) -> AckedWrite:
        """Raises LocalError when the node stops."""
        waited = await self._over
        return AckedWrite(
            entry,
            waited.met,
            tuple(self._holders[str(peer)] for peer in waited.held_by),
            waited.lacking,
        )
