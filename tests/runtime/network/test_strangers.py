"""A stranger's links at a real node with a keyring: they get little, and members' links stay."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from kvgossip.protocol.wire.frame import Framing
from kvgossip.runtime.network.tcp_link import EARLY_FRAME_BYTES_MAX, LENGTH_BYTES
from kvgossip.runtime.node import Node
from tests.runtime.network.test_transport import framed, raw_link
from tests.runtime.test_node import TIMEOUT_S, configured, until, until_together, until_value

KEY = "ab" * 32


def counted(node: Node, name: str) -> int:
    return int(node.status()["transport"].get(name, 0))


async def test_a_sealed_node_gives_who_lacks_the_key_short_frames_and_few_links(
    tmp_path: Path,
) -> None:
    keyrings = [tmp_path / "keys1", tmp_path / "keys2"]
    for keyring in keyrings:
        keyring.write_text(f"{KEY}\n")
        keyring.chmod(0o600)
    async with asyncio.timeout(TIMEOUT_S), AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            Node(configured("n1", keyring=str(keyrings[0]), source_links_max=20))
        )
        two = await stack.enter_async_context(Node(configured("n2", one, keyring=str(keyrings[1]))))
        await until_together(one, two)
        # a frame of this very cluster and pool, but without the key
        clear = Framing("default", "lan:dc1", 2**20).frame([])
        reader, writer = await stack.enter_async_context(raw_link(one.address))
        writer.write(framed(clear) + (EARLY_FRAME_BYTES_MAX + 1).to_bytes(LENGTH_BYTES, "big"))
        await reader.read()
        await until(lambda: counted(one, "links_refused.bad_length") == 1)
        for _ in range(100):
            _, writer = await stack.enter_async_context(raw_link(one.address))
            writer.write((EARLY_FRAME_BYTES_MAX).to_bytes(LENGTH_BYTES, "big") + bytes(1000))
        await until(lambda: counted(one, "links_refused.source_links") > 0)
        assert counted(one, "links_incoming") <= 20
        assert counted(one, "link_bytes_unfinished") <= 20 * EARLY_FRAME_BYTES_MAX
        # the member's link was not pushed out, and takes a value that is longer than a stranger's
        await two.put("large", bytes(4 * EARLY_FRAME_BYTES_MAX))
        await until_value(one, "large", bytes(4 * EARLY_FRAME_BYTES_MAX))
        assert counted(two, "links_broken") == 0
