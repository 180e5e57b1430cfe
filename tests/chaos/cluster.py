"""Clusters of agents, which are taken down in any case; their logs stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .agent import GOSSIP_PORT, WAN_PORT, Agent
from .lo_net import LoNet
from .machine import new_folder
from .namespace import Net
from .probe import PATIENCE_S, all_ready
from .tun_net import TunNet

BUGS = ("Traceback", "a bug of kvgossip", "never retrieved")
KEY = "11" * 32
STARTED_S = 5.0
"""Of processor time, at most, until a Python process serves, on a machine that has other work."""


class Cluster:
    def __init__(self, net: Net, folder: Path) -> None:
        self.net, self.folder = net, folder
        self.agents: list[Agent] = []

    def add(self, number: int, **how: Any) -> Agent:
        """An agent that is not started. `how`: see Agent."""
        agent = Agent(self.net, number, self.folder, **how)
        self.agents.append(agent)
        return agent

    def add_all(self, count: int, **how: Any) -> list[Agent]:
        """Agents that all join each other."""
        for number in range(1, count + 1):
            self.add(number, join=self.addresses(count), **how)
        return self.agents

    async def start_all(self) -> None:
        """Returns once all are ready."""
        for agent in self.agents:
            agent.start()
        await all_ready(self.agents, PATIENCE_S + STARTED_S * len(self.agents))

    def address(self, number: int) -> str:
        return f"{self.net.host(number)}:{GOSSIP_PORT}"

    def wan_address(self, number: int) -> str:
        return f"{self.net.host(number)}:{WAN_PORT}"

    def addresses(self, count: int) -> list[str]:
        return [self.address(number) for number in range(1, count + 1)]

    def keyring(self, name: str = "keys") -> list[str]:
        """The arguments of a file with one key."""
        file = self.folder / name
        file.write_text(f"{KEY}\n")
        file.chmod(0o600)
        return ["--keyring", str(file)]

    def bugs(self) -> list[str]:
        """Lines of the logs that no log should have."""
        return [
            f"{agent.name}: {line[:300]}"
            for agent in self.agents
            for line in agent.log_lines(*BUGS)
        ][:6]


@asynccontextmanager
async def cluster(net: Net, name: str, count: int = 0, **how: Any) -> AsyncIterator[Cluster]:
    """`count` agents that all join each other and are ready."""
    made = Cluster(net, new_folder(name))
    try:
        if count:
            made.add_all(count, **how)
            await made.start_all()
        yield made
    finally:
        for agent in made.agents:
            agent.kill()


@asynccontextmanager
async def lo_cluster(
    name: str, count: int = 0, *, addresses: int = 0, **how: Any
) -> AsyncIterator[tuple[Cluster, LoNet]]:
    """On a LoNet, which has room for `addresses` agents."""
    with LoNet(addresses or count) as net:
        async with cluster(net, name, count, **how) as made:
            yield made, net


@asynccontextmanager
async def tun_cluster(
    name: str, count: int = 0, *, addresses: int = 0, seed: int = 1, **how: Any
) -> AsyncIterator[tuple[Cluster, TunNet]]:
    with TunNet(addresses or count, seed) as net:
        async with cluster(net, name, count, **how) as made:
            yield made, net
