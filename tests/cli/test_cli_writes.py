"""The commands about writes: real agents, as an operator runs them."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.cli.test_cli import QUICK, agent, eventually, run


@contextmanager
def agents(count: int, **environment: str) -> Iterator[list[tuple[str, int]]]:
    """So many agents n1, n2, ... of one cluster that know each other: their URLs and process
    ids."""
    with ExitStack() as stack:
        urls: list[tuple[str, int]] = []
        join: tuple[str, ...] = ()
        for number in range(1, count + 1):
            process = stack.enter_context(agent("--name", f"n{number}", *join, **environment))
            serving = process.event("serving")
            join = join or ("--join", serving["gossip"])
            urls.append((serving["url"], process.popen.pid))
        for url, _ in urls:
            eventually(url, "status", "-o", "json", holds=f'"alive": {count}')
        yield urls


def document(*arguments: str) -> Any:
    return json.loads(run(*arguments, "-o", "json").stdout)


def test_a_write_that_waits_shows_who_has_it_and_names_a_paused_node_when_the_time_is_up() -> None:
    with agents(3, KVGOSSIP_PROBE_INTERVAL_S="5", KVGOSSIP_SUSPICION_MULTIPLIER="100") as (
        (one, _),
        (two, _),
        (_, paused),
    ):
        put = run("put", "a", "1", "--wait", "all", "--timeout", "30s", "--url", one)
        assert put.returncode == 0, put
        shown = [
            line.split()[2]
            for line in put.stdout.decode().splitlines()
            if line.startswith("held by ")
        ]
        assert sorted(shown) == ["n1", "n2", "n3"]
        assert b"3 of 3 hold it" in put.stdout
        assert run("get", "a", "--url", two).stdout == b"1"
        os.kill(paused, signal.SIGSTOP)
        try:
            late = run("put", "a", "2", "--wait", "all", "--timeout", "500ms", "--url", one)
            # time enough for the other one, however busy this machine is
            answer = document("put", "a", "3", "--wait", "all", "--timeout", "5s", "--url", one)
            converged = run("converge", "--url", one)
        finally:
            os.kill(paused, signal.SIGCONT)
        assert late.returncode == 1
        assert b"not held by n3" in late.stdout
        assert b"the write stands" in late.stderr
        assert (answer["met"], [each["name"] for each in answer["lacking"]]) == (False, ["n3"])
        eventually(two, "get", "a", holds="^3$")
        assert converged.returncode == 1
        assert b"no answer" in converged.stdout
        again = run("converge", "--wait", "--url", one)
        assert (again.returncode, b"no answer" in again.stdout) == (0, False)
        assert document("converge", "--wait", "--url", two)["equal"] is True


def test_a_key_is_rolled_back_and_keys_are_loaded_and_dumped(tmp_path: Any) -> None:
    with agent(**QUICK) as process:
        url = process.event("serving")["url"]
        run("put", "a", "first", "-t", "text/plain", "--url", url)
        run("put", "a", "second", "--url", url)
        run("delete", "a", "--url", url)
        versions = document("history", "a", "--url", url)["versions"]
        assert [each["deleted"] for each in versions] == [True, False, False]
        assert b"text/plain" in run("history", "a", "--url", url).stdout
        assert run("rollback", "a", versions[2]["version"], "--url", url).returncode == 0
        assert run("get", "a", "--url", url).stdout == b"first"
        assert document("list", "--url", url)["entries"][0]["content_type"] == "text/plain"
        assert run("rollback", "a", versions[0]["version"], "--url", url).returncode == 0
        assert run("get", "a", "--url", url).returncode == 1
        assert run("rollback", "a", "0" * 16 + "-" + "0" * 16, "--url", url).returncode == 1

        lines = [
            {"key": "k/\u00e7 1", "value": "ein Wert\n"},
            {"key": "k/2", "base64": "AP8="},
            {"key": "k/3", "value": "{}", "content_type": "application/json"},
        ]
        source = tmp_path / "keys.ndjson"
        source.write_text("\n".join(json.dumps(line) for line in lines))
        assert run("load", str(source), "--url", url).returncode == 0
        dumped = run("dump", "k/", "--url", url)
        assert sorted(dumped.stdout.decode().splitlines()) == sorted(
            json.dumps(line, ensure_ascii=False) for line in lines
        )
        assert run("load", "-", "--url", url, stdin=dumped.stdout).returncode == 0
        more = (
            b'{"key": "m/a", "value": "1", "ttl": "1h", "flags": 7}\n{"key": "m/a", "value": '
            b'"2"}\n{"key": "m/b", "value": "%s"}'
        ) % (b"x" * 300_000)
        assert run("load", "-", "--url", url, stdin=more).returncode == 0
        assert [each["bytes"] for each in document("list", "m/", "--url", url)["entries"]] == [
            1,
            300_000,
        ]
        first = b'{"key": "t", "value": "1", "ttl": "1h", "flags": 7}'
        assert run("load", "-", "--url", url, stdin=first).returncode == 0
        (line,) = [json.loads(text) for text in run("dump", "t", "--url", url).stdout.splitlines()]
        left_ms = int(line.pop("ttl").removesuffix("ms"))
        assert line == {"key": "t", "value": "1", "flags": 7}
        assert 0 < left_ms <= 3_600_000
        add = urllib.request.Request(f"{url}/kv/hits", b'{"add": 3}', method="POST")
        urllib.request.urlopen(add).close()
        (merged,) = run("dump", "hits", "--url", url).stdout.splitlines()
        assert json.loads(merged) == {
            "key": "hits", "value": "3", "type": "counter", "content_type": "application/json"
        }  # fmt: skip
        unloaded = run("load", "-", "--url", url, stdin=merged)
        assert (unloaded.returncode, b"import an export" in unloaded.stderr) == (2, True)
        mortal = b'{"key": "n", "value": "1", "ttl": "1ms", "flags": 7}'
        assert (
            run("load", "-", "--url", url, stdin=mortal).returncode,
            run("get", "n", "--url", url).returncode,
        ) == (0, 1)
        for bad in (
            b"[1]",
            b'{"key": "b", "value": "", "ttl": 1}',
            b'{"key": "b", "value": "", "flags": "1"}',
            b'{"key": "b"}',
            b'{"key": "b", "value": 1}',
            b'{"key": "b", "base64": "?"}',
            b'{"key": "b", "valeu": ""}',
        ):
            done = run("load", "-", "--url", url, stdin=b'{"key": "a", "value": "1"}\n' + bad)
            assert (done.returncode, b"line 2" in done.stderr, b"hint" in done.stderr) == (
                2,
                True,
                True,
            ), done
        assert run("get", "a", "--url", url).returncode == 1
        assert run("load", "nowhere", "--url", url).returncode == 2
        refused = run("load", "-", "--url", url, stdin=b'{"key": "../a", "value": "1"}')
        assert (refused.returncode, b"hint" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--wait", "2"), 1), (("--wait", "x"), 1), (("--wait", "all", "--timeout", "soon"), 2)],
)
def test_a_wait_that_makes_no_sense_is_refused(options: tuple[str, ...], code: int) -> None:
    with agent(**QUICK) as process:
        url = process.event("serving")["url"]
        done = run("put", "a", "1", *options, "--url", url)
        assert (done.returncode, b"hint" in done.stderr) == (code, True), done
        assert run("get", "a", "--url", url).returncode == 1
