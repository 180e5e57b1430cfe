"""How long from the start of a PUT on one node until the watchers of all other nodes have it?

    python -m benchmarks.propagation [--nodes 3 10] [--writes 500] [--json]

Every node is a process of its own on this machine, with its watcher in it. The PUTs go over HTTP to
the first node, one after another with a pause, so that the cluster is idle. All processes read one
clock (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from typing import Any

PREFIX = "bench/"


async def be_a_node(name: str, join: str) -> None:
    """One node with a watcher; at the end of standard input it prints when each key came."""
    from kvgossip import Config, Node
    from kvgossip.api.server import ApiServer, listen
    from kvgossip.config import Address

    seen: dict[str, int] = {}

    async def watch() -> None:
        async for change in node.watch(PREFIX):
            seen[change.key] = time.monotonic_ns()

    config = Config(
        name=name,
        cluster="propagation",
        gossip=Address("127.0.0.1", 0),
        join=(join,) if join else (),
    )
    async with Node(config) as node:
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        await node.wait_settled(30)
        watcher = asyncio.create_task(watch())
        print(json.dumps({"gossip": str(node.address), "http": str(server.address)}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        print(json.dumps(seen), flush=True)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await server.stop()


class Child:
    """A node process."""

    def __init__(self, name: str, join: str) -> None:
        command = [sys.executable, "-m", "benchmarks.propagation", "--child", name, "--join", join]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        told = self._read()
        self.gossip, self.http = told["gossip"], told["http"]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def stop(self) -> dict[str, int]:
        """When each key came, in ns of the common clock."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen: dict[str, int] = self._read()
        self._process.wait(30)
        return seen


def ask(connection: socket.socket, request: bytes) -> int:
    """Send a request in one piece, read the answer; when it started, ns of the common clock."""
    begin = time.monotonic_ns()
    connection.sendall(request)
    answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit(f"the node answered {answer[:100]!r}")
    return begin


def write(address: str, writes: int, pause_s: float) -> tuple[dict[str, int], list[int]]:
    """When each PUT started, and how long a GET of /healthz takes in between: what of the delay is
    this machine's and HTTP's.

    A bare socket instead of a client library: what is measured is the cluster.
    """
    host, _, port = address.rpartition(":")
    started: dict[str, int] = {}
    round_trips: list[int] = []
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(-20, writes):  # the first ones warm up and do not count
            key = f"{PREFIX}{number}"
            put = (
                f"PUT /kv/{key} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\n".encode()
                + b"x" * 100
            )
            begin = ask(connection, put)
            time.sleep(pause_s)
            if number >= 0:
                started[key] = begin
                begin = ask(
                    connection, f"GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
                )
                round_trips.append(time.monotonic_ns() - begin)
                time.sleep(pause_s)
        time.sleep(1)
    return started, sorted(round_trips)


def measure(nodes: int, writes: int, pause_s: float) -> dict[str, Any]:
    children: list[Child] = []
    for number in range(nodes):
        children.append(Child(f"n{number + 1}", children[0].gossip if children else ""))
    time.sleep(2)  # idle means that the news of the joins has gone round, too
    started, round_trips = write(children[0].http, writes, pause_s)
    seen = [child.stop() for child in children][1:]
    lost = sum(key not in came for key in started for came in seen)
    delays = sorted(max(came.get(key, 0) for came in seen) - at for key, at in started.items())
    return {
        "nodes": nodes,
        "writes": writes,
        "healthz_p50_ms": round(round_trips[len(round_trips) // 2] / 1e6, 3),
        "late_by_more_than_1_s": lost,
        "p50_ms": round(delays[len(delays) // 2] / 1e6, 3),
        "p99_ms": round(delays[len(delays) * 99 // 100] / 1e6, 3),
        "max_ms": round(delays[-1] / 1e6, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--pause-ms", type=float, default=20.0, help="between two writes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--join", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        from kvgossip.runtime.loop import run

        run(be_a_node(arguments.child, arguments.join))
        return
    figures = [
        measure(nodes, arguments.writes, arguments.pause_ms / 1000) for nodes in arguments.nodes
    ]
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(
        "from the start of an HTTP PUT on one node until the watchers of all others have it, idle "
        "cluster, one machine"
    )
    for seen in figures:
        print(
            f"{seen['nodes']:3} nodes: p50 {seen['p50_ms']:6.2f} ms   p99 {seen['p99_ms']:6.2f} "
            f"ms   max {seen['max_ms']:6.2f} ms",
            end="",
        )
        print(
            f"   late {seen['late_by_more_than_1_s']}   GET /healthz p50 "
            f"{seen['healthz_p50_ms']:.2f} ms"
        )


if __name__ == "__main__":
    main()
