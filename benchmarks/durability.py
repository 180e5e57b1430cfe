"""What does a durable write cost, and how long does a restart take? Beside etcd, in the same run.

    python -m benchmarks.durability [puts restart] [--seconds 5] [--rounds 3] [--keys 1000000]
    [--json]

puts      PUT of 100 B, on the disk (fsync) before the answer, over 64 connections and over one,
with wrk: one node, and a cluster of
          three, of which one node or each of them is asked. All servers are pinned to one core, the
          load to the other. etcd is asked by its JSON gateway, as it has no other HTTP API.
          In turns, since machines are noisy; medians. Each server keeps its data in a directory of
          its own on the same disk.
restart   A node is filled with that many keys of 100 B and stopped: bytes on the disk for each key,
and the seconds from the start of its
          process until it answers a GET of one of them.

Needs wrk, taskset and etcd (Debian: apt-get install wrk util-linux etcd-server) and two cores.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.http import LOAD_CORE, SERVER_CORE, latency

VALUE_BYTES = 100
KEYS = 1000
LOADS = ((1, 1, 64), (1, 1, 1), (3, 1, 64), (3, 1, 1), (3, 3, 64))
"""Nodes of the cluster, how many of them are asked, and over how many connections together."""
PATIENCE_S = 120.0
FILL = 1000
PUT_KVGOSSIP = """
local n = 0
local body = string.rep("x", %d)
function request()
  n = n + 1
  return wrk.format("PUT", "/kv/key-" .. (n %% %d), nil, body)
