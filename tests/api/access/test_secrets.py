"""The seed by which a cluster places its keys is a secret of its members: no face of a node shows
it."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from pathlib import Path

import pytest

from kvgossip.api.server import FAMILIES
from kvgossip.errors import JoinRefusedError
from kvgossip.runtime.node import Node
from tests.api.serving import Serve, Served

ROUTES = [route for family in FAMILIES for route in family.ROUTES if route.path != "/leave"]
QUERIES = ("", "?recurse", "?keys", "?raw", "?prefix=", "?poll&timeout=0&since=0", "?of=n2")
BODIES = (None, b"{}", b'{"names": ["n2"]}')


def forms_of(seed: int) -> list[bytes]:
    """The ways in which somebody may write it."""
    raw = [seed.to_bytes(8, "big"), seed.to_bytes(8, "little")]
    hexadecimal = [f"{seed:x}", f"{seed:X}", *(each.hex() for each in raw)]
    return [
        *raw,
        *(b64encode(each).rstrip(b"=") for each in raw),
        *(each.encode() for each in (str(seed), *hexadecimal)),
    ]


def seed_of(node: Node) -> int:
    return node._running.replica.cluster_id.value.seed


async def walk(served: Served) -> bytes:
    """All that it answers, whatever is asked of it."""
    said = b""
    for route in ROUTES:
        for query in QUERIES:
            for body in BODIES if route.method == "POST" else (None,):
                method = "HEAD" if route.path == "/watch" and "poll" not in query else route.method
                target = route.path.replace("{key}", "a") + query
                held = b"value" if method == "PUT" else body
                reply = await served.call(method, target, held)
                said += reply.body + repr(reply.headers).encode()
    return said


async def test_no_answer_and_no_line_of_the_log_holds_the_seed_or_what_it_follows_from(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one = await serve("n1", data_dir=str(tmp_path / "n1"))
    here = str(one.node.address)
    two = await serve("n2", join=(here,))
    stranger = await serve("n3")
    for served in (one, stranger):
        await served.node.put("a", b"value")
        # the walk deletes the other one, and an empty store has the root 0, which is anywhere
        await served.node.put("kept", b"value")
    async with asyncio.timeout(30):
        while seed_of(two.node) != seed_of(one.node) or not two.node.settled:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    with pytest.raises(JoinRefusedError, match="never merge by themselves"):
        await stranger.node.join(here)
    seeds = [seed_of(served.node) for served in (one, stranger)]
    assert len(dict.fromkeys(seeds)) == 2
    said = b"".join([await walk(served) for served in (one, two, stranger)])
    said += caplog.text.encode()
    for served, seed in ((one, seeds[0]), (stranger, seeds[1])):
        number = str(served.node._running.replica.cluster_id.value).encode()
        assert number in said, "what is shown of an id is its number"
        assert not [form for form in forms_of(seed) if form in said]
        root = served.node._running.replica.store.digest.root
        assert not [form for form in forms_of(root) if form in said]
