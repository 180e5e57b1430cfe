"""The example of piggyback: it runs as it stands, and its middleware carries news alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession, web

from kvgossip.runtime.node import Node
from tests.runtime.test_node import TIMEOUT_S, cluster, statistic
from tests.runtime.test_piggyback import SEALED, cut_off

EXAMPLE = Path(__file__).parents[2] / "examples" / "piggyback.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("piggyback_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def serving(example: Any, node: Node) -> AsyncIterator[str]:
    """A service beside this node, with the middleware of the example; gives its address."""

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=node.get(request.query["key"], b"nothing"))

    app = web.Application(middlewares=[example.carrying_answers(node)])
    app.router.add_get("/", get)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def test_it_runs_and_a_request_brings_the_write_that_it_depends_on() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("10\n12\n", "", 0)


async def test_its_middleware_carries_news_both_ways_where_gossip_is_cut(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(2, **SEALED) as (one, two):
        cut_off(monkeypatch, one, two)
        async with (
            serving(example, two) as url,
            ClientSession(middlewares=[example.carrying_requests(one)]) as session,
        ):
            await one.put("price", b"10")
            await two.put("stock", b"3")
            async with session.get(url, params={"key": "price"}) as response:
                assert await response.read() == b"10"
            assert one.get("stock") == b"3"


@pytest.mark.parametrize("header", ["no base64!", "AAAA", "ü", "a" * 5000])
async def test_a_header_of_somebody_else_costs_the_request_nothing(
    example: Any, header: str
) -> None:
    async with cluster(1, **SEALED) as (node,), serving(example, node) as url:
        async with (
            ClientSession() as session,
            session.get(url, params={"key": "a"}, headers={example.HEADER: header}) as response,
        ):
            assert (response.status, await response.read()) == (200, b"nothing")
        reasons = ("bad_magic", "other_cluster", "unknown_format")
        assert sum(statistic(node, f"piggybacks_dropped.{reason}") for reason in reasons) == 1
