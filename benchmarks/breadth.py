"""What does a write cost, and when does the last member have it, in clusters of 10 to 128 members?

    python -m benchmarks.breadth [--nodes 10 20 50 100] [--writes 200] [--loss 0 0.02]
        [--direct-fanout 16 128] [--json]

Real replicas with the shipped parameters in one process, in virtual time, without sockets: what the
protocol itself costs. One way takes 0.1 to 2 ms; `loss` is the share of datagrams that are lost.
Writes of 100 B on random nodes are a quarter of a second apart, so that none shares a packet.

    last, max     from the write until the last member has it, ms: the median and the greatest
    late          writes that the last member had later than 0.5 s
    author, hearer, all    CPU microseconds a write: of the node that is written to, of another one
                  on average, and of all together; what they do without writes is taken off
    frames        a write, of all nodes; also without those of idle time
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import time
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.report import Report, Row, Table, finish
from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Effect, Send
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.saved_state import SavedLife, SavedState

WALL_MS = 1_700_000_000_000
SPACING_S, WARM_S, IDLE_S = 0.25, 5.0, 20.0
START_S, LATE_S = 1000.0, 0.5
VALUE = b"x" * 100


OF_ONE_CLUSTER = {
    fact.key: fact.value
    for fact in SavedState({}).own_facts(SavedLife(cluster_id=ClusterId(1, 1)))
    if fact.value is not None
}
"""What each replica begins with: they know each other without ever having joined."""


class Cell:
    """So many replicas that know each other, and the virtual network between them."""

    def __init__(self, nodes: int, direct_fanout: int, loss: float, seed: int) -> None:
        self.time_s = 0.0
        self._rng, self._loss = Random(f"{seed} {nodes} {direct_fanout} {loss}"), loss
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._events = self.frames = 0
        addresses = [Address(f"10.0.{place >> 8}.{place & 255}", 7481) for place in range(nodes)]
        self._at = {address: place for place, address in enumerate(addresses)}
        self._addresses = addresses
        self.cpu_ns = [0] * nodes
        #: by key, when each node had it
        self.came_s: dict[str, list[float]] = {}
        self.replicas = [
            Replica(
                Config(name=f"n{place}", direct_fanout=direct_fanout, digest_levels=2),
                address=address,
                rng=Random(f"{seed} {place}"),
                now=self._now,
                saved=OF_ONE_CLUSTER,
            )
            for place, address in enumerate(addresses)
        ]
        self._due_s = [0.0] * nodes
        for place, replica in enumerate(self.replicas):
            for other in self.replicas:
                if other is not replica:
                    replica.pools.lan.membership.merge(other.member, self._now)
            self._after(self._rng.random(), self._starting(place))

    @property
    def _now(self) -> Now:
        return Now(START_S + self.time_s, WALL_MS + int(1000 * self.time_s))

    def _after(self, delay_s: float, event: Callable[[], None]) -> None:
        self._events += 1
        heapq.heappush(self._heap, (self.time_s + delay_s, self._events, event))

    def _starting(self, place: int) -> Callable[[], None]:
        return lambda: self._input(place, lambda: self.replicas[place].tick(self._now))

    def run(self, seconds: float) -> None:
        end_s = self.time_s + seconds
        while self._heap and self._heap[0][0] <= end_s:
            self.time_s, _, event = heapq.heappop(self._heap)
            event()
        self.time_s = end_s

    def write(self, key: str) -> int:
        """The place of the node that is written to."""
        place = self._rng.randrange(len(self.replicas))
        replica = self.replicas[place]
        self._input(place, lambda: replica.put(key, VALUE, self._now).effects)
        return place

    def _input(self, place: int, call: Callable[[], list[Effect]]) -> None:
        began_ns = time.process_time_ns()
        effects = call()
        self.cpu_ns[place] += time.process_time_ns() - began_ns
        for effect in effects:
            if isinstance(effect, Changed):
                self.came_s.setdefault(effect.key, []).append(self.time_s)
            elif isinstance(effect, Send):
                self._send(place, effect)
        self._plan(place)

    def _send(self, place: int, sent: Send) -> None:
        self.frames += 1
        to = self._at.get(sent.to)
        if to is None or (not sent.reliable and self._rng.random() < self._loss):
            return
        receive, source = self.replicas[to].receive, self._addresses[place]
        self._after(
            self._rng.uniform(0.0001, 0.002),
            lambda: self._input(
                to, lambda: receive(sent.data, source, self._now, reliable=sent.reliable)
            ),
        )

    def _plan(self, place: int) -> None:
        deadline_s = self.replicas[place].deadline()
        due_s = max((1e9 if deadline_s is None else deadline_s) - START_S, self.time_s)
        self._due_s[place] = due_s
        self._after(due_s - self.time_s, lambda: self._tick(place, due_s))

    def _tick(self, place: int, due_s: float) -> None:
        if self._due_s[place] == due_s:
            self._input(place, lambda: self.replicas[place].tick(self._now))


def measure(nodes: int, direct_fanout: int, loss: float, writes: int, seed: int) -> Row:
    cell = Cell(nodes, direct_fanout, loss, seed)
    cell.run(WARM_S)
    idle_ns, idle_frames = sum(cell.cpu_ns), cell.frames
    cell.run(IDLE_S)
    idle_ns_per_s = (sum(cell.cpu_ns) - idle_ns) / IDLE_S
    idle_frames_per_s = (cell.frames - idle_frames) / IDLE_S
    before, frames, author_ns, began_s = list(cell.cpu_ns), cell.frames, 0, {}
    for number in range(writes):
        key = f"k{number}"
        began_s[key] = cell.time_s
        of_each = list(cell.cpu_ns)
        author = cell.write(key)
        cell.run(SPACING_S)
        author_ns += cell.cpu_ns[author] - of_each[author]
    spent_s = writes * SPACING_S
    all_ns = sum(cell.cpu_ns) - sum(before) - idle_ns_per_s * spent_s
    author_ns -= int(idle_ns_per_s / nodes * spent_s)
    sent = cell.frames - frames - idle_frames_per_s * spent_s
    cell.run(40.0)
    last_s = [
        max(came) - began_s[key] if len(came) == nodes else float("inf")
        for key, came in cell.came_s.items()
    ]
    return {
        "nodes": nodes,
        "direct_fanout": direct_fanout,
        "loss": loss,
        "writes": len(last_s),
        "last_ms": 1e3 * statistics.median(last_s),
        "max_ms": 1e3 * max(last_s),
        "late": sum(delay > LATE_S for delay in last_s),
        "author_us": author_ns / writes / 1e3,
        "hearer_us": (all_ns - author_ns) / writes / (nodes - 1) / 1e3,
        "all_us": all_ns / writes / 1e3,
        "frames": sent / writes,
    }


def report(rows: Sequence[Row]) -> Report:
    return Report("breadth", [Table("a write, by members", rows)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--direct-fanout", type=int, nargs="+", default=[128])
    parser.add_argument("--loss", type=float, nargs="+", default=[0.0])
    parser.add_argument("--writes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = [
        measure(nodes, fanout, loss, options.writes, options.seed)
        for nodes in options.nodes
        for loss in options.loss
        for fanout in options.direct_fanout
    ]
    finish(report(rows), json=options.json)


if __name__ == "__main__":
    main()
