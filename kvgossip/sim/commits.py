"""Commits: when the changes of a life come to the disk of its host. A write is there at once,
before it is acknowledged; all else some time later."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kvgossip.protocol.effect import Effect, Quarantined
from kvgossip.protocol.model.change import Changed
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.host import Life
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event

WRITES = (Event.PUT, Event.DELETE, Event.BATCH)


class Commits:
    """`delay_s_max`: how long a merge waits for its commit at most, virtual seconds."""

    __slots__ = ("_delay_s_max", "_oracle", "_rng", "_timeline")

    def __init__(self, timeline: Timeline, oracle: Oracle, rng: Random, delay_s_max: float) -> None:
        self._timeline, self._oracle, self._rng = timeline, oracle, rng
        self._delay_s_max = delay_s_max

    def keep(self, life: Life, event: Event, effects: Sequence[Effect]) -> None:
        """To be called with the effects of every input. Raises BrokenLawError where the oracle
        knows better."""
        number, disk = life.host.number, life.host.disk
        for effect in effects:
            if type(effect) is Changed:
                self._oracle.holds(number, effect.key, effect.new_record)
            elif type(effect) is Quarantined:
                self._oracle.quarantined(effect.key, effect.record)
        if disk is None or not disk.note(effects):
            return
        if event in WRITES:
            self.commit(life)
        elif not disk.planned:
            disk.planned = True
            self._timeline.after(self._rng.random() * self._delay_s_max, self.commit, life)

    def commit(self, life: Life) -> None:
        """All that waits, and the checkpoint. No effect where the life has ended or has no disk."""
        disk = life.host.disk
        if life.host.life is life and disk is not None:
            disk.planned = False
            disk.commit(life.replica.checkpoint(life.host.clock.now(self._timeline.time_s)))
            self._oracle.committed(life.host.number)
