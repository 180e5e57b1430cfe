"""How fast is the HTTP API, beside a bare aiohttp handler, etcd and Redis?

    python -m benchmarks.http [--seconds 2] [--rounds 5] [--json]

GET and PUT of 100 B under a thousand keys, over 64 keep-alive connections without pipelining. Every
server runs on one core and the load on another; the servers take turns within each round, and the
median of the rounds counts: machines are noisy, ratios less so. `x aiohttp` is the median of the
ratios of each round, `least` and `most` their range. `cpu us` is the processor time of the server
for each request, which other work on the machine changes least.

    kvgossip         an agent, memory-only: GET, PUT
    kvgossip durable an agent with a data directory: a PUT is on the disk (fsync) before it is
                     answered, many in one commit
    aiohttp          the smallest application that puts and gets bytes in a dict
    etcd             one node, its JSON gateway (/v3/kv/range, /v3/kv/put): durable, linearizable
                     reads
    redis            memory-only, in its own protocol, loaded by redis-benchmark
    kvgossip, clients; nats, clients
                     a key-value bucket of JetStream, memory-only, in its own protocol, which wrk
                     does not speak. So both are loaded by the same few lines of Python
                     (clients.py), which are slower than wrk: compare these two with each other only

Needs wrk and two cores; etcd, Redis and NATS are measured where they are installed (Debian: apt-get
install wrk etcd-server redis-server nats-server).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.agents import cluster, cpu_s
from benchmarks.clients import nats_bucket, nats_hello
from benchmarks.report import Report, Row, Table, finish, is_there, need
from kvgossip.runtime.loop import run

CONNECTIONS = 64
VALUE_BYTES = 100
KEYS = 1000
SERVER_CORE, LOAD_CORE = 0, 1
REDIS_REQUESTS_PER_S = 40_000
START_TIMEOUT_S = 30.0
SCRIPT = """
local requests, n = {}, 0
%(setting)s
function request()
  local i = n %% %(keys)d
  n = n + 1
  if not requests[i] then requests[i] = wrk.format("%(method)s", %(path)s, nil, %(body)s) end
  return requests[i]
end
"""
Figures = dict[str, float]


# -- the bare handler, in a process of its own -----------------------------------------------------


async def serve_bare() -> None:
    """Print the port, stop when standard input ends."""
    from aiohttp import web

    store: dict[str, bytes] = {}

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=store[request.match_info["key"]])

    async def put(request: web.Request) -> web.Response:
        store[request.match_info["key"]] = await request.read()
        return web.json_response({"key": request.match_info["key"]})

    app = web.Application()
    app.router.add_get("/kv/{key}", get)
    app.router.add_put("/kv/{key}", put)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


# -- servers ---------------------------------------------------------------------------------------


class Server:
    """A server on its core. `load(method, seconds)` puts it under load."""

    methods: tuple[str, ...] = ("GET", "PUT")
    port: int
    pid: int

    def load(self, method: str, seconds: int) -> Figures:
        raise NotImplementedError

    def prepare(self) -> None:
        """Write what will be read."""
        self.load("PUT", 1)

    def measure(self, method: str, seconds: int) -> Figures:
        """Requests/s, latencies in ms, and the server's processor time for each request in us."""
        before_s, started_s = cpu_s(self.pid), time.monotonic()
        figures = self.load(method, seconds)
        lasted_s = time.monotonic() - started_s
        requests = figures.pop("requests", figures["requests_per_s"] * lasted_s)
        return {**figures, "cpu_us": 1e6 * (cpu_s(self.pid) - before_s) / requests}

    def stop(self) -> None:
        raise NotImplementedError


class OverHttp(Server):
    """A server that answers GET and PUT of /kv/KEY."""

    def prepare(self) -> None:
        # each key, however slow the machine is: a GET of one that is missing would be an error
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START_TIMEOUT_S)
        for number in range(KEYS):
            connection.request("PUT", f"/kv/key-{number}", b"x" * VALUE_BYTES)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                sys.exit(f"a PUT was answered with {answer.status}")
        connection.close()

    def load(self, method: str, seconds: int) -> Figures:
        body = f'string.rep("x", {VALUE_BYTES})' if method == "PUT" else "nil"
        return wrk(self.port, seconds, method=method, path='"/kv/key-" .. i', body=body)