end
"""
PUT_ETCD = """
local n = 0
local keys = { %s }
function request()
  n = n + 1
  local body = '{"key":"' .. keys[n %% #keys + 1] .. '","value":"%s"}'
  return wrk.format("POST", "/v3/kv/put", {["Content-Type"] = "application/json"}, body)
end
"""

SPREAD = """
local hosts, count = { %s }, 0
function setup(thread)
  local host, port = hosts[count %% #hosts + 1]:match("(.*):(.*)")
  thread.addr, count = wrk.lookup(host, port)[1], count + 1
end
"""
"""Each thread of the load asks another node."""

Figures = dict[str, Any]


def text64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


# -- servers -------------------------------------------------------------------------------------


class Server:
    """One process of either kind; `url` is where it answers HTTP."""

    def __init__(self, command: list[str], url: str, log: Path) -> None:
        self.url, self._command, self._log = url, ["taskset", "-c", str(SERVER_CORE), *command], log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)
            self.process = None


def kvgossip_cluster(folder: Path, size: int) -> list[Server]:
    gossip = [free_port() for _ in range(size)]
    servers = []
    for number in range(size):
        http = free_port()
        command = [
            sys.executable, "-m", "kvgossip", "agent", "--name", f"n{number}", "--http",
            f"127.0.0.1:{http}", "--log-level", "error",
            "--gossip", f"127.0.0.1:{gossip[number]}", "--data-dir",
            str(folder / f"kvgossip-{number}"),
            *(["--join", f"127.0.0.1:{gossip[0]}"] if number else []),
        ]  # fmt: skip
        servers.append(
            Server(command, f"http://127.0.0.1:{http}", folder / f"kvgossip-{number}.log")
        )
    return servers


def etcd_cluster(folder: Path, size: int) -> list[Server]:
    peers = [f"http://127.0.0.1:{free_port()}" for _ in range(size)]
    members = ",".join(f"n{number}={peer}" for number, peer in enumerate(peers))
    servers = []
    for number, peer in enumerate(peers):
        url = f"http://127.0.0.1:{free_port()}"
        command = [
            "etcd", "--name", f"n{number}", "--data-dir", str(folder / f"etcd-{number}"),
            "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer,
            "--initial-cluster", members, "--max-txn-ops", str(FILL), "--quota-backend-bytes",
            str(8 * 2**30), "--log-level", "error",
        ]  # fmt: skip
        servers.append(Server(command, url, folder / f"etcd-{number}.log"))
    return servers


CLUSTERS = {"kvgossip": kvgossip_cluster, "etcd": etcd_cluster}


@contextmanager
def running(kind: str, folder: Path, size: int) -> Iterator[list[Server]]:
    """A cluster that takes writes on every node."""
    servers = CLUSTERS[kind](folder, size)
    try:
        for server in servers:
            server.start()
        for server in servers:
            wait_until_it_answers(kind, server, put(kind, server, b"ready", b"1"))
        yield servers
    finally:
        for server in servers:
            server.stop()


def put(kind: str, server: Server, key: bytes, value: bytes) -> urllib.request.Request:
    if kind == "kvgossip":
        return urllib.request.Request(f"{server.url}/kv/{key.decode()}", value, method="PUT")
    body = json.dumps({"key": text64(key), "value": text64(value)}).encode()
    return urllib.request.Request(f"{server.url}/v3/kv/put", body, method="POST")


def get(kind: str, server: Server, key: bytes) -> urllib.request.Request:
    if kind == "kvgossip":
        return urllib.request.Request(f"{server.url}/kv/{key.decode()}")
    return urllib.request.Request(
        f"{server.url}/v3/kv/range", json.dumps({"key": text64(key)}).encode(), method="POST"
    )


def wait_until_it_answers(kind: str, server: Server, request: urllib.request.Request) -> bytes:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                body: bytes = answer.read()
                return body
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{kind} at {server.url} does not answer: {error}") from error
            time.sleep(0.005)


# -- puts ----------------------------------------------------------------------------------------


def script_of(kind: str) -> str:
    if kind == "kvgossip":
        return PUT_KVGOSSIP % (VALUE_BYTES, KEYS)
    keys = ",".join(f'"{text64(b"key-%d" % number)}"' for number in range(KEYS))
    return PUT_ETCD % (keys, text64(b"x" * VALUE_BYTES))


def load(kind: str, servers: Sequence[Server], connections: int, seconds: float) -> Figures:
    hosts = ", ".join(f'"{server.url.removeprefix("http://")}"' for server in servers)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "load.lua")
        script.write_text(script_of(kind) + SPREAD % hosts)
        command = [
            "taskset",
            "-c",
            str(LOAD_CORE),
            "wrk",
            f"-t{len(servers)}",
            f"-c{connections}",
            f"-d{seconds:g}s",
            "--latency",
        ]
        told = subprocess.run(
            [*command, "-s", str(script), servers[0].url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        sys.exit(f"the load saw errors:\n{told}")
    rate = next(
        float(line.split()[1]) for line in told.splitlines() if line.startswith("Requests/sec")
    )
    return {"requests_per_s": rate, "p50_ms": latency(told, "50%"), "p99_ms": latency(told, "99%")}


def measure_puts(options: argparse.Namespace) -> list[Figures]:
    found = []
    for size, loads in itertools.groupby(LOADS, key=lambda load: load[0]):
        with tempfile.TemporaryDirectory(dir=options.dir) as folder, ExitStack() as stack:
            clusters = {
                kind: stack.enter_context(running(kind, Path(folder), size)) for kind in CLUSTERS
            }
            for _, asked, connections in loads:
                runs: dict[str, list[Figures]] = {kind: [] for kind in clusters}
                for turn in range(options.rounds):
                    for kind in sorted(clusters, reverse=bool(turn % 2)):
                        runs[kind].append(
                            load(kind, clusters[kind][:asked], connections, options.seconds)
                        )
                        text = (
                            f"{size} node(s), {asked} of them asked, {connections} "
                            f"connection(s), {kind}: {runs[kind][-1]}"
                        )
                        print(text, file=sys.stderr)
                medians = {
                    kind: {name: statistics.median(run[name] for run in seen) for name in seen[0]}
                    for kind, seen in runs.items()
                }
                ratio = medians["kvgossip"]["requests_per_s"] / medians["etcd"]["requests_per_s"]
                found.append(
                    {
                        "nodes": size,
                        "asked": asked,
                        "connections": connections,
                        **medians,
                        "ratio": round(ratio, 2),
                    }
                )
    return found


def print_puts(found: list[Figures]) -> None:
    print(f"durable PUT of {VALUE_BYTES} B; one core for all servers, one for the load")
    print(
        f"{'nodes':>5}{'asked':>7}{'connections':>13}  "
        f"{'':10}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}"
    )
    for row in found:
        for kind in CLUSTERS:
            seen = row[kind]
            print(f"{row['nodes']:5}{row['asked']:7}{row['connections']:13}  {kind:10}", end="")
            print(f"{seen['requests_per_s']:12,.0f}{seen['p50_ms']:9.2f}{seen['p99_ms']:9.2f}")
        print(f"{'':27}{'ratio':10}{row['ratio']:12.2f}")


# -- restart -------------------------------------------------------------------------------------


def fill_kvgossip(server: Server, folder: Path, keys: int) -> None:
    """By a node in this process, since it is only about what is on the disk afterwards."""
    import asyncio

    from kvgossip import Config, Node
    from kvgossip.config import Address

    async def fill() -> None:
        rng = random.Random(1)
        async with Node(
            Config(name="n0", gossip=Address("127.0.0.1", 0), data_dir=str(folder / "kvgossip-0"))
        ) as node:
            for start in range(0, keys, FILL):
                await asyncio.gather(
                    *(
                        node.put(f"key-{number:08}", rng.randbytes(VALUE_BYTES))
                        for number in range(start, min(start + FILL, keys))
                    )
                )

    asyncio.run(fill())


def fill_etcd(server: Server, folder: Path, keys: int) -> None:
    rng = random.Random(1)
    server.start()
    wait_until_it_answers("etcd", server, get("etcd", server, b"x"))
    for start in range(0, keys, FILL):
        puts = [
            {
                "requestPut": {
                    "key": text64(b"key-%08d" % number),
                    "value": text64(rng.randbytes(VALUE_BYTES)),
                }
            }
            for number in range(start, min(start + FILL, keys))
        ]
        body = json.dumps({"success": puts}).encode()
        wait_until_it_answers(
            "etcd", server, urllib.request.Request(f"{server.url}/v3/kv/txn", body, method="POST")
        )
    server.stop()


FILLERS = {"kvgossip": fill_kvgossip, "etcd": fill_etcd}


def measure_restart(options: argparse.Namespace) -> Figures:
    found: Figures = {"keys": options.keys}
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(dir=options.dir) as name:
            folder = Path(name)
            (server,) = CLUSTERS[kind](folder, 1)
            FILLERS[kind](server, folder, options.keys)
            key = b"key-%08d" % (options.keys - 1)
            took_s = []
            for _ in range(options.rounds):
                started_s = time.monotonic()
                server.start()
                answer = wait_until_it_answers(kind, server, get(kind, server, key))
                took_s.append(time.monotonic() - started_s)
                assert len(answer) >= VALUE_BYTES, answer
                server.stop()
            disk = sum(
                file.stat().st_blocks * 512
                for file in (folder / f"{kind}-0").rglob("*")
                if file.is_file()
            )
            found[kind] = {
                "restart_s": round(statistics.median(took_s), 2),
                "disk_bytes_a_key": round(disk / options.keys, 1),
            }
            print(f"{kind}: {found[kind]}", file=sys.stderr)
    return found


def print_restart(found: Figures) -> None:
    print(f"restart with {found['keys']:,} keys of {VALUE_BYTES} B")
    print(f"  {'':10}{'seconds':>9}{'disk bytes a key':>18}")
    for kind, seen in found.items():
        if kind != "keys":
            print(f"  {kind:10}{seen['restart_s']:9.2f}{seen['disk_bytes_a_key']:18.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help="puts, restart; default: both")
    parser.add_argument("--seconds", type=float, default=5, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the restart")
    parser.add_argument(
        "--dir",
        help=(
            "where the data goes; default: the system's temporary directory, which must be on a "
            "disk"
        ),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    options.kinds = tuple(CLUSTERS)
    if not all(map(shutil.which, ("wrk", "taskset", "etcd"))) or (os.cpu_count() or 1) < 2:
        sys.exit(
            "this benchmark needs wrk, taskset, etcd and two cores (Debian: apt-get install wrk "
            "util-linux etcd-server)"
        )
    sections = {"puts": (measure_puts, print_puts), "restart": (measure_restart, print_restart)}
    found: Figures = {}
    for section in options.sections or sections:
        measure, show = sections[section]
        found[section] = measure(options)
        if not options.json:
            show(found[section])  # type: ignore[operator]
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
