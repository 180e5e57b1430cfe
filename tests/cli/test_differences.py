"""`kvgossip differences` and `kvgossip exchange`, on two nodes that do not exchange by themselves."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.api.routes.test_differences import APART, write_unheard
from tests.api.routes.test_overview import cluster_of
from tests.api.serving import Serve
from tests.test_config import command


async def test_what_differs_is_listed_either_value_is_written_for_all_and_an_exchange_repairs(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = await cluster_of(serve, "one", "two", **APART)
    host, port = one.server.address
    url = ("--url", f"http://{host}:{port}")

    async def run(*words: str) -> str:
        assert await asyncio.to_thread(command, *words, *url) == 0
        return capsys.readouterr().out

    assert (await run("differences", "two")).endswith("0 keys differ\n")
    write_unheard(one.node, "a/mine", b"of one")
    write_unheard(two.node, "a/theirs", b"of two")
    write_unheard(two.node, "a/gone", b"of two")
    write_unheard(two.node, "a/gone", None)
    write_unheard(two.node, "b", b"of two")
    table = await run("differences", "two", "a/")
    gone, mine, theirs = table.splitlines()[2:5]
    assert gone.split()[:3] == ["a/gone", "nothing", "deleted"]
    assert (mine.split()[:3], mine.split()[-2:]) == (["a/mine", "6", "bytes"], ["nothing", "one"])
    assert theirs.split()[:4] == ["a/theirs", "nothing", "6", "bytes"]
    assert table.endswith("3 keys differ\n")
    assert (await run("differences", "two", "--limit", "1")).endswith("1 of 4 keys that differ\n")
    document = json.loads(await run("differences", "two", "-o", "json"))
    assert [each["key"] for each in document["differences"]][3:] == ["b"]

    assert "is stored as two has it" in await run("differences", "two", "--take", "b")
    assert one.node["b"] == b"of two"
    version = one.node.entry("a/mine")
    assert "is stored again, version" in await run("differences", "two", "--keep", "a/mine")
    assert version is not None
    again = one.node.entry("a/mine")
    assert again is not None
    assert (again.value, again.version > version.version) == (version.value, True)
    assert "entries were brought" in await run("exchange", "two")
    assert one.node.root == two.node.root
    assert await asyncio.to_thread(command, "exchange", "three", *url) == 1
    assert "no member is named 'three'" in capsys.readouterr().err
    both = ("differences", "two", "--keep", "b", "--take", "b", *url)
    assert await asyncio.to_thread(command, *both) == 2
    assert "give one of them" in capsys.readouterr().err