class Kvgossip(OverHttp):
    """An agent, with a data directory where it is `durable`."""

    def __init__(self, *, durable: bool = False) -> None:
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) if durable else None
        (self.agent,) = self._stack.enter_context(cluster(1, folder=folder, core=SERVER_CORE))
        self.port, self.pid = self.agent.address[1], self.agent.pid
        self.methods = ("PUT",) if durable else ("GET", "PUT")

    def stop(self) -> None:
        self._stack.close()


class Command(Server):
    """Another program; FOLDER in its command is a directory of its own."""

    def __init__(self, command: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        pinned = ["taskset", "-c", str(SERVER_CORE)]
        pinned += [part.replace("FOLDER", self._folder.name) for part in command]
        self.process = subprocess.Popen(
            pinned,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # one core is one core for those too that would start a thread for each
            env={**os.environ, "GOMAXPROCS": "1"},
        )
        self.pid = self.process.pid

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.terminate()
        self.process.wait(30)
        self._folder.cleanup()


class Bare(Command, OverHttp):
    """The bare handler."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.http", "--serve-bare"])
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())


class Etcd(Command):
    """etcd, of one node."""

    def __init__(self) -> None:
        self.port, peers = free_ports(2)
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peers}"
        options = {
            "data-dir": "FOLDER/etcd",
            "log-level": "error",
            "name": "bench",
            "initial-cluster": f"bench={peer}",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
        }
        super().__init__(["etcd", *(f"--{name}={value}" for name, value in options.items())])
        wait_for(self.port)

    def load(self, method: str, seconds: int) -> Figures:
        action, value = (
            ("range", "")
            if method == "GET"
            else ("put", f',"value":"{_base64(b"x" * VALUE_BYTES)}"')
        )
        # base64 of the keys, made here because Lua has none
        keys = ",".join(f'"{_base64(f"key-{number}".encode())}"' for number in range(KEYS))
        body = f"'{{\"key\":\"' .. keys[i + 1] .. '\"{value}}}'"
        return wrk(
            self.port,
            seconds,
            method="POST",
            path=f'"/v3/kv/{action}"',
            body=body,
            setting=f"local keys = {{{keys}}}",
        )


class Redis(Command):
    """Redis, without a disk."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        super().__init__(
            [
                "redis-server",
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                "FOLDER",
            ]
        )
        wait_for(self.port)

    def load(self, method: str, seconds: int) -> Figures:
        command = [
            "taskset",
            "-c",
            str(LOAD_CORE),
            "redis-benchmark",
            "-p",
            str(self.port),
            "-c",
            str(CONNECTIONS),
            "-d",
            str(VALUE_BYTES),
        ]
        command += [
            "-n",
            str(seconds * REDIS_REQUESTS_PER_S),
            "-r",
            str(KEYS),
            "-t",
            "get" if method == "GET" else "set",
            "--csv",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        (row,) = csv.DictReader(done.stdout.splitlines())
        names = {"requests_per_s": "rps", "p50_ms": "p50_latency_ms", "p99_ms": "p99_latency_ms"}
        return {name: float(row[column]) for name, column in names.items()}


class Clients(Server):
    """Servers that are loaded by clients.py."""

    system: str

    def load(self, method: str, seconds: int) -> Figures:
        command = [
            "taskset",
            "-c",
            str(LOAD_CORE),
            sys.executable,
            "-m",
            "benchmarks.clients",
            self.system,
            "--port",
            str(self.port),
        ]
        command += [
            "--method",
            method,
            "--seconds",
            str(seconds),
            "--connections",
            str(CONNECTIONS),
            "--keys",
            str(KEYS),
        ]
        figures: Figures = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        )
        return figures


class KvgossipByClients(Clients, Kvgossip):
    system = "kvgossip"


class Nats(Clients, Command):
    """NATS with a bucket of JetStream in memory."""

    system = "nats"

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        super().__init__(
            ["nats-server", "-js", "-sd", "FOLDER", "-a", "127.0.0.1", "-p", str(self.port)]
        )
        wait_for(self.port)
        make_bucket(self.port, replicas=1)


SERVERS: dict[str, Callable[[], Server]] = {
    "aiohttp": Bare,
    "kvgossip": Kvgossip,
    "kvgossip durable": lambda: Kvgossip(durable=True),
    "etcd": Etcd,
    "redis": Redis,
    "kvgossip, clients": KvgossipByClients,
    "nats, clients": Nats,
}
PEERS = {
    "etcd": ("etcd", "etcd-server"),
    "redis": ("redis-benchmark", "redis-server"),
    "nats, clients": ("nats-server", "nats-server"),
}
"""The command that each needs, and the Debian package that has it."""


