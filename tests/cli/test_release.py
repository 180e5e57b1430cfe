"""The commands `release`: real processes of the command against nodes whose processes take or
refuse what they get."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.api.routes.test_releases import shop
from tests.api.serving import Serve
from tests.cli.test_cli import run
from tests.runtime.test_node import until


async def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """While the nodes of this process answer it."""
    return await asyncio.to_thread(run, *arguments)


def written(folder: Path, values: Any) -> str:
    path = folder / "values.json"
    path.write_text(json.dumps(values))
    return str(path)


async def test_a_bad_release_to_a_tenth_is_taken_back_by_itself_and_names_who_refused_it(
    serve: Serve, tmp_path: Path
) -> None:
    async with shop(serve, 10) as (served, processes):
        url = served[0].server.urls[0]
        made = await command("release", "shop/", written(tmp_path, {"rate": 1}), "--url", url)
        assert made.returncode == 0, made
        assert b"10 applied, 0 refused, 0 silent" in made.stdout
        bad = await command(
            *("release", "shop/", written(tmp_path, {"rate": 200}), "--name", "bad", "--url", url),
            *("--to", "share=0.1", "--bake", "600s", "--abort-on-refusal", "-o", "json"),
        )
        outcome = json.loads(bad.stdout)
        assert (bad.returncode, outcome["outcome"]) == (1, "withdrawn")
        assert outcome["refused"]
        for refusal in outcome["refused"]:
            assert refusal in bad.stderr.decode()
            assert refusal.endswith("rate: over 100")
        document = (await served[3].call("GET", "/releases/shop/")).json
        assert (document["canary"], "bad" in document["releases"]) == (None, True)
        assert "bad" not in {each.release for each in processes}


async def test_a_good_canary_bakes_and_is_for_all_then(serve: Serve, tmp_path: Path) -> None:
    async with shop(serve, 3) as (served, processes):
        url = served[0].server.urls[0]
        file = written(tmp_path, {"rate": 2})
        baked = await command(
            *("release", "--to", "zone=paris", "--bake", "300ms", "--name", "r1"),
            *("shop/", file, "--url", url),
        )
        assert baked.returncode == 0, baked
        assert b"r1 is released to all: 3 applied" in baked.stdout
        await until(lambda: {each.release for each in processes} == {"r1"})


async def test_a_canary_stays_one_until_it_is_promoted_or_taken_back(
    serve: Serve, tmp_path: Path
) -> None:
    async with shop(serve, 3) as (served, processes):
        url = served[0].server.urls[0]
        for name, to in (("r1", ()), ("r2", ("--to", "member=n2"))):
            file = written(tmp_path, {"rate": len(name) + len(to)})
            made = await command("release", "shop/", file, "--name", name, *to, "--url", url)
            assert made.returncode == 0, made
        assert b"r2 is a canary for n2" in made.stdout
        status = (await command("release", "status", "shop/", "--url", url)).stdout.decode()
        lines = [" ".join(line.split()) for line in status.splitlines()]
        assert lines[:4] == [
            "for all: r1",
            "canary: r2 for member=n2",
            "before: the loose keys",
            "releases: r1, r2",
        ]
        assert "n2 r2 applied 1 process" in lines
        assert "n0 r1 applied 1 process" in lines
        back = await command("release", "rollback", "shop/", "--url", url)
        assert (back.returncode, back.stdout) == (0, b"r1 is for all under shop/\n")
        await until(lambda: {each.release for each in processes} == {"r1"})
        forth = await command("release", "rollback", "shop/", "r2", "--url", url)
        assert forth.returncode == 0
        await until(lambda: {each.release for each in processes} == {"r2"})
        none = await command("release", "promote", "shop/", "--url", url)
        assert (none.returncode, b"there is no canary" in none.stderr) == (1, True)


async def test_a_release_that_is_refused_without_an_abort_says_how_to_go_back(
    serve: Serve, tmp_path: Path
) -> None:
    async with shop(serve, 2) as (served, _):
        url = served[0].server.urls[0]
        file = written(tmp_path, {"rate": 101})
        refused = await command("release", "shop/", file, "--name", "r1", "--url", url)
        assert refused.returncode == 1
        assert b"r1 was refused: n0: rate: over 100; n1: rate: over 100" in refused.stderr
        assert b"kvgossip release rollback" in refused.stderr
        status = (await served[0].call("GET", "/releases/shop/")).json
        assert status["release"] == "r1"


def test_a_file_that_is_no_object_of_json_is_an_error_before_any_node_is_asked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "values.json"
    for text, what in (("{", b"is not JSON"), ("[1]", b"has no names")):
        path.write_text(text)
        found = run("release", "shop/", str(path), "--url", "http://127.0.0.1:1")
        assert (found.returncode, what in found.stderr) == (2, True)
    missing = run("release", "shop/", str(tmp_path / "none"), "--url", "http://127.0.0.1:1")
    assert (missing.returncode, b"No such file" in missing.stderr) == (2, True)
    path.write_text("{}")
    late = run("release", "shop/", str(path), "--bake", "soon", "--url", "http://127.0.0.1:1")
    assert (late.returncode, b"--bake = 'soon' is not a duration" in late.stderr) == (2, True)


async def test_a_trial_on_nobody_is_not_promoted(serve: Serve, tmp_path: Path) -> None:
    url = (await serve()).server.urls[0]
    file = written(tmp_path, {"rate": 1})
    baked = await command(
        *("release", "shop/", file, "--to", "share=0.1", "--bake", "10ms", "--url", url)
    )
    assert (baked.returncode, b"nobody has applied" in baked.stderr) == (1, True)
