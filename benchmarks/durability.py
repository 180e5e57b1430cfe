"""What does a durable write cost, and how long does a restart take? Beside etcd, in the same run.

    python -m benchmarks.durability [puts restart] [--seconds 3] [--rounds 3] [--keys 1000000]
        [--json]

puts      PUT of 100 B, on the disk (fsync) before the answer, over 64 connections and over one,
          with wrk: one node, and a cluster of three, of which one node or each of them is asked.
          All servers are pinned to one core, the load to the other. etcd is asked by its JSON
          gateway, as it has no other HTTP API. In turns, since machines are noisy; medians. Each
          server keeps its data in a directory of its own on the same disk.
restart   A node is filled with that many keys of 100 B and stopped: bytes on the disk for each key,
          and the seconds from the start of its process until it answers a GET of one of them.

Needs wrk, taskset and two cores; etcd is measured where it is installed (Debian: apt-get install
wrk util-linux etcd-server).
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.agents import PATIENCE_S, VALUE_BYTES, Agent, cluster, fill, key_of
from benchmarks.http import LOAD_CORE, SERVER_CORE, free_ports, latency
from benchmarks.report import Report, Row, Table, finish, is_there, need

KEYS = 1000
LOADS = ((1, 1, 64), (1, 1, 1), (3, 1, 64), (3, 1, 1), (3, 3, 64))
"""Nodes of the cluster, how many of them are asked, and over how many connections together."""
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


# -- servers -------------------------------------------------------------------------------------


class Server(Protocol):
    """One process of either kind; `url` is where it answers HTTP once it runs."""

    @property
    def url(self) -> str: ...

    def stop(self) -> None: ...


class Etcd:
    """A member of a cluster of etcd, which must know all ports before it starts."""

    def __init__(
        self, number: int, clients: Sequence[str], peers: Sequence[str], folder: Path
    ) -> None:
        self.url, peer = clients[number], peers[number]
        self._log = folder / f"etcd-{number}.log"
        members = ",".join(f"n{place}={other}" for place, other in enumerate(peers))
        self._command = [
            "taskset",
            "-c",
            str(SERVER_CORE),
            "etcd",
            "--name",
            f"n{number}",
            "--data-dir",
            str(folder / f"etcd-{number}"),
            "--listen-client-urls",
            self.url,
            "--advertise-client-urls",
            self.url,
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            members,
            "--max-txn-ops",
            str(FILL),
            "--quota-backend-bytes",
            str(8 * 2**30),
            "--log-level",
            "error",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
            self._process = None


def etcd_cluster(folder: Path, size: int) -> list[Etcd]:
    ports = [f"http://127.0.0.1:{port}" for port in free_ports(2 * size)]
    return [Etcd(number, ports[:size], ports[size:], folder) for number in range(size)]


KINDS = ("kvgossip", "etcd")


@contextmanager
def running(kind: str, folder: Path, size: int) -> Iterator[Sequence[Server]]:
    """A cluster that takes writes on every node."""
    with ExitStack() as stack:
        servers: Sequence[Server]
        if kind == "kvgossip":
            servers = stack.enter_context(cluster(size, folder=folder, core=SERVER_CORE))
        else:
            servers = members = etcd_cluster(folder, size)
            for member in members:
                stack.callback(member.stop)
                member.start()
        for server in servers:
            wait_until_it_answers(kind, server, put(kind, server, b"ready", b"1"))
        yield servers


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
                kind: stack.enter_context(running(kind, Path(folder), size))
                for kind in options.kinds
            }
            for _, asked, connections in loads:
                runs: dict[str, list[Figures]] = {kind: [] for kind in clusters}
                for turn in range(options.rounds):
                    for kind in sorted(clusters, reverse=bool(turn % 2)):
                        runs[kind].append(
                            load(kind, clusters[kind][:asked], connections, options.seconds)
                        )
                        text = f"{size} node(s), {asked} asked, {connections} connection(s)"
                        print(f"{text}, {kind}: {runs[kind][-1]}", file=sys.stderr)
                medians = {
                    kind: {name: statistics.median(run[name] for run in seen) for name in seen[0]}
                    for kind, seen in runs.items()
                }
                shape = {"nodes": size, "asked": asked, "connections": connections}
                found += [
                    {**shape, "server": kind, **medians[kind], **ratio_to_etcd(kind, runs)}
                    for kind in medians
                ]
    return found


def ratio_to_etcd(kind: str, runs: Mapping[str, Sequence[Figures]]) -> Row:
    """Of each round's requests/s; the servers take turns within a round."""
    if kind == "etcd" or "etcd" not in runs:
        return {}
    pairs = zip(runs[kind], runs["etcd"], strict=True)
    found = [ours["requests_per_s"] / theirs["requests_per_s"] for ours, theirs in pairs]
    return {"x etcd": statistics.median(found), "least": min(found), "most": max(found)}


