"""What do the locks of HTTP cost a GET: a token, and TLS on connections that stay?

    python -m benchmarks.locks [--seconds 1] [--rounds 7] [--json]

Three agents of this checkout with the same thousand keys of 100 B, in memory: one asks for nothing,
one for a token (`--tokens`), one speaks TLS (`--tls-cert`). Each is loaded with wrk over 64
keep-alive connections, all agents on one processor and the load on another. They take turns within
each round, and the next round goes the other way round. `cpu us` is the processor time of the agent
for each request; `x plain` is the median of the ratios of the rounds, of requests a second and of
the requests in a second of processor time, `least` and `most` their range. The ratio of processor
time is the one that other work on the machine changes least, and that the targets are about.

The handshakes of TLS are among the requests of each load: 64 of them.

Needs wrk, built with TLS as Debian's is, taskset, and two processors.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.agents import PATIENCE_S, ROOT, VALUE_BYTES, Agent, AgentError, cpu_s, environment
from benchmarks.http import KEYS, SERVER_CORE, Figures, wrk
from benchmarks.report import Report, Row, Table, finish, need

HOST = "127.0.0.1"
TARGETS = {"token": 0.95, "TLS": 0.6}
"""The least share of the plain figure."""


class Door(NamedTuple):
    """An agent, and what its clients have to bring along."""

    agent: Agent
    scheme: str = "http"
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def fill(self) -> None:
        """Write the keys. Raises AgentError."""
        host, port = self.agent.address
        if self.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=PATIENCE_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
        for number in range(KEYS):
            connection.request("PUT", f"/kv/key-{number}", b"x" * VALUE_BYTES, self.headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise AgentError(f"a PUT was answered with {answer.status}: {text[:300]!r}")
        connection.close()

    def load(self, seconds: int) -> Figures:
        setting = "".join(
            f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n"
            for name, value in self.headers.items()
        )
        started_s = cpu_s(self.agent.pid)
        figures = wrk(
            self.agent.address[1],
            seconds,
            method="GET",
            path='"/kv/key-" .. i',
            body="nil",
            setting=setting,
            scheme=self.scheme,
        )
        used_s = cpu_s(self.agent.pid) - started_s
        return figures | {"cpu_us": 1e6 * used_s / (figures["requests_per_s"] * seconds)}


# -- locks -----------------------------------------------------------------------------------------


def command(*words: str) -> Any:
    """What a command of this checkout prints as JSON. Raises AgentError."""
    done = subprocess.run(
        [sys.executable, "-m", "kvgossip", *words, "--output", "json"],
        cwd=ROOT,
        env=environment(ROOT, {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AgentError(
            f"kvgossip {' '.join(words[:2])} ended with {done.returncode}: {done.stderr}"
        )
    return json.loads(done.stdout)


def with_token(folder: Path) -> tuple[list[str], str]:
    """The options of an agent that wants a token, and the secret of one."""
    file = str(folder / "tokens.toml")
    made = command("token", "new", "bench", "--read", "", "--write", "", "--file", file)
    return ["--tokens", file], made["token"]


def with_tls(folder: Path) -> list[str]:
    """The options of an agent that speaks TLS."""
    made = command("tls", "new", str(folder / "tls"), "--host", HOST)[-1]  # before it stands the CA
    return ["--tls-cert", made["cert"], "--tls-key", made["key"]]


@contextmanager
def doors(folder: Path) -> Iterator[dict[str, Door]]:
    """The three agents, by name, with all keys."""
    tokens, token = with_token(folder)
    lacking = {"plain": (), "token": tokens, "TLS": with_tls(folder)}
    with ExitStack() as stack:
        opened = {}
        for name, options in lacking.items():
            agent = Agent("n1", cluster=name, options=options, core=SERVER_CORE)
            stack.callback(agent.stop)
            agent.start()
            agent.settle()
            scheme = "https" if name == "TLS" else "http"
            opened[name] = Door(agent, scheme, token if name == "token" else "")
            opened[name].fill()
        yield opened


# -- measure ---------------------------------------------------------------------------------------


def measure(seconds: int, rounds: int) -> list[Row]:
    """A row for each lock. Raises AgentError."""
    runs: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as folder, doors(Path(folder)) as opened:
        for turn in range(rounds):
            for name in list(opened) if turn % 2 == 0 else reversed(list(opened)):
                seen = opened[name].load(seconds)
                runs.setdefault(name, []).append(seen)
                print(f"round {turn + 1} of {rounds}: {name}: {seen}", file=sys.stderr, flush=True)
    return [
        {"GET with": name}
        | {figure: statistics.median(run[figure] for run in seen) for figure in seen[0]}
        | ({} if name == "plain" else ratios(seen, runs["plain"]))
        for name, seen in runs.items()
    ]


def ratios(runs: Sequence[Figures], plain: Sequence[Figures]) -> Row:
    pairs = list(zip(runs, plain, strict=True))
    by_clock = [one["requests_per_s"] / other["requests_per_s"] for one, other in pairs]
    by_cpu = sorted(other["cpu_us"] / one["cpu_us"] for one, other in pairs)
    return {
        "x plain, requests": statistics.median(by_clock),
        "x plain, cpu": statistics.median(by_cpu),
        "least": by_cpu[0],
        "most": by_cpu[-1],
    }


def report(rows: Sequence[Row]) -> Report:
    title = f"GET of {VALUE_BYTES} B from memory, 64 keep-alive connections, one core"
    targets = {
        f"a GET with {row['GET with']}: at least {TARGETS[row['GET with']]} of the plain figure": (
            row["x plain, cpu"] >= TARGETS[row["GET with"]]
        )
        for row in rows
        if row["GET with"] in TARGETS
    }
    return Report("locks", [Table(title, rows)], targets=targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=1, help="length of one load")
    parser.add_argument("--rounds", type=int, default=7, help="loads of each; the median counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    need("wrk", "taskset", cores=2)
    try:
        rows = measure(options.seconds, options.rounds)
    except AgentError as error:
        sys.exit(str(error))
    finish(report(rows), json=options.json)


if __name__ == "__main__":
    main()
