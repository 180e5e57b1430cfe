"""Types: counters, sets and siblings that both sides of a cut write to"""

from __future__ import annotations

import asyncio

from ..agent import Agent
from ..cluster import lo_cluster
from ..http_client import Answer
from ..namespace import cut_off
from ..probe import all_equal, all_ready
from ..scenario import Result, Violations, scenario

COUNTER, SET, SIBLINGS = "types/counter", "types/set", "types/siblings"


class Side:
    """A client of one agent, which must acknowledge whatever it writes."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.elements: set[str] = set()
        self.value, self.refused = "", list[str]()

    async def edit(self, key: str, **document: object) -> None:
        self._acknowledged(await self.agent.post(f"/kv/{key}", document))

    async def count(self, times: int, pause_s: float) -> None:
        for _ in range(times):
            await self.edit(COUNTER, add=1)
            await asyncio.sleep(pause_s)

    async def collect(self, times: int, pause_s: float) -> None:
        """Of four edits three add an element, and one removes the last of them."""
        for number in range(times):
            element = f"{self.agent.name}-{number - number % 4 // 3}"
            if number % 4 == 3:
                await self.edit(SET, remove=[element])
                self.elements.discard(element)
            else:
                await self.edit(SET, add=[element])
                self.elements.add(element)
            await asyncio.sleep(pause_s)

    async def supersede(self, times: int, pause_s: float) -> None:
        """Each write has seen the one before it."""
        for number in range(times):
            self.value = f"{self.agent.name}-{number}"
            read = await self.agent.get(SIBLINGS)
            context = read.headers.get("kv-context")
            self._acknowledged(
                await self.agent.ask(
                    "PUT",
                    f"/kv/{SIBLINGS}?type=siblings",
                    self.value.encode(),
                    {"KV-Context": context} if context else {},
                )
            )
            await asyncio.sleep(pause_s)

    def _acknowledged(self, answer: Answer) -> None:
        if answer.status != 200:
            self.refused.append(f"{self.agent.name} answers {answer.status}: {answer.text[:120]}")


@scenario()
async def types_cut(cut_s: float = 10.0, edits: int = 200, rounds: int = 50) -> Result:
    """Two sides that are cut from each other add to one counter, edit one set, and write siblings.

    At the end the counter is the sum, the set has what was added and nobody removed, and each side
    has left one sibling: on every node, and once more when all have restarted. edits: of counter
    and set, on each side. rounds: writes of siblings.
    """
    async with lo_cluster("types-cut", 3) as (made, net):
        one, other = Side(made.agents[0]), Side(made.agents[2])
        await one.edit(SET, add=["kept", "gone"])
        await all_equal(made.agents)
        cut_off(net, 1, 3)
        # of what both sides do to one element at the same time an addition stays
        await asyncio.gather(one.edit(SET, remove=["kept"]), other.edit(SET, add=["kept"]))
        await asyncio.gather(one.edit(SET, remove=["gone"]), other.edit(SET, remove=["gone"]))
        await asyncio.gather(
            *(
                work
                for side in (one, other)
                for work in (
                    side.count(edits, cut_s / edits),
                    side.collect(edits, cut_s / edits),
                    side.supersede(rounds, cut_s / rounds),
                )
            )
        )
        net.heal()
        healed_s = await all_equal(made.agents)
        violations = Violations([*one.refused[:3], *other.refused[:3]])
        for when in ("healed", "all nodes restarted"):
            for agent in made.agents:
                await _check(agent, when, 2 * edits, (one, other), violations)
            if when == "healed":
                for agent in made.agents:
                    await agent.stop()
                for agent in made.agents:
                    agent.start()
                await all_ready(made.agents)
        return violations.result(
            healed_s=healed_s, counter=2 * edits, elements=len(one.elements | other.elements) + 1
        )


async def _check(
    agent: Agent, when: str, total: int, sides: tuple[Side, Side], violations: Violations
) -> None:
    counter, elements, siblings = [
        (await agent.get(key)).document for key in (COUNTER, SET, SIBLINGS)
    ]
    violations.unless(counter == total, f"{when}, {agent.name} counts {counter} of {total}")
    wanted = {"kept", *sides[0].elements, *sides[1].elements}
    differ = sorted(wanted ^ set(elements))
    violations.unless(not differ, f"{when}, the set of {agent.name} is wrong in {differ[:5]}")
    values = sorted(each["value"] for each in siblings["siblings"])
    text = f"{when}, the siblings of {agent.name} are {values}"
    violations.unless(values == sorted(side.value for side in sides), text)
