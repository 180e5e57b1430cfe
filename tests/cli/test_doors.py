"""An agent at its doors: several addresses, unix sockets, what is open, as a user meets them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.test_cli import agent, run, started


def test_an_agent_serves_on_all_its_addresses_and_prints_them(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    where = ("--http", "127.0.0.1:0", "--http", f"unix:{path}", "--gossip", "127.0.0.1:0")
    with started("agent", *where, "--name", "n1") as process:
        found = process.line(r"^n1 serves (http://127\.0\.0\.1:\d+) and (unix:\S+), gossip ")
        for number, url in enumerate(found.groups()):
            assert run("put", f"k{number}", "1", "--url", url).returncode == 0
            assert run("get", f"k{number}", "--url", url).stdout.strip() == b"1"
        process.popen.send_signal(signal.SIGTERM)
        assert process.end()[0] == 0
    assert not path.exists()
    ended = run("status", "--url", f"unix:{path}")
    assert (ended.returncode, f"no node answers at unix:{path}" in ended.stderr.decode()) == (
        2,
        True,
    )


def test_an_agent_of_a_unix_socket_alone_needs_no_port_and_replaces_a_dead_ones(
    tmp_path: Path,
) -> None:
    url = f"unix:{tmp_path / 'http.sock'}"
    with agent("--http", url, "--name", "n1") as process:
        told = process.event("serving")
        assert (told["url"], told["urls"]) == (url, [url])
        second = run("agent", "--http", url, "--gossip", "127.0.0.1:0")
        assert (second.returncode, b"is in use" in second.stderr) == (2, True)
        process.popen.kill()
        process.popen.communicate()
    assert (tmp_path / "http.sock").exists()
    with agent(KVGOSSIP_HTTP=url, KVGOSSIP_NAME="n1") as process:
        # the option wins over the variable
        assert process.event("serving")["url"].startswith("http://")
    with started("agent", "--gossip", "127.0.0.1:0", KVGOSSIP_HTTP=url) as process:
        process.line(rf" serves {url}, gossip ")
        assert run("put", "a", "1", KVGOSSIP_URL=url).returncode == 0
        assert run("members", KVGOSSIP_URL=url).stdout.count(b"alive") == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--http", "0.0.0.0:0", "--open-http"), ["HTTP is open", "--tokens FILE"]),
        (("--http", "0.0.0.0:0", "--http", "127.0.0.1:0"), []),
        (("--open-http",), []),
    ],
)
def test_an_agent_that_is_open_says_so_once(more: tuple[str, ...], words: list[str]) -> None:
    with agent(*more, "--name", "n1") as process:
        url = process.event("serving")["url"]
        status = run("status", "-o", "json", "--url", url)
        assert (json.loads(status.stdout)["open"] == ["http"]) is bool(words)
        process.popen.send_signal(signal.SIGTERM)
        _, _, log = process.end()
    told = [line for line in log.splitlines() if "WARNING" in line]
    assert len(told) == (1 if words else 0), log
    assert all(word in told[0] for word in words)


@pytest.mark.parametrize(
    ("more", "protected"),
    [
        (("--http", "0.0.0.0:0"), True),
        (("--http", "127.0.0.1:0", "--http", "0.0.0.0:0"), True),
        (("--http", "0.0.0.0:0", "--open-http"), False),
        (("--http", "127.0.0.1:0"), False),
        (("--http", "unix:{directory}/http.sock"), False),
    ],
)
def test_an_agent_that_listens_for_others_and_bars_them_says_the_three_ways_out(
    more: tuple[str, ...], protected: bool, tmp_path: Path
) -> None:
    with agent(*(word.format(directory=tmp_path) for word in more)) as process:
        process.event("serving")
        process.popen.send_signal(signal.SIGTERM)
        _, _, log = process.end()
    told = [line for line in log.splitlines() if "protected mode" in line]
    assert len(told) == (1 if protected else 0), log
    for way in ("--tokens FILE", "--http unix:", "--open-http"):
        assert all(way in line for line in told)
