"""How long does a PUT take that waits until all nodes hold it?

    python -m benchmarks.wait [--nodes 10] [--writes 300] [--json]

Every node is an agent on this machine. The PUTs go over HTTP to the first node, one after another
with a pause, in turns without a wait, with ?wait=majority and with ?wait=all: what waiting costs is
the difference. The load of the machine is printed, for it matters: all nodes have to get a turn.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.agents import cluster
from benchmarks.report import Report, Row, Table, finish

WAITS = ("", "majority", "all")
WARM_UP = 10
"""So many first writes do not count."""


def put(connection: socket.socket, target: str) -> tuple[float, Any]:
    """Milliseconds until the answer is whole, and the answer."""
    begin = time.monotonic()
    connection.sendall(
        f"PUT {target} HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n".encode() + b"x" * 100
    )
    head, body = connection.recv(65536), b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    head, _, body = head.partition(b"\r\n\r\n")
    length = int(
        next(
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ).split(b":")[1]
    )
    while len(body) < length:
        body += connection.recv(65536)
    took_ms = (time.monotonic() - begin) * 1000
    if head.split()[1] not in (b"200", b"202"):
        sys.exit(f"the node answered {head[:60]!r} {body[:200]!r}")
    return took_ms, json.loads(body)


def measure(nodes: int, writes: int, pause_s: float, calm_s: float = 2.0) -> list[Row]:
    took_ms: dict[str, list[float]] = {wait: [] for wait in WAITS}
    unmet: Counter[str] = Counter()
    load = os.getloadavg()[0]
    with cluster(nodes) as agents, socket.create_connection(agents[0].address) as connection:
        time.sleep(calm_s)  # idle means that the news of the joins has gone round, too
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(-WARM_UP, writes):
            for wait in WAITS:
                query = f"?wait={wait}&timeout=10s" if wait else ""
                ms, answer = put(connection, f"/kv/bench/{number}{wait}{query}")
                unmet[wait] += bool(wait) and not answer["met"]
                if wait == "all" and answer["met"] and len(answer["held_by"]) != nodes:
                    sys.exit(f"met by {len(answer['held_by'])} of {nodes} nodes")
                if number >= 0:
                    took_ms[wait].append(ms)
                time.sleep(pause_s)
    load = (load + os.getloadavg()[0]) / 2
    return [
        {"nodes": nodes, "wait": wait or "none", "writes": writes}
        | figures(took_ms[wait])
        | {"unmet": unmet[wait], "load average": load}
        for wait in WAITS
    ]


def figures(took_ms: list[float]) -> Row:
    ordered = sorted(took_ms)
    return {
        "p50 ms": ordered[len(ordered) // 2],
        "p99 ms": ordered[len(ordered) * 99 // 100],
        "max ms": ordered[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[10])
    parser.add_argument("--writes", type=int, default=300)
    parser.add_argument("--pause-ms", type=float, default=20.0, help="between two writes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    pause_s = options.pause_ms / 1000
    rows = [row for nodes in options.nodes for row in measure(nodes, options.writes, pause_s)]
    title = "a PUT of 100 B on one of so many nodes, until its answer"
    finish(Report("wait", [Table(title, rows)]), json=options.json)


if __name__ == "__main__":
    main()
