"""How soon do watchers hear of a write: many on one node, and those on the other nodes of a
cluster? Beside etcd, NATS and Redis.

    python -m benchmarks.fanout [fanout across] [--watchers 1000] [--rounds 20] [--writes 200]
        [--beside etcd nats redis] [--json]

fanout    One node, so many watchers of one key, each on a connection of its own; then one write a
          round. From its start until the first and the last watcher have it: medians. `cpu us`: of
          the server, for each event that it told.
across    Three nodes, and one watcher on each of the other two; then writes on the first, one after
          the other with a pause. From the start of a write until both have it, and until the writer
          has its answer.

The servers run on one processor, all watchers and the writer in one process on another; for all
systems they are the same few lines, which send bytes and look for bytes. The systems take turns.

    kvgossip   /watch, in memory; the answer to a write waits for nobody
    etcd       its JSON gateway (/v3/watch); on the disk, and a write is answered once a majority
               has it
    nats       a bucket of JetStream, in memory, a push consumer for each watcher, as the client
               libraries make; three replicas in `across`, where a write is answered once a majority
               has it
    redis      in memory, notifications of the keyspace, which do not have the value; in `across`
               two replicas, and the answer to a write waits for nobody

Needs two processors and taskset; what is not installed is not measured (Debian: apt-get install
etcd-server nats-server redis-server).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, cast

from benchmarks.agents import cluster, cpu_s
from benchmarks.clients import BUCKET, nats_hello, nats_put, nats_request
from benchmarks.http import LOAD_CORE, SERVER_CORE, free_ports, make_bucket, wait_for
from benchmarks.report import Report, Row, Table, finish, is_there, need
from kvgossip.cli.process.open_files import raise_file_limit
from kvgossip.runtime.loop import run

KEY, VALUE = "watched", b"x" * 100
CONNECTING = 50
PATIENCE_S, PAUSE_S = 60.0, 0.03
TAIL_BYTES = 64
HTTP_END = b"\r\n\r\n"


class System:
    """Servers of one kind.

    What watchers and a writer send, and what they look for: `begun`, `event` and `written`.
    """

    begun: bytes
    event: bytes
    written: bytes
    hello = b""

    def __init__(self, nodes: int) -> None:
        self._stack = ExitStack()
        self.processes: list[subprocess.Popen[str]] = []
        self.pids: list[int] = []
        self.ports: list[int] = []
        try:
            self.start(nodes)
        except BaseException:
            self.stop()
            raise

    def start(self, nodes: int) -> None:
        raise NotImplementedError

    def watch(self, number: int) -> bytes:
        raise NotImplementedError

    def write(self) -> bytes:
        raise NotImplementedError

    def folder(self) -> str:
        return self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kvgossip-fanout-"))

    def run(self, *command: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "GOMAXPROCS": "1"}
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.processes.append(process)
        self.pids.append(process.pid)
        return process

    def cpu_s(self) -> float:
        return sum(map(cpu_s, self.pids))

    def stop(self) -> None:
        for process in self.processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.terminate()
        for process in self.processes:
            process.wait(PATIENCE_S)
        self._stack.close()


class Kvgossip(System):
    begun, event, written = b"retry: ", b"event: put", b"HTTP/1.1 200 "
    core: int | None = SERVER_CORE

    def start(self, nodes: int) -> None:
        agents = self._stack.enter_context(cluster(nodes, core=self.core))
        self.ports = [agent.address[1] for agent in agents]
        self.pids = [agent.pid for agent in agents]

    def watch(self, number: int) -> bytes:
        return f"GET /watch?key={KEY}&values=base64 HTTP/1.1\r\nHost: n\r\n\r\n".encode()

    def write(self) -> bytes:
        return (
            f"PUT /kv/{KEY} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(VALUE)}\r\n\r\n".encode()
            + VALUE
        )


class Etcd(System):
    begun, event, written = b'"created":true', b'"events":', b'"revision":'

    def start(self, nodes: int) -> None:
        self.ports, peers = free_ports(nodes), free_ports(nodes)
        cluster = ",".join(
            f"n{number}=http://127.0.0.1:{port}" for number, port in enumerate(peers)
        )
        for number, (port, peer) in enumerate(zip(self.ports, peers, strict=True)):
            client, to_peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
            options = {
                "data-dir": self.folder(),
                "log-level": "error",
                "name": f"n{number}",
                "initial-cluster": cluster,
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": to_peers,
                "initial-advertise-peer-urls": to_peers,
            }
            self.run("etcd", *(f"--{name}={value}" for name, value in options.items()))
        for port in self.ports:
            wait_for(port)

    def watch(self, number: int) -> bytes:
        return _post("/v3/watch", {"create_request": {"key": _base64(KEY.encode())}})

    def write(self) -> bytes:
        return _post("/v3/kv/put", {"key": _base64(KEY.encode()), "value": _base64(VALUE)})


class Nats(System):
    begun, event, written = b"consumer_create_response", VALUE, b'"seq":'
    hello = nats_hello("_INBOX.w")

    def start(self, nodes: int) -> None:
        self.ports, routes = free_ports(nodes), free_ports(nodes)
        for number, (port, route) in enumerate(zip(self.ports, routes, strict=True)):
            command = [
                "nats-server",
                "-js",
                "-sd",
                self.folder(),
                "-a",
                "127.0.0.1",
                "-p",
                str(port),
                "-n",
                f"n{number}",
            ]
            if nodes > 1:
                others = ",".join(f"nats://127.0.0.1:{other}" for other in routes)
                command += [
                    "--cluster_name",
                    "bench",
                    "--cluster",
                    f"nats://127.0.0.1:{route}",
                    "--routes",
                    others,
                ]
            self.run(*command)
        for port in self.ports:
            wait_for(port)
        make_bucket(self.ports[0], nodes)

    def watch(self, number: int) -> bytes:
        deliver = f"deliver.{number}"
        config = {
            "deliver_policy": "new",
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "filter_subject": f"$KV.{BUCKET}.{KEY}",
            "deliver_subject": deliver,
            "flow_control": True,
            "idle_heartbeat": 5_000_000_000,
        }
        asked = {"stream_name": f"KV_{BUCKET}", "config": config}
        inbox = f"_INBOX.{number}"
        request = nats_request(
            f"$JS.API.CONSUMER.CREATE.KV_{BUCKET}", inbox, json.dumps(asked).encode()
        )
        return nats_hello(inbox) + f"SUB {deliver} 2\r\n".encode() + request

    def write(self) -> bytes:
        return nats_put(KEY, "_INBOX.w", VALUE)


class Redis(System):
    begun, event, written = b"\r\nsubscribe\r\n", b"\r\nmessage\r\n", b"+OK\r\n"

    def start(self, nodes: int) -> None:
        self.ports = free_ports(nodes)
        for port in self.ports:
            command = [
                "redis-server",
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                self.folder(),
            ]
            command += ["--notify-keyspace-events", "KEA", "--repl-diskless-sync-delay", "0"]
            self.run(
                *command,
                *(("--replicaof", f"127.0.0.1 {self.ports[0]}") if port != self.ports[0] else ()),
            )
            wait_for(port)
        for port in self.ports[1:]:
            self._await_replica(port)

    def _await_replica(self, port: int) -> None:
        ends_s = time.monotonic() + PATIENCE_S
        with socket.create_connection(("127.0.0.1", port)) as asking:
            while time.monotonic() < ends_s:
                asking.sendall(_resp("INFO", "replication"))
                if b"master_link_status:up" in asking.recv(65536):
                    return
                time.sleep(0.1)
        sys.exit("a replica of Redis does not connect")

    def watch(self, number: int) -> bytes:
        return _resp("SUBSCRIBE", f"__keyspace@0__:{KEY}")

    def write(self) -> bytes:
        return _resp("SET", KEY, VALUE.decode())


SYSTEMS = {"kvgossip": Kvgossip, "etcd": Etcd, "nats": Nats, "redis": Redis}
PEERS = {
    "etcd": ("etcd", "etcd-server"),
    "nats": ("nats-server", "nats-server"),
    "redis": ("redis-server", "redis-server"),
}
"""The command that each needs, and the Debian package that has it."""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _post(path: str, document: Any) -> bytes:
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def _resp(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(
        f"${len(word)}\r\n{word}\r\n".encode() for word in words
    )


# -- watchers and a writer -----------------------------------------------------------------------


class Ear(asyncio.Protocol):
    """A connection that says when certain bytes came: `told` gets the time.

    `first` comes once, before any of the others.
    """

    def __init__(self, say: bytes, first: bytes, wanted: bytes, told: asyncio.Queue[float]) -> None:
        self._say, self._first, self._wanted, self._told = say, first, wanted, told
        self._tail = b""
        self.begun = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._say)
        if not self._first:
            self.begun.set_result(None)

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        if not self.begun.done():
            if self._first in data:
                self.begun.set_result(None)
                data = data[data.index(self._first) + len(self._first) :]
        elif (at := data.find(self._wanted)) >= 0:
            self._told.put_nowait(time.perf_counter())
            data = data[at + len(self._wanted) :]
        self._tail = data[-TAIL_BYTES:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(ConnectionError("a watcher was refused"))


class Listening:
    """The watchers of one system, and its writer."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._heard, self._answered = asyncio.Queue[float](), asyncio.Queue[float]()
        self._ears: list[Ear] = []

    async def begin(self, ports: Iterable[int]) -> None:
        system, turn = self._system, asyncio.Semaphore(CONNECTING)

        async def watch(number: int, port: int) -> None:
            async with turn:
                self._ears.append(
                    await self._connect(
                        port, Ear(system.watch(number), system.begun, system.event, self._heard)
                    )
                )

        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(watch(number, port) for number, port in enumerate(ports)))
            self._writer = await self._connect(
                system.ports[0], Ear(system.hello, b"", system.written, self._answered)
            )
            await self.write()

    async def _connect(self, port: int, ear: Ear) -> Ear:
        await asyncio.get_running_loop().create_connection(lambda: ear, "127.0.0.1", port)
        await ear.begun
        return ear

    async def write(self) -> tuple[float, float, float]:
        """Seconds from the start of a write until the first watcher has it, until the last one has,
        and until it is answered.
        """
        async with asyncio.timeout(PATIENCE_S):
            started_s = time.perf_counter()
            self._writer.transport.write(self._system.write())
            answered_s = await self._answered.get()
            heard_s = [await self._heard.get() for _ in self._ears]
        await asyncio.sleep(PAUSE_S)
        return heard_s[0] - started_s, heard_s[-1] - started_s, answered_s - started_s

    def end(self) -> None:
        for ear in (*self._ears, self._writer):
            ear.transport.abort()


