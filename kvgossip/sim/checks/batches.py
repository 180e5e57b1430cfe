"""Batches: which writes were made as one, and the law about those who are told of them.

Whoever makes a batch, or is told of it as one (a Bundle, by rumor or fetched), shows all of it
after that input, or nothing. An entry that was superseded, or collected, counts as shown. Who is
told of single entries, by repair, may show a part: that is not promised (see
protocol/rumors/batches.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import HEAD_BYTES, version_of
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.message import Bundle, Pair
from kvgossip.sim.checks.invariants import require
from kvgossip.sim.workload import Write


class Batches:
    """`share` of the writes that come at once are made as one."""

    def __init__(self, share: float, rng: Random) -> None:
        self._share, self._rng = share, rng
        self._of: dict[bytes, tuple[Pair, ...]] = {}
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
        self._of |= dict.fromkeys((record[1:HEAD_BYTES] for _, record in batch), batch)

    def parts_shown(self, replica: Replica, effects: Sequence[Effect]) -> list[tuple[Pair, ...]]:
        """Those of which this input has brought something, and of which this replica now shows a
        part."""
        found = {}
        for effect in effects:
            batch = (
                self._of.get(effect.new_record[1:HEAD_BYTES]) if type(effect) is Changed else None
            )
            if (
                batch is not None
                and batch[0] not in found
                and any(_lacks(replica, *pair) for pair in batch)
            ):
                found[batch[0]] = batch
        self.shown_in_part += len(found)
        return list(found.values())

    def check(self, batch: tuple[Pair, ...], told: Sequence[object], name: str) -> None:
        """Raises BrokenLawError where one of these messages told of the whole batch, of which a
        part is shown."""
        entries = dict(batch)
        for message in told:
            for key, record in message.entries if type(message) is Bundle else ():
                if entries.get(key) == record:
                    require(
                        False,
                        "a batch was told as one, and a part of it is shown",
                        name,
                        key,
                        version_of(record),
                    )


def _lacks(replica: Replica, key: str, record: bytes) -> bool:
    mine = replica.store.record(key)
    return (
        mine is None or mine[1:HEAD_BYTES] < record[1:HEAD_BYTES]
    ) and not replica.tombstones.refuses(key, record)