def table_of_puts(found: Sequence[Row]) -> Table:
    return Table(
        f"durable PUT of {VALUE_BYTES} B; one core for all servers, one for the load", found
    )


# -- restart -------------------------------------------------------------------------------------


def fill_etcd(server: Etcd, keys: int) -> None:
    rng = random.Random(1)
    server.start()
    wait_until_it_answers("etcd", server, get("etcd", server, b"x"))
    for start in range(0, keys, FILL):
        puts = [
            {
                "requestPut": {
                    "key": text64(key_of(number).encode()),
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


def full(kind: str, folder: Path, keys: int) -> Etcd | Agent:
    """A server that has these keys on its disk, and does not run."""
    if kind == "etcd":
        (etcd,) = etcd_cluster(folder, 1)
        fill_etcd(etcd, keys)
        return etcd
    agent = Agent("n1", data_dir=folder / "kvgossip-0", core=SERVER_CORE)
    try:
        agent.start()
        agent.settle()
        fill(agent.address, keys)
    finally:
        agent.stop()
    return agent


def measure_restart(options: argparse.Namespace) -> list[Row]:
    found = []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(dir=options.dir) as name:
            folder = Path(name)
            server = full(kind, folder, options.keys)
            key = key_of(options.keys - 1).encode()
            took_s = []
            for _ in range(options.rounds):
                started_s = time.monotonic()
                try:
                    server.start()
                    answer = wait_until_it_answers(kind, server, get(kind, server, key))
                    took_s.append(time.monotonic() - started_s)
                finally:
                    server.stop()
                assert len(answer) >= VALUE_BYTES, answer
            files = (file for file in (folder / f"{kind}-0").rglob("*") if file.is_file())
            disk = sum(file.stat().st_blocks * 512 for file in files)
            found.append(
                {
                    "server": kind,
                    "keys": options.keys,
                    "restart s": statistics.median(took_s),
                    "disk bytes a key": disk / options.keys,
                }
            )
            print(found[-1], file=sys.stderr)
    return found


def table_of_restart(found: Sequence[Row]) -> Table:
    return Table(f"restart with keys of {VALUE_BYTES} B until a GET is answered", found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections", nargs="*", help="puts, restart; default: both", default=["puts", "restart"]
    )
    parser.add_argument("--seconds", type=float, default=3, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the restart")
    parser.add_argument(
        "--dir",
        help="where data goes, on a disk; default: the temporary directory",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    need("taskset", cores=2)
    skipped: list[str] = []
    options.kinds = ["kvgossip"]
    if is_there("etcd", "etcd-server", skipped):
        options.kinds.append("etcd")
    sections = {
        "puts": (measure_puts, table_of_puts),
        "restart": (measure_restart, table_of_restart),
    }
    if "puts" in options.sections:
        need("wrk")
    tables = []
    for section in options.sections:
        measure, table_of = sections[section]
        tables.append(table_of(measure(options)))
    finish(Report("durability", tables, skipped=skipped), json=options.json)


if __name__ == "__main__":
    main()