async def fanout(kind: str, watchers: int, rounds: int) -> dict[str, Any]:
    system = SYSTEMS[kind](1)
    try:
        listening = Listening(system)
        await listening.begin(system.ports * watchers)
        before_s = system.cpu_s()
        seen = [await listening.write() for _ in range(rounds)]
        cpu_us = 1e6 * (system.cpu_s() - before_s) / (rounds * watchers)
        listening.end()
    finally:
        system.stop()
    first, last, _ = (_milliseconds(times) for times in zip(*seen, strict=True))
    return {
        "first_ms": first["p50"],
        "last_ms": last["p50"],
        "last_ms_max": last["max"],
        "cpu_us": round(cpu_us, 1),
    }


async def across(kind: str, nodes: int, writes: int) -> dict[str, Any]:
    system = SYSTEMS[kind](nodes)
    try:
        listening = Listening(system)
        await listening.begin(system.ports[1:])
        seen = [await listening.write() for _ in range(writes)]
        listening.end()
    finally:
        system.stop()
    _, last, answered = (_milliseconds(times) for times in zip(*seen, strict=True))
    return {
        "p50_ms": last["p50"],
        "p99_ms": last["p99"],
        "max_ms": last["max"],
        "answered_p50_ms": answered["p50"],
    }


def _milliseconds(times_s: Iterable[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    found = {
        "p50": statistics.median(ordered),
        "p99": ordered[len(ordered) * 99 // 100],
        "max": ordered[-1],
    }
    return {name: round(1000 * time_s, 2) for name, time_s in found.items()}


def tables(found: Mapping[str, Mapping[str, Row]], options: argparse.Namespace) -> list[Table]:
    titles = {
        "fanout": f"{options.watchers} watchers of one node, {options.rounds} writes",
        "across": f"3 nodes, a watcher on each of the others, {options.writes} writes",
    }
    return [
        Table(titles[section], [{"server": kind, **seen} for kind, seen in by_kind.items()])
        for section, by_kind in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help="fanout, across; default: both")
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20, help="writes of fanout")
    parser.add_argument("--writes", type=int, default=200, help="of across")
    parser.add_argument("--beside", nargs="*", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    need("taskset", cores=2)
    raise_file_limit()
    os.sched_setaffinity(0, {LOAD_CORE})
    skipped: list[str] = []
    kinds = ["kvgossip", *(kind for kind in options.beside if is_there(*PEERS[kind], skipped))]
    found: dict[str, dict[str, Row]] = {}
    for section in options.sections or ("fanout", "across"):
        for kind in kinds:
            work = (
                fanout(kind, options.watchers, options.rounds)
                if section == "fanout"
                else across(kind, 3, options.writes)
            )
            found.setdefault(section, {})[kind] = run(work)
            print(f"{section}, {kind}: {found[section][kind]}", file=sys.stderr)
    finish(Report("fanout", tables(found, options), skipped=skipped), json=options.json)


if __name__ == "__main__":
    main()
