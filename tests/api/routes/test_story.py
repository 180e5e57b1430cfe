"""/story and `kvgossip story`: real nodes keep the story of a key where they are asked to, and one
answers for all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema_rs
import pytest

from kvgossip.api.server import DESCRIPTION
from kvgossip.protocol.wire.story_messages import AskStory
from tests.api.event_stream import TIMEOUT_S
from tests.api.routes.test_overview import by_name, cluster_of
from tests.api.serving import Serve, Served
from tests.test_config import command


async def asked(server: Served, target: str, schema: str, body: bytes | None = None) -> Any:
    reply = await server.call("GET" if body is None else "POST", target, body)
    assert reply.status == 200, reply
    described = {
        "$ref": f"#/components/schemas/{schema}",
        "components": DESCRIPTION["components"],
    }
    jsonschema_rs.validate(described, reply.json)
    return reply.json


async def test_one_node_tells_the_story_of_all_and_names_who_is_silent(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = await cluster_of(serve, "one", "two", "three")
    host, port = one.server.address
    url = ("--url", f"http://{host}:{port}")

    async def run(*words: str, code: int = 0) -> str:
        assert await asyncio.to_thread(command, "story", *words, *url) == code
        output = capsys.readouterr()
        return output.out + output.err

    assert "no story of this key is kept by one, three, two" in await run("a/k", code=1)
    assert "a/ " in await run("--keep", "a/", "--for", "5m")
    # as a node of a release before does
    three.node._running.replica.pools.lan.dispatch._handlers[AskStory] = lambda *_: None
    await one.node.put("a/k", b"v")
    await one.node.put("b/k", b"v")
    async with asyncio.timeout(TIMEOUT_S):
        while "a/k" not in two.node or "a/k" not in three.node:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    written = one.node.entry("a/k")
    assert written is not None

    told = await asked(one, "/story/a/k?everywhere", "StoryReport")
    members = by_name(told)
    assert (told["asked"], told["complete"], list(members)) == (
        "one",
        False,
        ["one", "three", "two"],
    )
    (first,), (second,) = (members[name]["story"]["steps"] for name in ("one", "two"))
    assert (first["what"], first["by"], first["peer"]) == ("write", "one", None)
    assert second["what"] in ("rumor", "exchange")
    assert (second["version"], second["pool"]) == (str(written.version), "lan")
    assert members["two"]["story"]["holds"] == str(written.version)
    assert members["three"]["story"] is None
    assert "keeps no stories" in members["three"]["silent"]
    # this node's part, and a key of which nothing is kept
    alone = await asked(one, "/story/a/k", "StoryReport")
    assert (list(by_name(alone)), alone["complete"]) == (["one"], True)
    other = by_name(await asked(two, "/story/b/k?everywhere=false", "StoryReport"))["two"]["story"]
    assert (other["since_ms"], other["steps"], other["holds"] is None) == (None, [], False)

    table = await run("a/k")
    head, _, *rows = table.splitlines()
    assert head.split() == ["time", "node", "clock", "what", "from", "version"]
    assert {row.split()[1] for row in rows[:2]} == {"one", "two"}
    assert all(len(line) <= 80 for line in [head, *rows[:2]])
    assert f"v1  {written.version}" in table
    assert "it has v1 now" in table
    assert "three: its release" in table
    assert json.loads(await run("a/k", "-o", "json"))["key"] == "a/k"
    assert "keeps no stories" in await run()
    ended = await asked(one, "/story", "KeepingReport", b'{"prefix": "", "for_s": 0}')
    assert [each["keeps"] for each in ended["members"]] == [None] * 3
    assert (await asked(two, "/story", "KeepingReport"))["members"][0]["keeps"] is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"prefix": "a", "share": 0}', b'{"prefix": "a", "for_s": 86401}', b'{"x": 1}'],
)
async def test_a_bad_order_is_refused(serve: Serve, body: bytes) -> None:
    served = await serve()
    reply = await served.call("POST", "/story", body)
    assert (reply.status, "prefix" in reply.json["hint"]) == (400, True)
    assert not served.node._running.replica.story.on


def test_a_bad_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("k", "--off"),
        ("--keep", "a", "--off"),
        ("--keep", "a", "--for", "25h"),
        ("--keep", "a", "--share", "0"),
        ("--keep", "a", "--for", "0"),
    ):
        assert command("story", *words) == 2, words
        assert capsys.readouterr().err
