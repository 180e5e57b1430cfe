"""How long from the start of a PUT on one node until the watchers of all other nodes have it?

    python -m benchmarks.propagation [--nodes 3 10] [--writes 500] [--json]

Every node is an agent on this machine; all watchers are streams of /watch, one on each of the other
nodes, in this process. The PUTs go over HTTP to the first node, one after another with a pause, so
that the cluster is idle. `healthz`: how long a GET of /healthz takes in between, which is what of
the delay is this machine's and HTTP's.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.fanout import Kvgossip, Listening
from benchmarks.report import Report, Row, Table, finish
from kvgossip.runtime.loop import run

WARM_UP = 20
LATE_S = 1.0
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n"


class Cluster(Kvgossip):
    """Agents on all processors."""

    core = None


async def measure(nodes: int, writes: int, calm_s: float = 2.0) -> Row:
    cluster = Cluster(nodes)
    try:
        listening = Listening(cluster)
        await listening.begin(cluster.ports[1:])
        await asyncio.sleep(calm_s)  # idle means that the news of the joins has gone round, too
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.ports[0])
        delays_s, round_trips_s = [], []
        for _ in range(WARM_UP + writes):
            _, last_s, _ = await listening.write()
            delays_s.append(last_s)
            round_trips_s.append(await round_trip_s(reader, writer))
        writer.close()
        listening.end()
    finally:
        cluster.stop()
    delays, round_trips = sorted(delays_s[WARM_UP:]), sorted(round_trips_s[WARM_UP:])
    return {
        "nodes": nodes,
        "writes": writes,
        "p50 ms": 1000 * delays[writes // 2],
        "p99 ms": 1000 * delays[writes * 99 // 100],
        "max ms": 1000 * delays[-1],
        "later than 1 s": sum(delay_s > LATE_S for delay_s in delays),
        "healthz p50 ms": 1000 * round_trips[writes // 2],
    }


async def round_trip_s(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    started_s = time.perf_counter()
    writer.write(HEALTHZ)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return time.perf_counter() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    title = "from the start of a PUT on one node until the watchers of all others have it"
    rows = [run(measure(nodes, options.writes)) for nodes in options.nodes]
    finish(Report("propagation", [Table(title, rows)]), json=options.json)


if __name__ == "__main__":
    main()
