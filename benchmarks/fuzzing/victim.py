"""A replica under attack, and the laws that hold after every input, whatever it was:

1. Nothing raises.
2. What the simulator checks of a correct replica at every step holds (sim/checks/invariants.py). Of
   records any will do: whoever has a key may write.
3. An input takes a bounded number of steps: calls of functions, counted for a share of the inputs.
   While the clock stands still, ticks come to an end.
4. What the replica keeps beside its data stays small, however much was said to it.
5. An honest newcomer is taken in afterwards, and both end with the same data.
"""

from __future__ import annotations

import cProfile
import functools
import gc
import math
import sys
import types
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Effect, Resolve, Send
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.sim.checks.invariants import Witness
from kvgossip.sim.checks.ledger import Ledger
from kvgossip.sim.checks.violation import require

START = Now(1000.0, 1_700_000_000_000)
HERE = Address("10.9.0.9", 7481)
"""Where the victim listens."""
FRIEND = Address("10.9.1.1", 7481)
"""Where the honest newcomer listens."""
COUNTED = 16
"""Of so many inputs the steps of one are counted."""
STEPS_MAX = 200_000
TICKS_MAX = 200
"""While the clock stands still."""
HELD_BYTES_MAX = 16 * 2**20
PATIENCE_S = 600.0
"""By the clock of the replicas: within this the newcomer has what the victim has."""
_NOT_STATE = (type, types.ModuleType, types.CodeType, types.BuiltinFunctionType)


class Hearsay(Ledger):
    """Anybody may have written what there is, and members lie about what is deleted."""

    @property
    def is_doubtful(self) -> bool:
        return True

    def check(self, key: str, record: bytes) -> None:
        pass

    def hold(self, name: str, key: str, record: bytes) -> None:
        pass


class Victim:
    """`inputs`: how many it has had; `steps`: of the longest of those that were counted."""

    def __init__(self, config: Config, rng: Random, *, found: bool = False) -> None:
        self.config, self.now, self.inputs, self.steps = config, START, 0, 0
        self.replica = Replica(config, address=HERE, rng=rng, now=START, found=found)
        self._witness = Witness(self.replica, Hearsay())
        self._profile = cProfile.Profile()

    # -- inputs -----------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Address, *, reliable: bool) -> list[Effect]:
        return self.input(
            functools.partial(self.replica.receive, data, source, self.now, reliable=reliable)
        )

    def let_pass(self, seconds: float) -> list[Effect]:
        """The effects of what is due then."""
        self.now = later(self.now, seconds)
        return self.tick() if self.is_due() else []

    def is_due(self) -> bool:
        deadline_s = self.replica.deadline()
        return deadline_s is not None and deadline_s <= self.now.monotonic_s

    def tick(self) -> list[Effect]:
        return self.input(functools.partial(self.replica.tick, self.now))

    def come_to_rest(self) -> list[Effect]:
        """Until nothing is due at this moment."""
        effects: list[Effect] = []
        for _ in range(TICKS_MAX):
            if not self.is_due():
                return effects
            effects += self.tick()
        require(False, f"{TICKS_MAX} ticks, and the next one is due at the same moment")
        return effects

    def input(self, call: Callable[[], list[Effect]]) -> list[Effect]:
        """Any input, with the laws behind it."""
        self.inputs += 1
        effects = call() if self.inputs % COUNTED else self._counted(call)
        self._witness.observe(effects, self.now)
        return effects

    def _counted(self, call: Callable[[], list[Effect]]) -> list[Effect]:
        with self._profile:
            effects = call()
        steps = sum(entry.callcount for entry in self._profile.getstats())
        self._profile.clear()
        self.steps = max(self.steps, steps)
        require(steps <= STEPS_MAX, f"an input took {steps:,} steps")
        return effects

    # -- afterwards -------------------------------------------------------------------------------

    def check_memory(self) -> int:
        """How much it holds beside its data, bytes."""
        held = reach(self.replica, set()) - self.replica.store.record_bytes
        require(held <= HELD_BYTES_MAX, f"{held:,} bytes are held beside the data")
        return held

    def check_newcomer(self, seed: int) -> None:
        """An honest node joins; then both have the same data, and know each other."""
        self._witness.audit()
        friend = Replica(
            replace(self.config, name="friend"), address=FRIEND, rng=Random(seed), now=self.now
        )
        wire = Wire(self, friend)
        wire.perform(FRIEND, friend.join([str(HERE)], self.now))
        deadline_s = self.now.monotonic_s + PATIENCE_S
        while not (
            self.replica.store.digest.root == friend.store.digest.root
            and _knows(self.replica, "friend")
            and _knows(friend, self.config.name)
        ):
            require(
                self.now.monotonic_s < deadline_s,
                "an honest newcomer does not come to the same data",
                len(self.replica.store),
                len(friend.store),
                friend.members(),
            )
            wire.go_on()
        self._witness.audit()


class Wire:
    """Carries frames between the victim and an honest node, and lets the time pass. Whoever else is
    spoken to is not there."""

    def __init__(self, victim: Victim, friend: Replica) -> None:
        self._victim, self._friend = victim, friend
        self._way: deque[tuple[Address, Send]] = deque()

    def perform(self, source: Address, effects: Sequence[Effect]) -> None:
        """What one of them, at `source`, asks for."""
        victim, friend = self._victim, self._friend
        for effect in effects:
            if isinstance(effect, Send) and effect.to in (HERE, FRIEND):
                self._way.append((source, effect))
            elif isinstance(effect, Send) and effect.reliable and source == HERE:
                lost = functools.partial(victim.replica.unreachable, effect.to, victim.now)
                self.perform(source, victim.input(lost))
            elif isinstance(effect, Resolve) and source == FRIEND:
                self.perform(source, friend.resolved(effect.target, [HERE], victim.now))

    def go_on(self) -> None:
        """One frame, or what is due next."""
        victim, friend = self._victim, self._friend
        if self._way:
            source, sent = self._way.popleft()
            if sent.to == HERE:
                effects = victim.receive(sent.data, source, reliable=sent.reliable)
            else:
                effects = friend.receive(sent.data, source, victim.now, reliable=sent.reliable)
            self.perform(sent.to, effects)
            return
        due_s = min(each.deadline() or math.inf for each in (victim.replica, friend))
        seconds = min(max(due_s - victim.now.monotonic_s, 0.001), 1.0)
        self.perform(HERE, victim.let_pass(seconds))
        self.perform(FRIEND, friend.tick(victim.now))


def _knows(replica: Replica, name: str) -> bool:
    return any(member.name == name and member.reachable for member in replica.members())


def later(now: Now, seconds: float) -> Now:
    return Now(now.monotonic_s + seconds, now.wall_ms + math.ceil(1000 * seconds))


def reach(root: object, known: set[int]) -> int:
    """The bytes of all that can be reached from here and is not in `known`, which it comes to."""
    total, waiting = 0, [root]
    while waiting:
        thing: Any = waiting.pop()
        if id(thing) in known or isinstance(thing, _NOT_STATE):
            continue
        known.add(id(thing))
        if isinstance(thing, types.FunctionType):
            # its globals are the module's
            waiting += thing.__closure__ or ()
            continue
        total += sys.getsizeof(thing)
        waiting += gc.get_referents(thing)
    return total
