"""The nemesis: faults by chance, one after the other, alone or from a set of kinds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random
from typing import Any

from .cluster import Cluster
from .lo_net import LoNet
from .namespace import cut_both
from .probe import all_ready
from .tun_net import TunNet

SETS = {
    "partitions": ("halves", "one_sided", "bridge", "flapping"),
    "pauses": ("pause", "pause", "halves"),
    "kills": ("kill", "kill", "kill_two", "kill_all", "rolling"),
    "everything": (
        *("halves", "one_sided", "bridge", "flapping", "lossy", "no_udp"),
        *("pause", "kill", "kill_two", "kill_in_cut"),
    ),
    "memory-kills": ("kill", "halves", "pause", "lossy"),
    "rolling": ("rolling",),
    "all-at-once": ("kill_all",),
    "weather": ("weather", "weather", "kill"),
}


class Nemesis:
    """`done` counts the kinds of faults. `end` undoes all of them."""

    def __init__(self, cluster: Cluster, net: LoNet | TunNet, rng: Random, kinds: str) -> None:
        self._agents, self._net, self._rng = cluster.agents, net, rng
        self._kinds = SETS[kinds]
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """One fault after the other; the last one ends later than that."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            kind = self._rng.choice(self._kinds)
            self.done[kind] += 1
            await getattr(self, f"_{kind}")()
            await self._sleep(0.5, 3)

    async def end(self) -> None:
        self._net.heal()
        for agent in self._agents:
            if agent.runs and agent.paused:
                agent.resume()
            if not agent.runs:
                agent.start()
        await all_ready(self._agents, 90)

    async def _sleep(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._rng.uniform(least_s, most_s))

    def _shuffled(self) -> list[int]:
        numbers = [agent.number for agent in self._agents]
        self._rng.shuffle(numbers)
        return numbers

    def _cut_between(self, some: list[int], others: list[int]) -> None:
        for one in some:
            for other in others:
                cut_both(self._net, one, other)

    # -- partitions -------------------------------------------------------------------------------

    async def _halves(self) -> None:
        numbers = self._shuffled()
        middle = self._rng.randrange(1, len(numbers))
        self._cut_between(numbers[:middle], numbers[middle:])
        await self._sleep(2, 20)
        self._net.heal()

    async def _one_sided(self) -> None:
        """One is not heard by the others, and hears them."""
        one, *others = self._shuffled()
        for other in others:
            self._net.cut(one, other)
        await self._sleep(2, 15)
        self._net.heal()

    async def _bridge(self) -> None:
        """Two halves that only one node reaches both of."""
        _, *rest = self._shuffled()
        self._cut_between(rest[: len(rest) // 2], rest[len(rest) // 2 :])
        await self._sleep(2, 15)
        self._net.heal()

    async def _flapping(self) -> None:
        one, *others = self._shuffled()
        for _ in range(self._rng.randrange(4, 10)):
            self._cut_between([one], others)
            await self._sleep(0.5, 2)
            self._net.heal()
            await self._sleep(0.5, 2)

    # -- packets ----------------------------------------------------------------------------------

    async def _lossy(self) -> None:
        self._net.loss(self._rng.choice((0.05, 0.2, 0.4)))
        await self._sleep(3, 12)
        self._net.heal()

    async def _no_udp(self) -> None:
        assert isinstance(self._net, LoNet)
        self._net.drop_udp()
        await self._sleep(3, 12)
        self._net.heal()

    async def _weather(self) -> None:
        """Delay, jitter, doubles, loss and flipped bits together."""
        assert isinstance(self._net, TunNet)
        choice = self._rng.choice
        faults: dict[str, Any] = {"double": 0.1, "flip": 0.01, "loss": choice((0.0, 0.05))}
        faults |= {"delay_s": choice((0.0, 0.02, 0.2)), "jitter_s": choice((0.01, 0.1, 0.5))}
        self._net.weather(**faults)
        await self._sleep(5, 15)
        self._net.heal()

    # -- processes --------------------------------------------------------------------------------

    async def _pause(self) -> None:
        agent = self._rng.choice([agent for agent in self._agents if agent.runs])
        agent.pause()
        await asyncio.sleep(self._rng.choice((1, 5, 10, 20)))
        agent.resume()

    async def _kill(self) -> None:
        agent = self._rng.choice(self._agents)
        agent.kill()
        await asyncio.sleep(self._rng.choice((0.0, 0.5, 3, 12)))
        agent.start()
        if not agent.data:  # one at a time: else nobody promises anything
            await all_ready([agent])

    async def _kill_two(self) -> None:
        chosen = self._rng.sample(self._agents, 2)
        for agent in chosen:
            agent.kill()
        await asyncio.sleep(self._rng.choice((0.0, 1, 5)))
        for agent in chosen:
            agent.start()

    async def _kill_all(self) -> None:
        for agent in self._agents:
            agent.kill()
        for agent in self._agents:
            agent.start()
        await all_ready(self._agents)

    async def _rolling(self) -> None:
        for agent in self._agents:
            await agent.stop()
            agent.start()
            await all_ready([agent])

    async def _kill_in_cut(self) -> None:
        """A minority is cut off, one of it is killed and starts again there."""
        numbers = self._shuffled()
        few = max(1, (len(numbers) - 1) // 2)
        self._cut_between(numbers[:few], numbers[few:])
        await self._sleep(1, 8)
        victim = next(agent for agent in self._agents if agent.number == numbers[0])
        victim.kill()
        await self._sleep(0, 2)
        victim.start()
        await self._sleep(3, 10)
        self._net.heal()
