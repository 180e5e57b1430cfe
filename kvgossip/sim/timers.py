"""Timers: one a life, set for the time at which its replica wants to be called."""

from __future__ import annotations

from collections.abc import Callable

from kvgossip.sim.checks.violation import BrokenLawError
from kvgossip.sim.host import Life
from kvgossip.sim.timeline import Timeline

SPINS_MAX = 200
"""Ticks of one replica at one virtual time: more means that its deadline does not move."""


class Timers:
    """`tick` is called with the life and with its deadline, by its own monotonic clock."""

    __slots__ = ("_tick", "_timeline")

    def __init__(self, timeline: Timeline, tick: Callable[[Life, float], None]) -> None:
        self._timeline, self._tick = timeline, tick

    def arm(self, life: Life) -> None:
        """Ask the replica when it wants to be called, which nothing but an input changes."""
        life.deadline_s = life.replica.deadline()
        self._set(life)

    def _set(self, life: Life) -> None:
        """One that is set too early looks again when it fires."""
        deadline_s = life.deadline_s
        if deadline_s is None or not life.active:
            return
        due_s = max(life.host.clock.time_of(deadline_s), self._timeline.time_s)
        if life.timer_s is None or due_s < life.timer_s:
            life.timer_s = due_s
            self._timeline.at(due_s, self._fire, life, due_s)

    def _fire(self, life: Life, due_s: float) -> None:
        if life.timer_s != due_s:
            return
        life.timer_s = None
        deadline_s = life.deadline_s
        if deadline_s is None or not life.active:
            return
        if life.host.clock.time_of(deadline_s) > self._timeline.time_s:
            self._set(life)
        else:
            self._tick(life, deadline_s)

    def count_spin(self, life: Life) -> None:
        """To be called at every tick. Raises BrokenLawError for a deadline that stands still."""
        life.spins = life.spins + 1 if life.spun_s == self._timeline.time_s else 0
        life.spun_s = self._timeline.time_s
        if life.spins > SPINS_MAX:
            raise BrokenLawError("tick() is called again and again, and its deadline does not move")
