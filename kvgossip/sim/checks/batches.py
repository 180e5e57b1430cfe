"""Batches: which writes were made as one, and the law about the replicas that receive them.

A replica that makes a batch, or receives it as one (a Bundle, by rumor or fetched), shows all of it
after that input, or nothing. An entry that was superseded, or collected, counts as shown. A replica
that receives single entries, by repair, may show a part: that is not promised (see
protocol/rumors/batches.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import version_of
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.message import Bundle, Pair
from kvgossip.sim.checks.ledger import version_bytes
from kvgossip.sim.checks.violation import require
from kvgossip.sim.workload import Write


class Batches:
    def __init__(self, share: float, rng: Random) -> None:
        #: The share of the writes that come at once is made as one batch.
        self._share, self._rng = share, rng
        #: The batch of each version that was written in one.
        self._of: dict[bytes, tuple[Pair, ...]] = {}
        #: How many were written, and how often a replica showed a part of one.
        self.count = self.shown_in_part = 0

    def choose(self, together: Sequence[Write], bytes_max: int) -> list[Write]:
        """The writes of one batch, each key once; none where they are to be made one by one."""
        if not self._share or self._rng.random() >= self._share:
            return []
        writes = list({write.key: write for write in together}.values())
        size = sum(len(write.key.encode()) + len(write.value or b"") for write in writes)
        return writes if len(writes) > 1 and size <= bytes_max else []

    def wrote(self, batch: tuple[Pair, ...]) -> None:
        self.count += 1
        self._of |= dict.fromkeys((version_bytes(record) for _, record in batch), batch)

    def parts_shown(self, replica: Replica, effects: Sequence[Effect]) -> list[tuple[Pair, ...]]:
        """Those of which this input has brought something, and of which this replica now shows a
        part."""
        found = {}
        for effect in effects:
            batch = (
                self._of.get(version_bytes(effect.new_record)) if type(effect) is Changed else None
            )
            if (
                batch is not None
                and batch[0] not in found
                and any(_lacks(replica, *pair) for pair in batch)
            ):
                found[batch[0]] = batch
        self.shown_in_part += len(found)
        return list(found.values())

    def check(self, batch: tuple[Pair, ...], messages: Sequence[object], name: str) -> None:
        """Raises BrokenLawError where one of these messages had the whole batch, of which a part is
        shown."""
        entries = dict(batch)
        for message in messages:
            for key, record in message.entries if type(message) is Bundle else ():
                if entries.get(key) == record:
                    require(
                        False,
                        "a batch was received as one, and a part of it is shown",
                        name,
                        key,
                        version_of(record),
                    )


def _lacks(replica: Replica, key: str, record: bytes) -> bool:
    mine = replica.store.record(key)
    return (
        mine is None or version_bytes(mine) < version_bytes(record)
    ) and not replica.tombstones.refuses(key, record)
