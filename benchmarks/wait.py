"""How long does a PUT take that waits until all nodes hold it?

    python -m benchmarks.wait [--nodes 10] [--writes 300] [--json]

Every node is a process of its own on this machine. The PUTs go over HTTP to the first node, one
after another with a pause, in turns without a wait, with ?wait=majority and with ?wait=all: what
waiting costs is the difference. The load of the machine is printed, for it matters: all nodes have
to get a turn.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from typing import Any

from benchmarks.propagation import PREFIX, Child

WAITS = ("", "majority", "all")


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


def measure(nodes: int, writes: int, pause_s: float) -> list[dict[str, Any]]:
    children: list[Child] = []
    for number in range(nodes):
        children.append(Child(f"n{number + 1}", children[0].gossip if children else ""))
    time.sleep(2)  # idle means that the news of the joins has gone round, too
    host, _, port = children[0].http.rpartition(":")
    took_ms: dict[str, list[float]] = {wait: [] for wait in WAITS}
    unmet = 0
    load = os.getloadavg()[0]
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(-10, writes):  # the first ones warm up and do not count
            for wait in WAITS:
                ms, answer = put(
                    connection,
                    f"/kv/{PREFIX}{number}{wait}" + (f"?wait={wait}&timeout=10s" if wait else ""),
                )
                unmet += bool(wait) and not answer["met"]
                if wait == "all" and answer["met"] and len(answer["held_by"]) != nodes:
                    sys.exit(f"met by {len(answer['held_by'])} of {nodes} nodes")
                if number >= 0:
                    took_ms[wait].append(ms)
                time.sleep(pause_s)
    for child in children:
        child.stop()
    load = (load + os.getloadavg()[0]) / 2
    return [
        {
            "nodes": nodes,
            "wait": wait or "none",
            "writes": writes,
            "unmet": unmet,
            "load": round(load, 1),
            **_figures(took_ms[wait]),
        }
        for wait in WAITS
    ]


def _figures(took_ms: list[float]) -> dict[str, float]:
    ordered = sorted(took_ms)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 2),
        "p99_ms": round(ordered[len(ordered) * 99 // 100], 2),
        "max_ms": round(ordered[-1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[10])
    parser.add_argument("--writes", type=int, default=300)
    parser.add_argument("--pause-ms", type=float, default=20.0, help="between two writes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    figures = [
        row
        for nodes in arguments.nodes
        for row in measure(nodes, arguments.writes, arguments.pause_ms / 1000)
    ]
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"an HTTP PUT of 100 B on one of so many nodes, one machine with {os.cpu_count()} cores")
    for row in figures:
        print(
            f"{row['nodes']:3} nodes, wait {row['wait']:<8}  p50 {row['p50_ms']:7.2f} ms   p99 "
            f"{row['p99_ms']:7.2f} ms   "
            f"max {row['max_ms']:7.2f} ms   unmet {row['unmet']}   load {row['load']}"
        )


if __name__ == "__main__":
    main()
