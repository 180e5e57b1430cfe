"""The command line: real processes, as an operator starts them."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kvgossip.cli
from kvgossip.cli.settings import load_config, unknown_variables
from kvgossip.client.failures import UnreachableError
from kvgossip.config import Address
from kvgossip.errors import ConfigError
from tests.asking import AsyncClient

# Failures are found sooner than an operator would want.
QUICK = {
    "KVGOSSIP_PROFILE": "local",
    "KVGOSSIP_PROBE_INTERVAL_S": "0.2",
    "KVGOSSIP_PROBE_TIMEOUT_S": "0.1",
}
KVGOSSIP = (sys.executable, "-m", "kvgossip")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("KVGOSSIP_")}
# a first agent founds its cluster at once
CLEAN["KVGOSSIP_FOUNDING_S"] = "0"
PATIENCE_S = 60.0


def run(
    *arguments: str, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """One command, to its end."""
    return subprocess.run(
        [*KVGOSSIP, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
        env={**CLEAN, **environment},
    )


class Process:
    """A process that goes on, and the lines it prints."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            [*KVGOSSIP, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**CLEAN, **environment},
        )
        self._unread: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def line(self, pattern: str, stream: str = "stdout") -> re.Match[str]:
        """Reads the stream to the first line that contains the pattern."""
        pipe = self.popen.stdout if stream == "stdout" else self.popen.stderr
        assert pipe is not None
        deadline = time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                line, end, rest = self._unread[stream].partition(b"\n")
                if end:
                    self._unread[stream] = rest
                    if found := re.search(pattern, line.decode()):
                        return found
                    continue
                assert selector.select(deadline - time.monotonic()), (
                    f"no line like {pattern!r} in time"
                )
                data = os.read(pipe.fileno(), 65536)
                assert data, f"the process ended without a line like {pattern!r}: {self.end()}"
                self._unread[stream] += data

    def event(self, name: str) -> Any:
        """The facts of an agent's JSON line about this event."""
        return json.loads(self.line(f'.*"event": "{name}".*')[0])

    def end(self) -> tuple[int, str, str]:
        """Waits for the end: exit code, and what was left on stdout and stderr."""
        out, err = self.popen.communicate(timeout=PATIENCE_S)
        return (
            self.popen.returncode,
            (self._unread["stdout"] + out).decode(),
            (self._unread["stderr"] + err).decode(),
        )

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        if self.popen.stdin is not None and not self.popen.stdin.closed:
            self.popen.communicate()


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[Process]:
    process = Process(arguments, environment)
    try:
        yield process
    finally:
        process.close()


@contextmanager
def agent(*arguments: str, **environment: str) -> Iterator[Process]:
    """An agent on free ports that tells its facts as JSON."""
    http = () if "--http" in arguments else ("--http", "127.0.0.1:0")
    anywhere = (*http, "--gossip", "127.0.0.1:0")
    with started("agent", *anywhere, "-o", "json", *arguments, **environment) as process:
        yield process


# -- the allocator -------------------------------------------------------------------------------


def allocator_of(process: Process) -> str:
    process.event("serving")
    variables = Path(f"/proc/{process.popen.pid}/environ").read_bytes().split(b"\0")
    return next(
        (
            line.partition(b"=")[2].decode()
            for line in variables
            if line.startswith(b"PYTHONMALLOC=")
        ),
        "",
    )


@pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in os.confstr_names or not Path("/proc/self/environ").exists(),
    reason="not Linux with glibc",
)
def test_an_agent_runs_on_the_allocator_of_the_system_unless_its_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(CLEAN, "PYTHONMALLOC", raising=False)
    with agent() as process:
        assert allocator_of(process) == "malloc"
        process.popen.terminate()
        assert process.end()[0] == 0
    with agent(PYTHONMALLOC="pymalloc") as process:
        assert allocator_of(process) == "pymalloc"


