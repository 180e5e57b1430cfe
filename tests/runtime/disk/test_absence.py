"""A node that was away for longer than its cluster keeps death certificates: real processes, disks
and sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from benchmarks.kill import Victim
from kvgossip.client.failures import RefusedError
from tests.asking import AsyncClient

TIMEOUT_S = 60.0


@asynccontextmanager
async def agents(folder: Path, **parameters: object) -> AsyncIterator[list[Victim]]:
    """Three settled nodes of one cluster."""
    victims = [Victim(name, folder, **parameters) for name in ("n1", "n2", "n3")]
    try:
        for victim in victims:
            await victim.start(*(other.gossip for other in victims[:1] if other is not victim))
        for victim in victims:
            await victim.settled()
        yield victims
    finally:
        await asyncio.gather(*(victim.stop() for victim in victims))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what agents tell only when they are asked."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await holds():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.05)


async def value(client: AsyncClient, key: str) -> bytes | None:
    try:
        return bytes((await client.get(key)).body)
    except RefusedError as error:
        if error.status != 404:
            raise
        return None


async def until_value(client: AsyncClient, key: str, wanted: bytes | None) -> None:
    async def has() -> bool:
        return await value(client, key) == wanted

    await until(has)


async def has_collected(client: AsyncClient) -> bool:
    """No certificate is there any more, and the one key that was kept."""
    told = await client.document("/status")
    return bool(
        (told["statistics"]["certificates_waiting"], told["statistics"]["entries"], told["keys"])
        == (0, 1, 1)
    )


async def is_forgotten(client: AsyncClient, name: str) -> bool:
    return name not in [member["name"] for member in (await client.document("/members"))["members"]]


async def has_been_pruned(client: AsyncClient, name: str) -> bool:
    """An operator says that it will not come back: taken only once it is believed dead."""
    try:
        await client.force_leave(name, prune=True)
    except RefusedError as error:
        return error.status == 404
    return True


async def has_quarantined(client: AsyncClient) -> bool:
    return bool((await client.quarantine())["values"])


@pytest.mark.parametrize("by", ["its operator", "time"])
async def test_lesson_01_what_was_deleted_while_a_node_was_away_and_forgotten_stays_deleted_and_its_quarantine_lists_it(
    tmp_path: Path, by: str
) -> None:
    parameters = {"forget_after_s": 3} if by == "time" else {}
    async with agents(tmp_path, **parameters) as (first, second, away), AsyncExitStack() as stack:
        one, two, three = [
            await stack.enter_async_context(AsyncClient(f"http://{each.http}"))
            for each in (first, second, away)
        ]
        # acknowledged by the node that will be away: so they are on its disk
        await three.put("deleted", b"old")
        await three.put("kept", b"new")
        for client in (one, two):
            await until_value(client, "deleted", b"old")
            await until_value(client, "kept", b"new")
        await away.kill()

        await one.delete("deleted")
        await until_value(two, "deleted", None)
        if by == "its operator":
            await until(partial(has_been_pruned, one, "n3"))
        for client in (one, two):
            await until(partial(is_forgotten, client, "n3"))
            await until(partial(has_collected, client))

        await away.start(first.gossip)
        await away.settled()
        async with AsyncClient(f"http://{away.http}") as three:
            await until_value(three, "deleted", None)
            # what was taken out is told at once, and listed from the disk
            await until(partial(has_quarantined, three))
            (kept,) = (await three.quarantine())["values"]
            assert kept["key"] == "deleted"
            assert (await three.quarantined(kept["number"])).body == b"old"
            await three.put("after", b"1")
            for client in (one, two, three):
                await until_value(client, "after", b"1")
                assert (await value(client, "deleted"), await value(client, "kept")) == (
                    None,
                    b"new",
                )
            assert [(await client.quarantine())["values"] for client in (one, two)] == [[], []]