def make_bucket(port: int, replicas: int) -> None:
    """A cluster of NATS answers nothing to this until it has elected somebody."""
    end_s = time.monotonic() + START_TIMEOUT_S
    told = b""
    while time.monotonic() < end_s:
        with socket.create_connection(("127.0.0.1", port)) as asking, suppress(TimeoutError):
            asking.settimeout(1.0)
            asking.sendall(nats_hello("_INBOX.b") + nats_bucket("_INBOX.b", replicas))
            told = b""
            while (
                b"_create_response" not in told
                and b" 503\r\n" not in told
                and (data := asking.recv(65536))
            ):
                told += data
        if b"_create_response" in told and b'"error"' not in told:
            return
        time.sleep(0.2)
    sys.exit(f"NATS made no bucket: {told[-500:]!r}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(port: int) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end_s:
                sys.exit(f"nothing listens on port {port}")
            time.sleep(0.05)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- load ----------------------------------------------------------------------------------------


def wrk(
    port: int,
    seconds: int,
    *,
    method: str,
    path: str,
    body: str,
    setting: str = "",
    scheme: str = "http",
) -> Figures:
    """What wrk measures with requests whose path and body are these expressions of Lua, of `i`;
    `setting` is Lua that runs once before them."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "load.lua")
        script.write_text(
            SCRIPT
            % {"keys": KEYS, "method": method, "path": path, "body": body, "setting": setting}
        )
        command = [
            "taskset",
            "-c",
            str(LOAD_CORE),
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "--latency",
            "-s",
            str(script),
        ]
        done = subprocess.run(
            [*command, f"{scheme}://127.0.0.1:{port}"], capture_output=True, text=True, check=True
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"the load saw errors:\n{done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None, done.stdout
    return {
        "requests_per_s": float(rate[1]),
        "p50_ms": latency(done.stdout, "50%"),
        "p99_ms": latency(done.stdout, "99%"),
    }


def latency(text: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text)
    assert found is not None, text
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def measure(kinds: Sequence[str], seconds: int, rounds: int) -> list[Row]:
    """A row for each method and kind."""
    runs: dict[tuple[str, str], list[Figures]] = {}
    with ExitStack() as stack:
        servers = {}
        for kind in kinds:
            servers[kind] = SERVERS[kind]()
            stack.callback(servers[kind].stop)
        for server in servers.values():
            server.prepare()
        for turn in range(rounds):
            for method in ("GET", "PUT"):
                for kind in sorted(servers, reverse=bool(turn % 2)):
                    if method in servers[kind].methods:
                        seen = servers[kind].measure(method, seconds)
                        runs.setdefault((method, kind), []).append(seen)
                        print(
                            f"round {turn + 1}/{rounds}: {method} {kind}: {seen}", file=sys.stderr
                        )
    return [
        {"request": method, "server": kind}
        | {name: statistics.median(run[name] for run in seen) for name in seen[0]}
        | ratios(seen, runs.get((method, "aiohttp"), []))
        for (method, kind), seen in sorted(runs.items())
    ]


def ratios(runs: Sequence[Figures], bare: Sequence[Figures]) -> Row:
    """Of each round's requests/s to those of the bare handler in the same round."""
    pairs = zip(runs, bare, strict=False)
    found = [mine["requests_per_s"] / theirs["requests_per_s"] for mine, theirs in pairs]
    if not found:
        return {}
    return {"x aiohttp": statistics.median(found), "least": min(found), "most": max(found)}


def report(rows: Sequence[Row], skipped: Sequence[str] = ()) -> Report:
    title = (
        f"{VALUE_BYTES} B over {CONNECTIONS} connections; one core for the server, one for the load"
    )
    return Report("http", [Table(title, rows)], skipped=skipped)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=2, help="length of one load")
    parser.add_argument(
        "--rounds", type=int, default=5, help="loads of each kind; the median counts"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve-bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_bare:
        run(serve_bare())
        return
    need("wrk", "taskset", cores=2)
    skipped: list[str] = []
    kinds = [kind for kind in SERVERS if kind not in PEERS or is_there(*PEERS[kind], skipped)]
    finish(report(measure(kinds, options.seconds, options.rounds), skipped), json=options.json)


if __name__ == "__main__":
    main()