def eventually(url: str, *arguments: str, holds: str) -> str:
    """Repeats a command until its output contains what this pattern matches."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = run(*arguments, "--url", url)
        if re.search(holds, done.stdout.decode()):
            return done.stdout.decode()
        assert time.monotonic() < deadline, f"{arguments} at {url} never said {holds!r}: {done}"


def members_at(url: str) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = json.loads(run("members", "-o", "json", "--url", url).stdout)[
        "members"
    ]
    return members


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# -- one agent -----------------------------------------------------------------------------------


def test_an_agent_prints_one_line_when_it_serves_and_leaves_on_sigterm_with_exit_code_0() -> None:
    with started(
        "agent",
        "--name",
        "n1",
        "--http",
        "127.0.0.1:0",
        "--gossip",
        "127.0.0.1:0",
        "--cluster",
        "blue",
    ) as process:
        found = process.line(
            r"^n1 serves (http://127\.0\.0\.1:\d+), gossip 127\.0\.0\.1:\d+, cluster blue$"
        )
        assert run("put", "greeting", "hello", "--url", found[1]).returncode == 0
        process.popen.send_signal(signal.SIGTERM)
        code, out, err = process.end()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


def test_an_agent_that_serves_on_all_addresses_tells_members_the_one_that_peers_reach() -> None:
    with agent("--http", "0.0.0.0:0", "--name", "n1") as process:
        url = process.event("serving")["url"]
        assert url.startswith("http://127.0.0.1:")
        (member,) = members_at(url)
        assert member["http"] == url.removeprefix("http://")


def test_an_agent_leaves_on_ctrl_c_and_at_the_end_of_its_parent() -> None:
    with agent() as process:
        process.event("serving")
        process.popen.send_signal(signal.SIGINT)
        assert process.end()[0] == 0
    with agent("--stop-on-eof") as process:
        process.event("serving")
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        process.popen.stdin = None
        assert process.end()[0] == 0


def test_the_commands_for_keys_do_what_they_say(tmp_path: Path) -> None:
    raw = bytes(range(256))
    (tmp_path / "value").write_bytes(raw)
    with agent("--name", "n1") as process:
        url = process.event("serving")["url"]

        def ask(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
            return run(*arguments, stdin=stdin, KVGOSSIP_URL=url)

        assert ask("put", "ç d/100%", "héllo", "-t", "text/plain").returncode == 0
        assert ask("get", "ç d/100%").stdout == "héllo".encode()
        assert (
            json.loads(ask("put", "file", f"@{tmp_path / 'value'}", "-o", "json").stdout)["key"]
            == "file"
        )
        assert ask("get", "file").stdout == raw
        assert ask("put", "stdin", "-", stdin=raw).returncode == 0
        soon = ask("put", "lease", "1", "--ttl", "soon")
        assert (soon.returncode, b"is not a duration" in soon.stderr) == (2, True)
        assert ask("put", "lease", "1", "--ttl", "1ms").returncode == 0
        assert ask("get", "stdin").stdout == raw

        listed = json.loads(ask("list", "-o", "json").stdout)
        assert [
            (entry["key"], entry["bytes"], entry["content_type"]) for entry in listed["entries"]
        ] == [
            ("file", 256, None),
            ("stdin", 256, None),
            ("ç d/100%", 6, "text/plain"),
        ]
        table = ask("list", "ç").stdout.decode()
        assert "ç d/100%" in table
        assert "file" not in table
        cut = ask("list", "--limit", "1")
        assert "more keys after file" in cut.stderr.decode()
        assert [
            entry["key"]
            for entry in json.loads(
                ask("list", "--after", "file", "--limit", "1", "-o", "json").stdout
            )["entries"]
        ] == ["stdin"]

        assert ask("delete", "file").returncode == 0
        for again in (ask("delete", "file"), ask("get", "file")):
            assert (again.returncode, again.stdout) == (1, b"")
            assert "there is no such key" in again.stderr.decode()


def test_the_commands_for_the_cluster_do_what_they_say() -> None:
    with agent("--name", "n1") as one, agent("--name", "n2") as two:
        first, second = one.event("serving"), two.event("serving")
        for served in (first, second):
            assert run("put", "k", served["url"], "--url", served["url"]).returncode == 0
        refused = run("join", first["gossip"], "--url", second["url"])
        assert refused.returncode == 1
        assert f"`kvgossip join {first['gossip']} --merge`" in refused.stderr.decode()
        joined = run("join", first["gossip"], "--merge", "--url", second["url"])
        assert (joined.returncode, joined.stdout) == (0, b"joined: 2 members are known\n")
        eventually(first["url"], "members", holds=r"n1\s+alive.*\n.*n2\s+alive")
        assert {member["name"] for member in members_at(first["url"])} == {
            "n1",
            "n2",
        }
        assert json.loads(run("status", "-o", "json", "--url", first["url"]).stdout)["name"] == "n1"
        shown = run("status", "--url", first["url"]).stdout.decode()
        assert re.search(r"^settled +yes *$", shown, re.MULTILINE)

        assert run("leave", "--url", second["url"]).returncode == 0
        assert two.end()[0] == 0
        eventually(first["url"], "members", holds="left")


def test_the_operator_guards_do_what_they_say() -> None:
    with agent("--name", "n1") as one, agent("--name", "n2") as two:
        url = one.event("serving")["url"]
        run("join", two.event("serving")["gossip"], "--url", url)
        refused = run("force-leave", "n2", "--url", url)
        assert refused.returncode == 1
        assert "answers probes" in refused.stderr.decode()
        assert b"n2 is blocked on this node" in run("block", "n2", "--url", url).stdout
        # as it answers this node no more, it may be suspected by now
        assert re.search(
            r"(alive|suspect|dead) \(blocked\)", run("members", "--url", url).stdout.decode()
        )
        assert (
            run("force-leave", "n2", "--prune", "--url", url).stdout
            == b"n2 is forgotten by every node\n"
        )
        assert {member["name"] for member in members_at(url)} == {"n1"}
        assert run("unblock", "n2", "--url", url).returncode == 0
        assert run("unblock", "n2", "--url", url).returncode == 1
        assert run("block", "10.0.0.0/99", "--url", url).returncode == 1


def test_a_node_whose_join_address_answers_nothing_serves_reads_after_settle() -> None:
    with agent("--join", "no-such-host.invalid:7481", "--join", "127.0.0.1:1") as process:
        url = process.event("serving")["url"]
        refused = run("get", "a", "--url", url)
        assert refused.returncode == 1
        assert "kvgossip settle" in refused.stderr.decode()
        process.line("no-such-host.invalid:7481", "stderr")
        assert run("settle", "--url", url).returncode == 0
        process.event("settled")
        assert "there is no such key" in run("get", "a", "--url", url).stderr.decode()


def test_a_join_to_another_cluster_is_refused_with_exit_code_1_and_the_node_goes_on() -> None:
    with agent("--cluster", "blue") as one, agent("--cluster", "green") as two:
        url = two.event("serving")["url"]
        refused = run("join", one.event("serving")["gossip"], "--url", url)
        assert refused.returncode == 1
        assert "blue" in refused.stderr.decode()
        assert "green" in refused.stderr.decode()
        assert run("put", "a", "1", "--url", url).returncode == 0


def test_a_join_of_the_wrong_pool_is_refused_with_exit_code_1_and_what_to_change() -> None:
    gateway = ("--gateway", "--wan", "127.0.0.1:0")
    paris, tokyo = (
        ("--name", "a", "--datacenter", "paris"),
        ("--name", "b", "--datacenter", "tokyo"),
    )
    with agent(*paris, *gateway) as one, agent(*tokyo, *gateway) as two, agent() as three:
        facts, url = one.event("serving"), two.event("serving")["url"]
        for arguments, words in (
            ((facts["gossip"],), "another datacenter"),
            (("--wan", facts["gossip"]), f"WAN address, {facts['wan']}"),
        ):
            refused = run("join", *arguments, "--url", url)
            assert refused.returncode == 1
            assert words in refused.stderr.decode()
        assert run("join", "--wan", facts["wan"], "--url", url).returncode == 0
        members = json.loads(run("members", "-o", "json", "--url", url).stdout)["members"]
        assert [(member["pool"], member["datacenter"]) for member in members] == [
            ("lan", "tokyo"),
            ("wan", "paris"),
            ("wan", "tokyo"),
        ]
        refused = run("join", "--wan", facts["wan"], "--url", three.event("serving")["url"])
        assert refused.returncode == 1
        assert "--gateway" in refused.stderr.decode()


# -- a cluster -----------------------------------------------------------------------------------


@contextmanager
def demo(nodes: int) -> Iterator[tuple[Process, list[str]]]:
    """A demo on free ports, and its URLs."""
    with started("demo", "--nodes", str(nodes), "--free-ports") as process:
        urls = [process.line(rf"^  n{number}  (http://\S+)$")[1] for number in range(1, nodes + 1)]
        yield process, urls


def processes_of(process: Process) -> list[int]:
    """The agents that a demo has started."""
    children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text()
    return [int(child) for child in children.split()]


def test_a_demo_is_a_cluster_and_ctrl_c_stops_all_of_it() -> None:
    with demo(3) as (process, urls):
        agents = processes_of(process)
        assert len(agents) == 3
        assert "curl" in process.line("curl .*greeting")[0]
        assert process.line("^Open to every program and user of this machine, to no other")
        assert all(url.startswith("http://127.0.0.1:") for url in urls)
        assert all(member["address"].startswith("127.0.0.1:") for member in members_at(urls[0]))
        assert run("put", "greeting", "hello", "--url", urls[0]).returncode == 0
        for url in urls:
            assert eventually(url, "get", "greeting", holds="hello") == "hello"
        process.popen.send_signal(signal.SIGINT)
        code, _, err = process.end()
        assert code == 0
        assert "Traceback" not in err
        assert not any(map(is_running, agents))


def test_a_demo_says_which_node_has_ended_and_goes_on() -> None:
    with demo(3) as (process, urls):
        os.kill(processes_of(process)[1], signal.SIGKILL)
        process.line(r"^n2 \| .*ENDED \(killed by SIGKILL\)", "stderr")
        assert run("put", "a", "1", "--url", urls[0]).returncode == 0
        eventually(urls[2], "get", "a", holds="1")
        process.popen.send_signal(signal.SIGTERM)
        assert process.end()[0] == 0


def test_a_killed_node_is_listed_as_dead_and_comes_back_under_its_name_with_a_new_port_and_all_data() -> (
    None
):
    with agent("--name", "n1", **QUICK) as one:
        first = one.event("serving")
        with agent("--name", "n2", "--join", first["gossip"], **QUICK) as two:
            before = two.event("serving")
            two.event("settled")
            run("put", "a", "1", "--url", before["url"])
            eventually(first["url"], "get", "a", holds="1")
            two.popen.kill()
            eventually(first["url"], "members", holds="dead")
        run("put", "b", "2", "--url", first["url"])
        with agent("--name", "n2", "--join", first["gossip"], **QUICK) as again:
            after = again.event("serving")
            assert after["gossip"] != before["gossip"]
            again.event("settled")
            assert [run("get", key, "--url", after["url"]).stdout for key in ("a", "b")] == [
                b"1",
                b"2",
            ]
            eventually(first["url"], "members", holds=rf"n2\s+alive.*{after['gossip']}")


def test_no_agent_outlives_a_demo_that_was_killed() -> None:
    with demo(2) as (process, urls):
        agents = processes_of(process)
        process.popen.kill()
        process.popen.wait(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while any(map(is_running, agents)):
            assert time.monotonic() < deadline, "an agent goes on without its demo"
        assert run("get", "a", "--url", urls[0]).returncode == 2


def test_a_demo_whose_nodes_have_all_ended_ends_with_exit_code_1() -> None:
    with demo(1) as (process, _):
        os.kill(processes_of(process)[0], signal.SIGKILL)
        code, _, err = process.end()
        assert code == 1
        assert "all nodes have ended" in err


def test_a_demo_takes_free_ports_where_its_own_are_in_use() -> None:
    # Whether 7480 is free on this machine or not: two demos at once cannot both have it.
    with started("demo", "--nodes", "1") as one, started("demo", "--nodes", "1") as two:
        urls = {process.line(r"^  n1  (http://\S+)$")[1] for process in (one, two)}
        assert len(urls) == 2


# -- bad input: one clear line, a hint, exit code 2 ----------------------------------------------


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def assert_one_line(done: subprocess.CompletedProcess[bytes], says: str) -> None:
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert says in lines[0]
    assert lines[0].startswith("kvgossip: ")
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("agent", "--colour"), "--colour"),
        (("agent", "--http", "1.2.3.4.5:x"), "is not an address"),
        (("agent", "--http", "192.0.2.1:7480"), "192.0.2.1:7480"),
        (("agent", "--http", "127.0.0.1:99999"), "99999"),
        (("agent", "--http", "127.0.0.1:0", "--gossip", "192.0.2.1:0"), "192.0.2.1"),
        (("agent", "--join", "a b c/d"), "is not an address"),
        (("agent", "--profile", "mars"), "mars"),
        (("agent", "--name", "-"), "is not a name"),
        (("agent", "--config", "/"), "cannot read"),
        (("agent", "--log-level", "loud"), "loud"),
        (("list", "--limit", "0"), "limit"),
        (("get", "a", "--url", "ftp://x"), "ftp://x"),
        (("get", "a", "--url", "http://no-such-host.invalid"), "the name cannot be resolved"),
        (("demo", "--nodes", "0"), "nodes"),
        (("demo", "--log-level", "loud"), "loud"),
    ],
)
def test_a_mistake_is_one_clear_line_with_exit_code_2(
    arguments: tuple[str, ...], says: str
) -> None:
    assert_one_line(run(*arguments), says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("probe_interval_s = [", "is not valid TOML"),
        ("probe_intervall_s = 1", "unknown parameter 'probe_intervall_s'"),
        ("probe_interval_s = 'often'", "probe_interval_s = 'often' is not a number"),
        ("probe_interval_s = 9999", "out of bounds"),
        ("profile = 'mars'", "unknown profile 'mars'"),
        ("[agent]\nname = 'n1'", "there is no table 'agent'"),
    ],
)
def test_a_mistake_in_the_file_names_the_file_and_what_is_wrong(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "kvgossip.toml"
    file.write_text(text)
    done = run("agent", "--config", str(file))
    assert_one_line(done, says)
    assert str(file) in done.stderr.decode() or "profile" in says


async def test_a_url_where_nothing_speaks_http_is_named_as_such() -> None:
    with taken_port() as silent:
        async with AsyncClient(silent, timeout_s=0.05) as client:
            with pytest.raises(UnreachableError, match="does not answer in time"):
                await client.document("/status")


# -- configuration -------------------------------------------------------------------------------


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_profile_over_the_default(
    tmp_path: Path,
) -> None:
    file = tmp_path / "kvgossip.toml"
    file.write_text(
        "probe_interval_s = 7\ngossip_fanout = 5\nname = 'file'\ncluster = 'file'\nprofile = "
        "'local'\njoin = ['a:1', 'b']\n"
    )
    environment = {
        "KVGOSSIP_NAME": "environment",
        "KVGOSSIP_CLUSTER": "environment",
        "KVGOSSIP_GOSSIP_FANOUT": "",
        "KVGOSSIP_RUMOR_K": "9",
    }
    config = load_config(
        {"name": "line", "cluster": None, "join": ""}, environment, file, profile="wan"
    )
    assert (config.name, config.cluster) == ("line", "environment")
    assert (config.probe_interval_s, config.gossip_fanout, config.rumor_k) == (7.0, 5, 9)
    assert (config.push_pull_interval_s, config.probe_timeout_s) == (60.0, 3.0)
    assert config.join == ("a:1", "b")
    assert config.http == Address("127.0.0.1", 7480)
    assert load_config({}, {}, file, profile=None).indirect_probes == 1


def test_join_addresses_in_the_environment_are_parted_by_commas_or_blanks() -> None:
    assert load_config({}, {"KVGOSSIP_JOIN": "a:1, b:2 c"}, None, None).join == ("a:1", "b:2", "c")


def test_a_mistake_in_the_environment_is_named_as_such() -> None:
    with pytest.raises(ConfigError, match="environment: rumor_k = 'x' is not a whole number"):
        load_config({}, {"KVGOSSIP_RUMOR_K": "x"}, None, None)


def test_a_misspelt_variable_is_noticed_and_those_of_kubernetes_are_not() -> None:
    ours = {
        "KVGOSSIP_NAME": "",
        "KVGOSSIP_URL": "",
        "KVGOSSIP_PORT": "",
        "KVGOSSIP_SERVICE_HOST": "",
        "KVGOSSIP_PORT_7480_TCP_ADDR": "",
    }
    assert unknown_variables({**ours, "KVGOSSIP_RUMOUR_K": "3", "HOME": "/"}) == [
        "KVGOSSIP_RUMOUR_K"
    ]


def test_an_agent_takes_every_option_from_the_environment() -> None:
    variables = {
        "KVGOSSIP_NAME": "env1",
        "KVGOSSIP_CLUSTER": "env",
        "KVGOSSIP_JOIN": "127.0.0.1:1,127.0.0.1:2",
        "KVGOSSIP_GOSSIP_FANOUT": "7",
    }
    with agent(**variables) as process:
        serving = process.event("serving")
        assert (serving["name"], serving["cluster"]) == ("env1", "env")
        assert (
            json.loads(run("status", "-o", "json", "--url", serving["url"]).stdout)["settled"]
            is False
        )


# -- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "agent",
        "demo",
        "get",
        "put",
        "delete",
        "list",
        "members",
        "status",
        "join",
        "leave",
        "settle",
        "version",
        "sim",
    ],
)
def test_every_command_is_listed_and_has_a_help_of_its_own(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as ended:
            kvgossip.cli.main(arguments)
        assert ended.value.code == 0
        assert re.search(rf"\b{command}\b", capsys.readouterr().out)


HEAVY = ("aiohttp", "asyncio", "concurrent", "msgspec", "pydantic", "rich.console")
"""What a script that runs a command a thousand times would pay for at each start."""


def test_a_command_that_asks_a_node_loads_no_more_than_it_needs() -> None:
    with agent() as process:
        url = process.event("serving")["url"]
        for typed in (("put", "a", "1"), ("get", "a"), ("list",), ("delete", "a")):
            code = (
                "import sys, kvgossip.__main__ as it\n"
                "try: it.main()\n"
                "except SystemExit as end: assert not end.code, end\n"
                f"sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules) or 0)"
            )
            command = [sys.executable, "-c", code, *typed, "--url", url]
            done = subprocess.run(command, capture_output=True, check=False, env=CLEAN)
            assert (done.returncode, done.stderr.decode()) == (0, ""), typed


def test_the_version_is_printed_without_loading_a_node_or_aiohttp() -> None:
    assert (
        run("version").stdout.decode()
        == run("--version").stdout.decode()
        == f"kvgossip {kvgossip.__version__}\n"
    )
    code = (
        "import sys, kvgossip.cli; sys.exit(any(name in sys.modules for name in ('aiohttp', "
        "'msgspec')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- watching ------------------------------------------------------------------------------------


def test_watch_prints_changes_as_they_come_and_goes_on_by_itself_after_its_node_restarted() -> None:
    with agent("--name", "n1") as process:
        url, gossip = (serving := process.event("serving"))["url"], serving["gossip"]
        with started(
            "watch",
            "a/",
            "--values",
            "text",
            "-o",
            "json",
            "--count",
            "3",
            "--since",
            "0",
            "--url",
            url,
        ) as watching:
            assert json.loads(watching.line(".*synced.*")[0])["cursor"]
            run("put", "b/1", "other", "--url", url)
            run("put", "a/1", "one", "--url", url)
            put = json.loads(watching.line(".*a/1.*")[0])
            assert (put["event"], put["value"], bool(put["cursor"])) == ("put", "one", True)
            process.popen.terminate()
            process.end()
            watching.line(f"going on from {put['cursor']}", "stderr")
            with started(
                "agent",
                "--name",
                "n1",
                "--http",
                url.removeprefix("http://"),
                "--gossip",
                gossip,
                "-o",
                "json",
            ) as again:
                again.event("settled")
                watching.line("resync")
                run("put", "a/2", "two", "--url", url)
                run("delete", "a/2", "--url", url)
                assert watching.end()[0] == 0


def test_watch_prints_lines_to_read_and_ends_quietly_when_nobody_reads_them() -> None:
    with agent() as process:
        url = process.event("serving")["url"]
        run("put", "a", "x\ty", "--url", url)
        done = run("watch", "--since", "0", "--values", "text", "--count", "1", "--url", url)
        assert done.returncode == 0
        head, line = done.stdout.decode().splitlines()
        assert head.startswith("-- ")
        assert re.fullmatch(r"put     a  [0-9a-f]{16}-[0-9a-f]{16}  3 B  x\\ty", line)
        with started("watch", "--since", "0", "--url", url) as watching:
            watching.line("put")
            assert watching.popen.stdout is not None
            watching.popen.stdout.close()
            run("put", "b", "1", "--url", url)
            run("put", "c", "1", "--url", url)
            assert watching.popen.wait(PATIENCE_S) == 141


def test_watch_without_a_node_or_with_a_wrong_option_says_so() -> None:
    assert run("watch", "--url", "http://127.0.0.1:1").returncode == 2
    with agent() as process:
        done = run("watch", "--values", "hex", "--url", process.event("serving")["url"])
        assert done.returncode == 1
        assert b"choose one of none, text, base64" in done.stderr
