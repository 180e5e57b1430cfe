"""The driver of the simulated replicas: it hands them inputs and the time, has every step checked,
and performs their effects.

A *turn* is one input of one replica: the witness judges its effects, then they are performed in
their order, then the timer is set again. Inputs of a paused host wait and come in a burst when it
resumes.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kvgossip.protocol.effect import (
    AckReceived,
    Departed,
    Dropped,
    Effect,
    JoinRefused,
    Log,
    MemberChanged,
    Quarantined,
    Resolve,
    Send,
    WriteConcernEnded,
)
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.frame import Framing, is_of_pool
from kvgossip.protocol.wire.message import Message
from kvgossip.sim.checks.absence import AbsenceCheck
from kvgossip.sim.checks.batches import Batches
from kvgossip.sim.checks.conflicts import ConflictCheck
from kvgossip.sim.checks.edits import EditCheck
from kvgossip.sim.checks.promises import Promises
from kvgossip.sim.checks.violation import BrokenLawError, require
from kvgossip.sim.commits import Commits
from kvgossip.sim.host import Call, Life
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.timers import Timers
from kvgossip.sim.tracing import Event, Trace


class Outlet(Protocol):
    """Takes the effects that leave the host."""

    def send(self, life: Life, effect: Send) -> None: ...
    def resolve(self, life: Life, effect: Resolve) -> None: ...
    def depart(self, life: Life) -> None: ...


class Driver:
    def __init__(
        self,
        timeline: Timeline,
        trace: Trace,
        framings: Sequence[Framing],
        commits: Commits,
        promises: Promises,
        batches: Batches,
        absence: AbsenceCheck,
        conflicts: ConflictCheck,
        edits: EditCheck,
        outlet: Outlet,
    ) -> None:
        self._timeline, self._trace, self._framings = timeline, trace, framings
        self._commits, self._outlet = commits, outlet
        self._promises, self._batches, self._absence = promises, batches, absence
        self._conflicts, self._edits = conflicts, edits
        self._timers = Timers(timeline, self._tick)
        #: Sees the effects of every turn before they are performed, if it is set.
        self.observer: Callable[[Life, Sequence[Effect]], None] | None = None
        #: The name of the node whose turn it is, or was last.
        self.speaker = ""
        #: Virtual seconds at which anything that peers should agree on changed last, and data did.
        self.changed_s = self.news_s = 0.0
        #: Changes of data, by the kind of input that brought them.
        self.news: Counter[Event] = Counter()
        #: Records that were dropped, and live values that went into quarantine.
        self.dropped = self.quarantined = 0
        #: Lines of the log, by level.
        self.logs: Counter[str] = Counter()

    # -- inputs ------------------------------------------------------------------------------------

    def turn(self, life: Life, event: Event, data: bytes, call: Call, *arguments: Any) -> None:
        """One input. It waits while the host is paused, and misses a life that has ended."""
        host = life.host
        if host.life is not life:
            return
        if host.paused:
            host.backlog.append((life, event, data, call, *arguments))
            return
        self._trace.note(self._timeline.time_s, host.number, event, data)
        now = host.clock.now(self._timeline.time_s)
        effects = self.judged(life, call, *arguments, now)
        self._perform(life, event, effects)
        if self._batches.count and effects:
            self._check_batches(life, event, data, effects)

    def _tick(self, life: Life, deadline_s: float) -> None:
        self.judged(life, self._timers.count_spin, life)
        self._trace.note(self._timeline.time_s, life.host.number, Event.TICK, b"")
        now = life.host.clock.now(self._timeline.time_s, deadline_s)
        self._perform(life, Event.TICK, self.judged(life, life.replica.tick, now))

    def judged(self, life: Life, question: Callable[..., Any], *arguments: Any) -> Any:
        """The answer to the question. An exception is a broken law of this node: a replica raises
        nothing on any input."""
        self.speaker = life.host.name
        try:
            return question(*arguments)
        except BrokenLawError:
            raise
        except Exception as error:
            raise BrokenLawError(
                f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}"
            ) from error

    def forget_changes(self) -> None:
        """As if everything had changed last at this moment."""
        self.changed_s = self.news_s = self._timeline.time_s

    def arm(self, life: Life) -> None:
        """Set the timer of a life that was paused."""
        self._timers.arm(life)

    def _check_batches(
        self, life: Life, event: Event, data: bytes, effects: Sequence[Effect]
    ) -> None:
        """A replica that has received a batch as one does not show a part of it."""
        parts = self._batches.parts_shown(life.replica, effects)
        if parts and event is Event.BATCH:
            raise BrokenLawError("of a batch that was written here a part is shown")
        messages = self._messages(event, data) if parts else ()
        for batch in parts:
            self._batches.check(batch, messages, life.title)

    def _messages(self, event: Event, data: bytes) -> Sequence[Message | Member]:
        if event not in (Event.DATAGRAM, Event.FRAME, Event.ABSORB):
            return ()
        framing = next(framing for framing in self._framings if is_of_pool(data, framing.pool))
        reliable, rides = event is Event.FRAME, event is Event.ABSORB
        return framing.open(data, reliable=reliable, replays=True, rides=rides).messages

    # -- effects -----------------------------------------------------------------------------------

    def _perform(self, life: Life, event: Event, effects: list[Effect]) -> None:
        if self.observer is not None:
            self.observer(life, effects)
        # a packet changes nothing that the witness or the disk looks at
        inner = [effect for effect in effects if type(effect) is not Send]
        now = life.host.clock.now(self._timeline.time_s)
        if life.witness.observe(inner, now):
            self.changed_s = self._timeline.time_s
        if effects:
            self._commits.keep(life, event, inner)
            self._conflicts.observe(life.title, inner)
            self._edits.observe(life.title, life.replica.site, inner)
            if any(type(effect) is Quarantined for effect in inner):
                self._check_warned(inner)
            for effect in effects:
                if type(effect) is Send:
                    self._outlet.send(life, effect)
                elif type(effect) is Changed:
                    self.news_s = self._timeline.time_s
                    self.news[event] += 1
                else:
                    self._perform_rare(life, effect)
        self._timers.arm(life)

    def _check_warned(self, effects: Sequence[Effect]) -> None:
        """No live value goes in silence."""
        warned = any(type(effect) is Log and effect.level == "WARNING" for effect in effects)
        require(warned, "a live value went to the quarantine, and no WARNING says so")

    def _perform_rare(self, life: Life, effect: Effect) -> None:
        if isinstance(effect, Dropped):
            self.changed_s = self._timeline.time_s
            self.dropped += 1
        elif isinstance(effect, Quarantined):
            self.changed_s = self._timeline.time_s
            self.quarantined += 1
            self._absence.quarantined(effect)
        elif isinstance(effect, MemberChanged):
            self._absence.member_changed(effect)
            life.has_met |= effect.new is not None and effect.new.name != life.host.name
        elif isinstance(effect, Resolve):
            self._outlet.resolve(life, effect)
        elif isinstance(effect, AckReceived):
            self._promises.received(effect)
        elif isinstance(effect, WriteConcernEnded):
            now = life.host.clock.now(self._timeline.time_s)
            self._promises.ended(effect, now, leaving=life.leaving, alone=_is_alone(life))
        elif isinstance(effect, Departed):
            self._timeline.after(0.0, self._outlet.depart, life)
        elif isinstance(effect, JoinRefused):
            # Every host has a name of its own, so a refusal would take a node for its own earlier
            # life (lesson 10).
            require("is held by" not in effect.text, "a join was refused for its name", effect.text)
        elif isinstance(effect, Log):
            self.logs[effect.level.lower()] += 1
            self._trace.note(
                self._timeline.time_s, life.host.number, Event.LOG, effect.text.encode()
            )


def _is_alone(life: Life) -> bool:
    """True if this life knows that there are others, and has met none of them."""
    return life.knows_others and not life.has_met
