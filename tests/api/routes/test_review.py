"""/doctor/config and `kvgossip doctor --config`: real nodes say how they are set up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema_rs
import pytest

from kvgossip.api.server import DESCRIPTION
from tests.api.routes.test_overview import by_name, cluster_of
from tests.api.serving import Serve
from tests.test_config import command


async def test_differences_are_findings_of_the_route_and_of_the_command(
    serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, _ = await cluster_of(serve, "one", "two", history_versions=5)
    reply = await one.call("POST", "/doctor/config", b"{}")
    described = {
        "$ref": "#/components/schemas/ReviewReport",
        "components": DESCRIPTION["components"],
    }
    jsonschema_rs.validate(described, reply.json)
    assert (reply.status, reply.json["alike"], reply.json["findings"]) == (200, True, [])
    members = by_name(reply.json)
    assert [each["answered"] for each in members.values()] == [True, True]
    assert members["two"]["parameters"] == members["one"]["parameters"]
    assert members["two"]["parameters"]["history_versions"] == "5"
    assert members["two"]["files_max"] == members["one"]["files_max"]
    for body, status in (
        (b"", 400),
        (b'{"ignore": ["history_version"]}', 400),
        (b'{"parameters": {"history_versions": 5}}', 400),
        (b'{"parameters": {"history_versions": "6"}, "ignore": ["history_versions"]}', 200),
    ):
        reply = await one.call("POST", "/doctor/config", body)
        assert reply.status == status
    assert reply.json["alike"]

    host, port = one.server.address
    words = ("doctor", "--config", "--url", f"http://{host}:{port}")

    async def run(*more: str) -> tuple[int, str]:
        code = await asyncio.to_thread(command, *words, *more)
        output = capsys.readouterr()
        return code, output.out + output.err

    code, text = await run()
    assert (code, text.splitlines()[-1]) == (0, "nothing differs")
    file = tmp_path / "agent.toml"
    file.write_text("history_versions = 8\n")
    code, text = await run("--against", str(file), "-o", "json")
    assert code == 1
    found = {each["text"][:16]: each["members"] for each in json.loads(text)["findings"]}
    assert found["history_versions"] == ["one", "two"]
    code, text = await run("--against", str(file))
    assert (code, "and 8 in the file. The versions of a key" in text) == (1, True)
    file.write_text("history_versions = []\n")
    assert (await run("--against", str(file)))[0] == 2
    code, text = await run("--ignore", "history_version")
    assert (code, "did you mean 'history_versions'?" in text) == (2, True)
    assert await asyncio.to_thread(command, "doctor", "--ignore", "x", *words[2:]) == 2
    assert "add --config" in capsys.readouterr().err
