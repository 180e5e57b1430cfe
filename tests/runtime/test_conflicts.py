"""Two real nodes that are cut from each other, and write the same keys."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from kvgossip.config import Address, Config
from kvgossip.runtime.node import Node

TIMEOUT_S = 30.0
KEYS = [f"c/{number}" for number in range(20)]


def node_of(name: str, *join: str) -> Node:
    return Node(
        Config(
            name=name,
            gossip=Address("127.0.0.1", 0),
            join=join,
            founding_s=0.0,
            gossip_interval_s=0.02,
            push_pull_interval_s=0.5,
            probe_interval_s=0.2,
            probe_timeout_s=0.1,
            suspicion_multiplier=100.0,
        )
    )


async def alike(one: Node, other: Node) -> None:
    while one.root != other.root:  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(0.02)


async def test_of_writes_on_both_sides_of_a_cut_the_node_that_loses_one_tells_it_once() -> None:
    async with asyncio.timeout(TIMEOUT_S), AsyncExitStack() as stack:
        one = await stack.enter_async_context(node_of("one"))
        two = await stack.enter_async_context(node_of("two", str(one.address)))
        for key in KEYS:
            await one.put(key, b"common")
        await alike(one, two)
        one.block("two")
        two.block("one")
        for node in (one, two):
            for key in KEYS:
                await node.put(key, b"first of " + node.name.encode())
                await node.put(key, b"last of " + node.name.encode())
        one.unblock("two")
        two.unblock("one")
        await one.join(str(two.address))
        await alike(one, two)
        for node in (one, two):
            seen = Counter(conflict.key for conflict in node.conflicts())
            mine = b"last of " + node.name.encode()
            lost = {key for key in KEYS if node[key] != mine}
            assert lost <= set(seen)
            assert set(seen.values()) <= {1}
            assert node.conflict_counts["c"] == seen.total()
            for conflict in node.conflicts():
                assert conflict.lost.value is not None
                assert conflict.lost.value.startswith(b"last of ")
                values = [each.entry.value for each in node.history(conflict.key)]
                assert conflict.lost.value in values
        # what was seen is overwritten by anybody, and nothing is lost by that
        before = [node.conflict_counts["c"] for node in (one, two)]
        for key in KEYS:
            await two.put(key, b"again")
        await alike(one, two)
        assert [node.conflict_counts["c"] for node in (one, two)] == before
