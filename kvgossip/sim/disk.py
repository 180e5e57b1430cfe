"""Disk: the data that a simulated process has committed, and the rest that it has not yet.

A commit takes all effects since the last one, whole inputs at a time, and the checkpoint. A write
is committed before it is acknowledged; a merge is committed some time later. Packets do not wait
for that. So a crash loses merges that were passed on to others already: the worst that a driver may
do.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from kvgossip.protocol.effect import Dropped, Effect, Rewritten
from kvgossip.protocol.model.change import Changed, Persist

HOLE_SHARE = 0.4


class Disk:
    """A process leaves it to the next one on its host."""

    __slots__ = ("_waiting", "planned", "records", "saved")

    def __init__(self) -> None:
        #: The committed records, by key, and the saved state of the replica.
        self.records: dict[str, bytes] = {}
        self.saved: dict[bytes, bytes] = {}
        #: True if a commit is under way.
        self.planned = False
        self._waiting: list[Changed | Rewritten | Dropped | Persist] = []

    def copy(self) -> Disk:
        """Another one with the same content, and no commit under way."""
        other = Disk()
        other.records, other.saved = dict(self.records), dict(self.saved)
        other._waiting += self._waiting
        return other

    def note(self, effects: Iterable[Effect]) -> bool:
        """The effects of one input. Returns whether anything waits for a commit."""
        self._waiting += [
            effect
            for effect in effects
            if isinstance(effect, (Changed, Rewritten, Dropped, Persist))
        ]
        return bool(self._waiting)

    def commit(self, checkpoint: Iterable[Persist]) -> None:
        for effect in (*self._waiting, *checkpoint):
            if isinstance(effect, Changed):
                self.records[effect.key] = effect.new_record
            elif isinstance(effect, Rewritten):
                self.records[effect.key] = effect.record
            elif isinstance(effect, Dropped):
                self.records.pop(effect.key, None)
            elif effect.value is None:
                self.saved.pop(effect.key, None)
            else:
                self.saved[effect.key] = effect.value
        self._waiting.clear()

    def punch(self, rng: Random) -> None:
        """Some of the records are gone, without a trace."""
        self.records = {
            key: record for key, record in self.records.items() if rng.random() > HOLE_SHARE
        }

    def lose(self) -> None:
        """The process has ended: data that was not committed is gone."""
        self._waiting.clear()
        self.planned = False
