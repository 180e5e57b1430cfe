"""How fast is the HTTP API, beside a bare aiohttp handler, etcd and Redis?

    python -m benchmarks.http [--seconds 3] [--rounds 5] [--json]

GET and PUT of 100 B under a thousand keys, over 64 keep-alive connections without pipelining. Every
server runs on one core and the load on another; the servers take turns within each round, and the
median of the rounds counts: machines are noisy, ratios less so. `cpu us` is the processor time of
the server for each request, which other work on the machine changes least.

    kvgossip         memory-only: GET, PUT
    kvgossip durable with a data directory: a PUT is on the disk (fsync) before it is answered, many
    in one commit
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
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.clients import nats_bucket, nats_hello

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


# -- servers that this script runs itself, in a process of their own -----------------------------


def serve(kind: str) -> None:
    """Run one server in this process; print its port, stop when standard input ends."""
    from kvgossip.runtime.loop import run

    run(_serve_bare() if kind == "aiohttp" else _serve_node("durable" in kind))


async def _serve_bare() -> None:
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
    await _until_end_of_input(runner.addresses[0][1])
    await runner.cleanup()


async def _serve_node(durable: bool) -> None:
    from kvgossip import Config, Node
    from kvgossip.api.server import ApiServer, listen
    from kvgossip.config import Address

    with tempfile.TemporaryDirectory() as folder:
        async with Node(
            Config(name="bench", gossip=Address("127.0.0.1", 0), data_dir=folder if durable else "")
        ) as node:
            server = ApiServer(node, listen(Address("127.0.0.1", 0)))
            await server.start()
            await _until_end_of_input(server.address.port)
            await server.stop()


async def _until_end_of_input(port: int) -> None:
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# -- servers -------------------------------------------------------------------------------------


class Server:
    """A server process on its core. `load(method, seconds)` puts it under load."""

    methods: tuple[str, ...] = ("GET", "PUT")

    def __init__(self, command: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        command = [
            "taskset",
            "-c",
            str(SERVER_CORE),
            *(part.replace("FOLDER", self._folder.name) for part in command),
        ]
        # one core is one core for those too that would start a thread for each
        environment = {**os.environ, "GOMAXPROCS": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def load(self, method: str, seconds: int) -> Figures:
        raise NotImplementedError

    def measure(self, method: str, seconds: int) -> Figures:
        """Requests/s, latencies in ms, and the server's processor time for each request in
        microseconds."""
        before_s, started_s = self._cpu_s(), time.monotonic()
        figures = self.load(method, seconds)
        requests = figures.pop(
            "requests", figures["requests_per_s"] * (time.monotonic() - started_s)
        )
        return {**figures, "cpu_us": 1e6 * (self._cpu_s() - before_s) / requests}

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.terminate()
        self.process.wait(30)
        self._folder.cleanup()

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Own(Server):
    """kvgossip, or the bare handler."""

    def __init__(self, kind: str) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.http", "--serve", kind])
        self.methods = ("PUT",) if "durable" in kind else ("GET", "PUT")
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def load(self, method: str, seconds: int) -> Figures:
        body = f'string.rep("x", {VALUE_BYTES})' if method == "PUT" else "nil"
        return wrk(self.port, seconds, method=method, path='"/kv/key-" .. i', body=body)


class Etcd(Server):
    """etcd, of one node."""

    def __init__(self) -> None:
        self.port, peers = free_ports(2)
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peers}"
        options = {
            "data-dir": "FOLDER/etcd", "log-level": "error", "name": "bench",
            "initial-cluster": f"bench={peer}",
            "listen-client-urls": client, "advertise-client-urls": client,
            "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
        }  # fmt: skip
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


class Redis(Server):
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
    port: int

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


class OwnByClients(Clients, Own):
    system = "kvgossip"


class Nats(Clients):
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
    "aiohttp": lambda: Own("aiohttp"),
    "kvgossip": lambda: Own("kvgossip"),
    "kvgossip durable": lambda: Own("kvgossip durable"),
    "etcd": Etcd,
    "redis": Redis,
    "kvgossip, clients": lambda: OwnByClients("kvgossip"),
    "nats, clients": Nats,
}
PACKAGES = {
    "etcd": ("etcd", "etcd-server"), "redis": ("redis-benchmark", "redis-server"), ("nats, "
    "clients"): ("nats-server", "nats-server")
}  # fmt: skip


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
    port: int, seconds: int, *, method: str, path: str, body: str, setting: str = ""
) -> Figures:
    """What wrk measures with requests whose path and body are these expressions of Lua, of `i`."""
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
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True
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


def measure(kinds: list[str], seconds: int, rounds: int) -> dict[str, dict[str, Figures]]:
    """By method and kind."""
    servers = {kind: SERVERS[kind]() for kind in kinds}
    runs: dict[tuple[str, str], list[Figures]] = {}
    try:
        for server in servers.values():
            server.load("PUT", 1)
        for turn in range(rounds):
            for method in ("GET", "PUT"):
                for kind in sorted(servers, reverse=bool(turn % 2)):
                    if method in servers[kind].methods:
                        seen = servers[kind].measure(method, seconds)
                        runs.setdefault((method, kind), []).append(seen)
                        print(
                            f"round {turn + 1}/{rounds}: {method} {kind}: {seen}", file=sys.stderr
                        )
    finally:
        for server in servers.values():
            server.stop()
    figures: dict[str, dict[str, Figures]] = {}
    for (method, kind), all_seen in runs.items():
        figures.setdefault(method, {})[kind] = {
            name: round(statistics.median(run[name] for run in all_seen), 3) for name in all_seen[0]
        }
    return figures


def print_figures(figures: dict[str, dict[str, Figures]]) -> None:
    print(
        f"{CONNECTIONS} keep-alive connections, {VALUE_BYTES} B, one core for the server, one for "
        "the load"
    )
    print(f"load average {os.getloadavg()[0]:.1f} at the end, of which this benchmark is up to 2")
    print(
        f"{'':4} {'':17} {'requests/s':>10} {'x aiohttp':>9} {'p50 ms':>8} {'p99 ms':>8} "
        f"{'cpu us':>7}"
    )
    for method, by_kind in figures.items():
        for kind, seen in sorted(by_kind.items()):
            ratio = seen["requests_per_s"] / by_kind["aiohttp"]["requests_per_s"]
            print(
                f"{method:4} {kind:17} {seen['requests_per_s']:10.0f} {ratio:9.2f} "
                f"{seen['p50_ms']:8.2f} {seen['p99_ms']:8.2f}"
                f" {seen['cpu_us']:7.1f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3, help="length of one load")
    parser.add_argument(
        "--rounds", type=int, default=5, help="loads of each kind; the median counts"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--serve", choices=("aiohttp", "kvgossip", "kvgossip durable"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    if shutil.which("wrk") is None or shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        sys.exit(
            "this benchmark needs wrk, taskset and two cores (Debian: apt-get install wrk "
            "util-linux)"
        )
    kinds = list(SERVERS)
    for kind, (command, package) in PACKAGES.items():
        if shutil.which(command) is None:
            print(
                f"{kind} is not installed and not measured (Debian: apt-get install {package})",
                file=sys.stderr,
            )
            kinds.remove(kind)
    figures = measure(kinds, arguments.seconds, arguments.rounds)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        print_figures(figures)


if __name__ == "__main__":
    main()
