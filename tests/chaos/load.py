"""Clients under whom everything happens: writers, waiting writers, readers and watchers.

Keys: p/N is only ever put; d/N is put and deleted; w/N is put with ?wait=; t/N has a time to live;
b/N is large. A value is unique, so that every read shows which write it came from.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from urllib.parse import quote

from .agent import Agent
from .http_client import Answer, HttpClient, NoAnswerError
from .record import ACKNOWLEDGED, Record, Write
from .watch import Watch

LARGE_KEYS = 5
DELETES = 0.4
TTLS_S = (1.0, 3.0, 8.0)
OLD_S = 5.0
"""A node that answers 404 for a key that was written longer ago is worth a note."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What is written: on `keys` keys of each kind, a write each `pause_s` on each node."""

    keys: int = 60
    pause_s: float = 0.04
    waits: bool = True
    deletes: bool = True
    ttl: bool = False
    large_bytes: int = 0
    pad_bytes: int = 0

    @property
    def kinds(self) -> list[str]:
        """Each as often as it is to be chosen."""
        ttl, large = ("t" if self.ttl else ""), ("b" if self.large_bytes else "")
        return [*"pp", *("dd" if self.deletes else ""), *ttl, *large]


class Load:
    """One writer, one waiting writer, one reader and one watcher for each agent."""

    def __init__(self, agents: list[Agent], seed: int, mix: Mix | None = None) -> None:
        self.agents, self.mix, self.record = agents, mix or Mix(), Record()
        self.watchers = [Watch(agent, self.record) for agent in agents]
        self._rng, self._number, self._stopping = random.Random(seed), 0, False
        self._seen: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    def start(self) -> None:
        clients: list[Callable[[Agent], Coroutine[None, None, None]]] = [self._write, self._read]
        if self.mix.waits:
            clients.append(self._wait)
        self._tasks = {
            agent.name: [asyncio.create_task(client(agent)) for client in clients]
            for agent in self.agents
        }
        for watch in self.watchers:
            watch.start()

    async def stop(self) -> None:
        """The watchers go on, for the judge. Raises what a client of this file raised."""
        self._stopping = True
        for agent in self.agents:
            await self.spare(agent)

    async def spare(self, agent: Agent) -> None:
        """Nobody writes on this node or reads from it any more."""
        tasks = self._tasks.pop(agent.name, [])
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self.mix.pause_s * self._rng.uniform(least, most))

    # -- writers ----------------------------------------------------------------------------------

    async def _write(self, agent: Agent) -> None:
        client = HttpClient(agent)
        while not self._stopping:
            await self._pause(0.5, 1.5)
            kind = self._rng.choice(self.mix.kinds)
            key = f"{kind}/{self._rng.randrange(LARGE_KEYS if kind == 'b' else self.mix.keys)}"
            value: str | None = self._value(agent, kind)
            if kind == "d" and self._rng.random() < DELETES:
                value = None
            write = Write(key, value, agent.name, agent.life, time.monotonic())
            if kind == "t":
                write.ttl_s = self._rng.choice(TTLS_S)
            await self._send(client, write)

    def _value(self, agent: Agent, kind: str) -> str:
        self._number += 1
        padding = self._rng.randbytes(self.mix.pad_bytes // 2).hex()
        large = "x" * self.mix.large_bytes if kind == "b" else ""
        return f"{agent.name}.{self._number}{padding}{large}"

    async def _send(self, client: HttpClient, write: Write) -> None:
        path = f"/kv/{quote(write.key)}"
        if write.wait:
            path += f"?wait={write.wait}&timeout=2s"
        try:
            if write.value is None:
                answer = await client.ask("DELETE", path)
            else:
                headers = {"KV-TTL": f"{int(write.ttl_s * 1000)}ms"} if write.ttl_s else {}
                answer = await client.ask("PUT", path, write.value.encode(), headers)
        except NoAnswerError:
            self.record.add(write)
        except asyncio.CancelledError:
            self.record.add(write)
            raise
        else:
            self._take(write, answer)

    def _take(self, write: Write, answer: Answer) -> None:
        write.end_s, write.status = time.monotonic(), answer.status
        if answer.status in ACKNOWLEDGED:
            write.version = answer.headers.get("kv-version") or answer.document["version"]
            if write.wait:
                write.holders = tuple(each["name"] for each in answer.document["held_by"])
        if not (write.value is None and answer.status == 404):
            self.record.add(write)
        if answer.status >= 500:
            self.record.note(f"status {answer.status}", f"{write.node}: {answer.text[:200]}")

    # -- writes that wait -------------------------------------------------------------------------

    async def _wait(self, agent: Agent) -> None:
        client = HttpClient(agent)
        while not self._stopping:
            await self._pause(2.0, 6.0)
            key = f"w/{self._rng.randrange(self.mix.keys)}"
            lives = {each.name: each.life for each in self.agents}
            write = Write(key, self._value(agent, "w"), agent.name, agent.life, time.monotonic())
            write.wait = self._rng.choice(("all", "majority", "2"))
            await self._send(client, write)
            if write.status == 200:
                await self._verify(write, lives)

    async def _verify(self, write: Write, lives: dict[str, int]) -> None:
        """Whether those that are said to hold it do."""
        names, nodes = list(write.holders), len(self.agents)
        if write.wait == "majority" and len(names) < nodes // 2 + 1:
            text = f"{write.text}: held by {names} of {nodes} nodes"
            self.record.fault("wait=majority without one", text)
        for agent in self.agents:
            if agent.name in names and agent.name != write.node:
                await self._verify_holder(write, agent, lives[agent.name])

    async def _verify_holder(self, write: Write, agent: Agent, life: int) -> None:
        if not agent.runs or agent.paused or agent.life != life:
            return
        try:
            answer = await agent.get(write.key, timeout=3.0)
        except NoAnswerError:
            return
        if agent.life != life or answer.status not in (200, 404):
            return
        has = answer.headers.get("kv-version", "") if answer.status == 200 else ""
        if has < write.version:
            text = f"{write.text}: {agent.name} is said to hold it, and has {has or 'nothing'}"
            self.record.fault("wait lies", text)
        self.record.note("holders asked")

    # -- readers ----------------------------------------------------------------------------------

    async def _read(self, agent: Agent) -> None:
        """In one life of a node no key goes back, and one that is only put never goes away."""
        client = HttpClient(agent)
        while not self._stopping:
            await self._pause(0.5, 1.5)
            key = f"{self._rng.choice(self.mix.kinds[:4])}/{self._rng.randrange(self.mix.keys)}"
            life, begin_s = agent.life, time.monotonic()
            try:
                answer = await client.ask("GET", f"/kv/{quote(key)}", timeout=5.0)
            except NoAnswerError:
                continue
            if agent.life == life and agent.runs:
                self.record.note(f"read {answer.status}")
                self._judge_read(agent, key, answer, begin_s)

    def _judge_read(self, agent: Agent, key: str, answer: Answer, begin_s: float) -> None:
        seen, where = self._seen[agent.name, agent.life], f"{agent.name} life {agent.life} {key}"
        if answer.status == 200:
            version = answer.headers.get("kv-version", "")
            if version < seen.get(key, ""):
                self.record.fault("read went back", f"{where}: {seen[key]} then {version}")
            seen[key] = version
        elif answer.status == 404 and key.startswith("p/"):
            if key in seen:
                self.record.fault("read went back to nothing", f"{where}: had {seen[key]}")
            elif not answer.stale and (old := self.record.oldest_acknowledged(key, begin_s)):
                age_s = begin_s - old.end_s
                if age_s > OLD_S:
                    self.record.note("false 404", f"{where}: {old.text} {age_s:.1f} s ago")
