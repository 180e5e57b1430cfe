"""WriteAcks: the members that hold a write, as a caller that waits for them hears of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from kvgossip.protocol.effect import AckReceived, Lacking, WriteConcernEnded
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.runtime.pending.pending import Answer


class WriteAck(NamedTuple):
    """A member that holds the write, and how many seconds after the write this node learned so."""

    name: str
    pool: PoolKind
    after_s: float


class AckedWrite(NamedTuple):
    """The end of a wait for acks: `met`, or its time was up. `entry` is the entry that was written:
    it stands in either case.

    `held_by` are the members that have shown that they hold this version, or a newer one of the
    key, in the order in which they did; `lacking` the awaited members that have not.
    """

    entry: Entry
    met: bool
    held_by: tuple[WriteAck, ...]
    lacking: tuple[Lacking, ...]


OnAck = Callable[[WriteAck], None]


class WriteAcks(Answer[WriteConcernEnded]):
    """The acks of one write. `on_ack` is called with each as it comes."""

    def __init__(self, on_ack: OnAck | None) -> None:
        super().__init__()
        self._on_ack = on_ack
        self._begin_s = time.monotonic()
        #: by the member, as text
        self._acks: dict[str, WriteAck] = {}

    def received(self, effect: AckReceived) -> None:
        peer = effect.peer
        ack = self._acks[str(peer)] = WriteAck(
            peer.name, peer.pool, time.monotonic() - self._begin_s
        )
        if self._on_ack is not None:
            self._on_ack(ack)

    async def outcome(self, entry: Entry) -> AckedWrite:
        """Raises LocalError when the node stops."""
        end = await self.wait()
        return AckedWrite(
            entry,
            end.met,
            tuple(self._acks[str(peer)] for peer in end.held_by),
            end.lacking,
        )
