"""Riding: the applications of two hosts exchange messages, on which news rides (piggyback.py).

The policy: each node's application sends messages at a rate, each to another host of all, each with
as much room for news. They go by ways of their own, which no cut and no weather of the gossip
concerns; but the host may lose a message, send it again, and take its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.now import Now
from kvgossip.sim.driver import Driver
from kvgossip.sim.host import Host, Life
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event

ROOM_BYTES = 1000
LOSS, DUPLICATE = 0.1, 0.1
DELAY_S = (0.001, 0.2)


class Riding:
    """`rate`: messages a second of each node; 0: there are none."""

    def __init__(
        self,
        hosts: Sequence[Host],
        driver: Driver,
        timeline: Timeline,
        rate: float,
        rng: Random,
    ) -> None:
        self._hosts, self._driver, self._timeline = hosts, driver, timeline
        self._rate, self._rng = rate * len(hosts), rng
        #: How many messages had something on them.
        self.rides = 0

    def begin(self) -> None:
        """Until the end of the run."""
        if self._rate and len(self._hosts) > 1:
            self._timeline.after(self._rng.expovariate(self._rate), self._send)

    def _send(self) -> None:
        sender, receiver = self._rng.sample(self._hosts, 2)
        life = sender.life
        if life is not None:
            self._driver.turn(life, Event.RIDE, receiver.name.encode(), self._load, life, receiver)
        self.begin()

    def _load(self, life: Life, receiver: Host, now: Now) -> list[Effect]:
        data = life.replica.piggyback(ROOM_BYTES, now)
        if data:
            self.rides += 1
            draw = self._rng.random
            copies = 0 if draw() < LOSS else 2 if draw() < DUPLICATE else 1
            for _ in range(copies):
                self._timeline.after(self._rng.uniform(*DELAY_S), self._arrive, receiver, data)
        return []

    def _arrive(self, receiver: Host, data: bytes) -> None:
        life = receiver.life
        if life is not None:
            self._driver.turn(life, Event.ABSORB, data, life.replica.absorb, data)
