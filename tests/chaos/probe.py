"""Probes: what becomes true after a while, or never."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from .http_client import NoAnswerError

if TYPE_CHECKING:
    from .agent import Agent

PATIENCE_S = 60.0
"""Far beyond what any of it takes on a busy machine: only what never comes is given up."""


class NeverError(Exception):
    """It did not become true in time."""


async def eventually(
    what: str,
    probe: Callable[[], Awaitable[object]],
    patience_s: float = PATIENCE_S,
    pause_s: float = 0.1,
) -> float:
    """Seconds until the probe's answer was truthy. Raises NeverError."""
    begin_s, last = time.monotonic(), None
    while time.monotonic() - begin_s < patience_s:
        try:
            last = await probe()
            if last:
                return round(time.monotonic() - begin_s, 2)
        except (NoAnswerError, KeyError, ValueError) as error:
            last = error
        await asyncio.sleep(pause_s)
    raise NeverError(f"not within {patience_s:.0f} s: {what} (last: {last})")


async def all_ready(agents: Iterable[Agent], patience_s: float = PATIENCE_S) -> float:
    async def probe() -> bool:
        return all([await agent.ready() for agent in agents])

    return await eventually("all are ready", probe, patience_s)


async def all_equal(agents: Iterable[Agent], patience_s: float = 90.0) -> float:
    """Seconds until the roots of all digests were equal."""

    async def probe() -> bool:
        return len({(await agent.status())["root"] for agent in agents}) == 1

    return await eventually("all roots are equal", probe, patience_s, 0.3)


async def heals(agents: Iterable[Agent], patience_s: float = 90.0) -> float | None:
    """Seconds as of `all_equal`; None where it never comes."""
    try:
        return await all_equal(agents, patience_s)
    except NeverError:
        return None


async def seen_by(agent: Agent, key: str, patience_s: float = 10.0) -> bool:
    async def probe() -> bool:
        return (await agent.get(key)).status == 200

    try:
        await eventually(f"{key} on {agent.name}", probe, patience_s)
    except NeverError:
        return False
    return True
