"""What does anti-entropy cost among a million keys, on the wire and in time, and whom does it hold
up meanwhile?

    python -m benchmarks.exchange [repair takeover idle] [--keys 1000000] [--differences 1 100 ...]
    [--without-numpy] [--json]

Every node is a process of its own with real sockets on loopback; the load is a third one, so give
it two quiet cores.

repair    Two joined nodes with the same keys, d of them changed, half on either side, and not told
as rumors. One exchange repairs them.
          beyond   bytes of all its messages, frame headers and length prefixes included, without
                   the keys and records that they carry
          stale    bytes of keys and records that were carried and no news: either side may offer
                   its old version of a changed key
          bound    what no protocol can undercut: 2d fingerprints of 64 bits differ, an old and a
                   new one for each key
          list     what a list of all keys with 8 B each would take
          wire     bytes of the TCP streams, after zstd, with everything; the values are random and
                   do not compress
          trips    round trips until both sides hold the same: the longest chain of questions that
                   had to wait for one another; that a window was full does not count, nor does the
                   closing word (Conclude), in which each side learns what the other knows
takeover  An empty node joins one with all keys, which meanwhile answers GETs that are due at a
fixed rate. Latency counts from when a
          request was due, so that a giver that stands still is charged for all that it missed.
          `loading`: how the giver got its keys.
idle      Bytes a second of two nodes in sync that have nothing to do, with few keys and with all,
and what messages these were.

"hold" is how long the event loop did nothing else: a timer that should come each millisecond, and
how late it comes. The time on the clock contains what other processes took from this one; the
processor time does not. "gc": the longest garbage collection.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvgossip import Config, Node

ROOT = Path(__file__).resolve().parents[1]
VALUE_BYTES = 100
EPOCH_MS = 1_700_000_000_000
SITE = 5
FEW_KEYS = 10_000
SLICE = 50
STEP_S = 0.001
HOLD_MAX_S = 0.010
PATIENCE_S = 600.0
GET_CONNECTIONS = 16
FRAME_HEADER_BYTES, LENGTH_BYTES = 18, 4
EXCHANGE_KINDS = (*range(15, 25), 30, 31)
CONCLUDE_KIND = 30

TRIPS_MAX = {1: 2, 100: 2, 1000: 2, 10_000: 7}
BEYOND_MAX = {1: 1_000, 100: 8_000, 1000: 60_000, 10_000: 5_000_000}
WALL_S_MAX = {100: 0.3}
ENTRIES_PER_S_MIN = 50_000
GET_P99_MS_MAX = 20.0

Figures = dict[str, Any]


def key_of(number: int) -> str:
    return f"service/{number:08d}"


def records(
    numbers: Sequence[int], generation: int, value_bytes: int = VALUE_BYTES
) -> Iterator[tuple[str, bytes]]:
    """Keys and records that are the same wherever they are made; a later generation supersedes an
    earlier one."""
    from kvgossip.protocol.model.entry import Version, make_record

    rng, version = Random(generation), Version((EPOCH_MS + generation) << 16, SITE)
    for number in numbers:
        yield key_of(number), make_record(version, rng.randbytes(value_bytes))


# -- in a node's process: what is measured -------------------------------------------------------


class Holds:
    """How late comes a timer that should come each millisecond?"""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._collecting_since_s = 0.0
        gc.callbacks.append(self._collecting)
        self.reset()
        self._loop.call_later(STEP_S, self._tick)

    def reset(self) -> None:
        self._at_s, self._cpu_s = time.monotonic(), time.thread_time()
        self._wall_s = self._busy_s = self._gc_s = 0.0
        self._long = 0

    def figures(self) -> Figures:
        longest = {"cpu_ms": self._busy_s, "wall_ms": self._wall_s, "gc_ms": self._gc_s}
        return {
            **{name: round(value * 1e3, 1) for name, value in longest.items()},
            "over_10_ms": self._long,
        }

    def _tick(self) -> None:
        at_s, cpu_s = time.monotonic(), time.thread_time()
        late_s = max(0.0, at_s - self._at_s - STEP_S)
        busy_s = min(late_s, cpu_s - self._cpu_s)
        self._wall_s, self._busy_s = max(self._wall_s, late_s), max(self._busy_s, busy_s)
        self._long += busy_s > HOLD_MAX_S
        self._at_s, self._cpu_s = at_s, cpu_s
        self._loop.call_later(STEP_S, self._tick)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since_s = time.thread_time()
        else:
            self._gc_s = max(self._gc_s, time.thread_time() - self._collecting_since_s)


class Wire:
    """What a node sends, and the longest chain of questions that waited for one another in the
    exchanges that it started."""

    def __init__(self, node: Node) -> None:
        from kvgossip.protocol.anti_entropy.initiator import Exchange

        pool: Any = node._running.replica.pools.lan
        self._pool, self._send, self._send_units = pool, pool.send, pool.send_units
        self._open, self._continue = Exchange.open, pool.exchanges._receive
        self.kinds: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.depths: dict[int, int] = {}
        self.depth = self.trips = 0
        pool.send, pool.send_units, pool.exchanges._receive = (
            self._on_send,
            self._on_send_units,
            self._on_continue,
        )
        kind: Any = Exchange
        kind.open = lambda exchange, *how: self._on_open(exchange, how)

    def reset(self) -> None:
        self.kinds.clear()
        self.counts.clear()
        self.depths.clear()
        self.depth = self.trips = 0

    def _on_send(self, told: Any, to: Any, *, reliable: bool = False) -> None:
        self._send(told, to, reliable=reliable)
        self.counts["entry_bytes"] += sum(
            len(key.encode()) + len(record) for key, record in getattr(told, "entries", ())
        )

    def _on_send_units(self, units: list[bytes], to: Any, *, reliable: bool = False) -> None:
        before = self._pool.counters["bytes_sent"]
        self._send_units(units, to, reliable=reliable)
        self.kinds.update(unit[0] for unit in units)
        if reliable and units[0][0] in EXCHANGE_KINDS:
            self.counts["messages"] += 1
            self.counts["plain_bytes"] += LENGTH_BYTES + FRAME_HEADER_BYTES + sum(map(len, units))
            self.counts["wire_bytes"] += LENGTH_BYTES + self._pool.counters["bytes_sent"] - before

    # An exchange makes its questions lazily, from iterators that wait in `_work`: a question
    # depends on what was known when its iterator was put there, not on what happened to arrive
    # before its turn.

    def _on_open(self, exchange: Any, how: Any) -> Any:
        self.depth = 0
        exchange._work = _Work(self)
        return self._open(exchange, *how)

    def _on_continue(self, exchange: Any, answer: Any, now: Any) -> Any:
        self.depth = self.depths.pop(answer.request, 0)
        return self._continue(exchange, answer, now)


class _Work(deque[Any]):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def append(self, questions: Any) -> None:
        super().append(self._traced(questions, self._wire.depth + 1))

    def appendleft(self, questions: Any) -> None:
        super().appendleft(self._traced(questions, self._wire.depth + 1))

    def _traced(self, questions: Iterator[Any], depth: int) -> Iterator[Any]:
        for question in questions:
            if question is not None:
                self._wire.depths[question.request] = depth
                if question.kind != CONCLUDE_KIND:
                    self._wire.trips = max(self._wire.trips, depth)
            yield question


class Subject:
    """A node that obeys: each line of standard input names one of the methods below, each line of
    standard output answers."""

    def __init__(self, node: Node, started_s: float) -> None:
        self._node, self._started_s = node, started_s
        self._replica = node._running.replica
        self._holds, self._wire = Holds(), Wire(node)

    async def obey(self, http: str) -> None:
        print(json.dumps({"gossip": str(self._node.address), "http": http}), flush=True)
        while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            answer = await getattr(self, command.pop("do"))(**command)
            print(json.dumps(answer), flush=True)

    async def load(self, keys: int, side: int) -> Figures:
        return await self._merge(records(range(keys), 0))

    async def change(self, keys: int, changed: int, generation: int, side: int) -> Figures:
        chosen = range(keys) if changed == keys else Random(generation).sample(range(keys), changed)
        return await self._merge(
            pair for place, pair in enumerate(records(chosen, generation)) if place % 2 == side
        )

    async def _merge(self, pairs: Iterator[tuple[str, bytes]]) -> Figures:
        """As if heard long ago: into the store and the sketch, and no rumors."""
        store = self._replica.store
        for place, (key, record) in enumerate(pairs):
            store.merge(key, record)
            if place % SLICE == 0:
                await asyncio.sleep(0)
        while not store.sketch.idle:
            store.work_on_sketch()
            await asyncio.sleep(0)
        return {"root": self._replica.store.digest.root}

    async def put(self, keys: int) -> Figures:
        await self.reset()
        started_s = time.monotonic()
        for place, (key, record) in enumerate(records(range(keys), 0)):
            await self._node.put(key, record[-VALUE_BYTES:])
            if place % SLICE == 0:
                await asyncio.sleep(0)
        return {
            "puts_per_s": round(keys / (time.monotonic() - started_s)),
            "hold": self._holds.figures(),
        }

    async def reset(self, side: int = 0) -> Figures:
        gc.collect()
        self._wire.reset()
        self._holds.reset()
        return {}

    async def exchange(self) -> Figures:
        """One with the only peer, whose root is known to differ."""
        from kvgossip.runtime.clocks import read_clocks

        replica: Any = self._replica
        (peer,), done, told = replica.pool.membership.reachable, asyncio.Event(), replica.exchanged

        def exchanged(*how: Any) -> None:
            told(*how)
            done.set()

        replica.exchanged = exchanged
        started_s, now = time.monotonic(), read_clocks()
        replica.pool.exchanges.start(peer.name, now, differs=True)
        self._node._running.do(replica.tick(now), now)
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        replica.exchanged = told
        return {"wall_s": time.monotonic() - started_s}

    async def settled(self) -> Figures:
        await self._node.wait_settled(PATIENCE_S)
        return {"wall_s": time.monotonic() - self._started_s, **await self.figures()}

    async def figures(self, side: int = 0) -> Figures:
        replica = self._replica
        return {
            "root": replica.store.digest.root,
            "keys": len(replica.store),
            "trips": self._wire.trips,
            "hold": self._holds.figures(),
        } | self._wire.counts

    async def idle(self, seconds: float, side: int) -> Figures:
        from kvgossip.protocol.wire.frame import _DECODERS

        before = self._sent()
        await asyncio.sleep(seconds)
        kinds = {
            _DECODERS[kind].type.__name__: told for kind, told in sorted(self._wire.kinds.items())
        }
        return {"bytes_per_s": round((self._sent() - before) / seconds, 1), "kinds": kinds}

    def _sent(self) -> int:
        counts = self._node.status()["transport"]
        return int(counts.get("datagram_bytes_sent", 0) + counts.get("frame_bytes_sent", 0))


async def be_a_node(config: Config) -> None:
    from kvgossip import Node
    from kvgossip.api.server import ApiServer, listen
    from kvgossip.config import Address

    gc.collect()
    started_s = time.monotonic()
    async with Node(config) as node:
        # before the event loop gets its turn: nothing has been sent yet
        subject = Subject(node, started_s)
        server = ApiServer(node, listen(Address("127.0.0.1", 0)))
        await server.start()
        gc.freeze()  # as the agent does
        await subject.obey(str(server.address))
        await server.stop()


def be_a_child(values: dict[str, Any]) -> None:
    if not values.pop("numpy"):
        sys.modules["numpy"] = None  # type: ignore[assignment]
    from kvgossip.config import config_from
    from kvgossip.runtime.loop import run

    run(be_a_node(config_from({"cluster": "benchmark", "gossip": "127.0.0.1:0", **values})))


# -- in the measuring process --------------------------------------------------------------------


class Child:
    """A node process. `tell` and `hear` by themselves let two of them work at the same time."""

    def __init__(self, name: str, numpy: bool, **values: Any) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.exchange",
            "--child",
            json.dumps({"name": name, "numpy": numpy, **values}),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.addresses = self.hear()

    def tell(self, do: str, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else sys.exit("a node process ended: see above")

    def ask(self, do: str, **what: Any) -> Any:
        self.tell(do, **what)
        return self.hear()

    def stop(self) -> None:
        """Its input ends, and so does it."""
        with self._process:
            pass


class Pair:
    """Two nodes that have joined."""

    def __init__(self, numpy: bool, **values: Any) -> None:
        first = Child("n1", numpy, **values)
        self.children = [first, Child("n2", numpy, **values, join=first.addresses["gossip"])]
        self.children[1].ask("settled")

    def both(self, do: str, **what: Any) -> list[Any]:
        for side, child in enumerate(self.children):
            child.tell(do, **what, side=side)
        return [child.hear() for child in self.children]

    def stop(self) -> None:
        for child in self.children:
            child.stop()


def measure_repair(
    keys: int, differences: Sequence[int], rounds: int, numpy: bool
) -> list[Figures]:
    # nothing starts by itself: neither for the roots in probes nor for the push-pull floor
    pair, generations = Pair(numpy, rumor_settling_s=600, push_pull_interval_s=3600), count(1)
    try:
        pair.both("load", keys=keys)
        found = []
        for changed in differences:
            runs = [
                _repair(pair, keys, changed, next(generations))
                for _ in range(rounds if changed < keys else 1)
            ]
            found.append(
                {
                    "changed": changed,
                    **_summary(runs),
                    "bound": lower_bound(2 * changed),
                    "list": keys * (8 + len(key_of(0))),
                }
            )
        return found
    finally:
        pair.stop()


def _repair(pair: Pair, keys: int, changed: int, generation: int) -> Figures:
    pair.both("change", keys=keys, changed=changed, generation=generation)
    pair.both("reset")
    asker = generation % 2
    wall_s = pair.children[asker].ask("exchange")["wall_s"]
    told = pair.both("figures")
    assert told[0]["root"] == told[1]["root"], "the exchange is complete, but the roots differ"
    sums = {
        name: sum(seen.get(name, 0) for seen in told)
        for name in ("messages", "plain_bytes", "wire_bytes", "entry_bytes")
    }
    (key, record), *_ = records([0], 0)
    return {
        "beyond": sums["plain_bytes"] - sums["entry_bytes"],
        "stale": sums["entry_bytes"] - changed * (len(key) + len(record)),
        "entries": sums["entry_bytes"],
        "wire": sums["wire_bytes"],
        "messages": sums["messages"],
        "trips": told[asker]["trips"],
        "wall_s": wall_s,
        "asker_hold": told[asker]["hold"],
        "answerer_hold": told[1 - asker]["hold"],
    }


def _summary(runs: list[Figures]) -> Figures:
    """The median of the times, the worst of everything else."""
    worst: Figures = {}
    for name in runs[0]:
        seen = [run[name] for run in runs]
        worst[name] = (
            max(seen, key=lambda hold: float(hold["cpu_ms"]))
            if name.endswith("_hold")
            else max(seen)
        )
    return {
        **worst,
        "wall_s": round(statistics.median(run["wall_s"] for run in runs), 4),
        "rounds": len(runs),
    }


def lower_bound(differences: int) -> int:
    """Bytes that must be sent for so many differences of 64 bits: d*b - log2(d!) bits
    (shared/published-tables.md)."""
    return math.ceil((64 * differences - math.lgamma(differences + 1) / math.log(2)) / 8)


def measure_takeover(keys: int, gets_per_s: int, numpy: bool) -> Figures:
    children = [Child("giver", numpy)]
    giver, http = children[0], children[0].addresses["http"]
    try:
        loading = giver.ask("put", keys=keys)
        before = asyncio.run(
            get_load(http, keys, gets_per_s, lambda: time.sleep(min(2.0, keys / 50_000)))
        )
        giver.ask("reset")
        during = asyncio.run(get_load(http, keys, gets_per_s, lambda: _take_over(children, numpy)))
        there, here = during.pop("outcome"), giver.ask("figures")
        assert (there["root"], there["keys"]) == (here["root"], keys), (
            "the taker has settled, but lacks something"
        )
        sums = {
            name: there[name] + here[name]
            for name in ("messages", "plain_bytes", "wire_bytes", "entry_bytes")
        }
        return {
            "entries_per_s": round(keys / there["wall_s"]),
            "wall_s": round(there["wall_s"], 2),
            "messages": sums["messages"],
            "beyond": sums["plain_bytes"] - sums["entry_bytes"],
            "wire": sums["wire_bytes"],
            "entries": sums["entry_bytes"],
            "get_before": before,
            "get_during": during,
            "giver_hold": here["hold"],
            "taker_hold": there["hold"],
            "loading": loading,
        }
    finally:
        for child in children:
            child.stop()


def _take_over(children: list[Child], numpy: bool) -> Figures:
    children.append(Child("taker", numpy, join=children[0].addresses["gossip"]))
    figures: Figures = children[1].ask("settled")
    return figures


async def get_load(address: str, keys: int, per_s: int, work: Callable[[], Any]) -> Figures:
    """GETs at a fixed rate while `work` runs in a thread."""
    host, port = address.rsplit(":", 1)
    done, delays, turns, started_s = asyncio.Event(), list[float](), count(), time.monotonic() + 0.1

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while True:  # at least once, however soon the work is done
            turn = next(turns)
            due_s = started_s + turn / per_s
            await asyncio.sleep(due_s - time.monotonic())
            writer.write(
                f"GET /kv/{key_of(turn * 7919 % keys)} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
            )
            await _expect_ok(reader)
            delays.append(time.monotonic() - due_s)
            if done.is_set():
                break
        writer.close()

    connections = [asyncio.create_task(one_connection()) for _ in range(GET_CONNECTIONS)]
    outcome = await asyncio.get_running_loop().run_in_executor(None, work)
    done.set()
    await asyncio.gather(*connections)
    delays.sort()
    shares = {
        f"p{share}_ms": round(delays[len(delays) * share // 100] * 1e3, 2) for share in (50, 99)
    }
    return {"gets": len(delays), **shares, "max_ms": round(delays[-1] * 1e3, 2), "outcome": outcome}


async def _expect_ok(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 200"), head
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.split(":")[1]))


def measure_idle(keys: int, seconds: float, numpy: bool) -> Figures:
    pair = Pair(numpy)
    try:
        pair.both("load", keys=keys)
        while len({seen["root"] for seen in pair.both("figures")}) > 1:
            time.sleep(0.1)  # an exchange began while both loaded
        time.sleep(min(3.0, seconds))
        pair.both("reset")
        told = pair.both("idle", seconds=seconds)
        kinds = Counter(told[0]["kinds"]) + Counter(told[1]["kinds"])
        return {
            "keys": keys,
            "bytes_per_s": [seen["bytes_per_s"] for seen in told],
            "kinds": dict(kinds),
        }
    finally:
        pair.stop()


# -- what is printed -----------------------------------------------------------------------------


def verdict(met: bool) -> str:
    return "" if met else "   MISSED"


def show_hold(hold: Figures) -> str:
    return (
        f"{hold['cpu_ms']:5.1f} ms ({hold['wall_ms']:.1f} on the clock, gc "
        f"{hold['gc_ms']:.1f}, {hold['over_10_ms']} over 10)"
    )


def print_repair(keys: int, found: list[Figures]) -> None:
    print(
        f"repair: {keys:,} keys, {VALUE_BYTES} B values; bytes; the median wall time, the worst "
        "of everything else"
    )
    names = (
        "changed",
        "beyond",
        "at most",
        "stale",
        "bound",
        "list",
        "wire",
        "entries",
        "messages",
        "trips",
        "wall s",
    )
    print("".join(f"{name:>13}" for name in names))
    for seen in found:
        changed = seen["changed"]
        limits = (
            BEYOND_MAX.get(changed, math.inf),
            TRIPS_MAX.get(changed, math.inf),
            WALL_S_MAX.get(changed, math.inf),
        )
        met = all(
            seen[name] <= limit
            for name, limit in zip(("beyond", "trips", "wall_s"), limits, strict=True)
        )
        cells = (changed, seen["beyond"], limits[0], *(seen[name] for name in names[3:-1]))
        print(
            "".join(f"{'' if cell == math.inf else format(cell, ','):>13}" for cell in cells),
            f"{seen['wall_s']:>12.3f}{verdict(met)}",
        )
    print("longest holds, processor time")
    for seen in found:
        print(
            f"{seen['changed']:>13,}  asker {show_hold(seen['asker_hold'])}; answerer "
            f"{show_hold(seen['answerer_hold'])}"
        )


def print_takeover(keys: int, found: Figures) -> None:
    before, during, per_s, loading = (
        found["get_before"],
        found["get_during"],
        found["entries_per_s"],
        found["loading"],
    )
    print(f"takeover of {keys:,} entries by an empty node, from its start until it has settled")
    print(
        f"  {found['wall_s']} s, {per_s:,} entries/s{verdict(per_s >= ENTRIES_PER_S_MIN)}; "
        f"{found['messages']:,} messages,",
        end=" ",
    )
    print(
        f"{found['beyond']:,} B beyond {found['entries']:,} B of entries; {found['wire']:,} B on "
        "the wire"
    )
    print(
        f"  GETs at the giver: p50 {during['p50_ms']} ms, p99 {during['p99_ms']} ms, max "
        f"{during['max_ms']} ms",
        end="",
    )
    print(f" (before: p99 {before['p99_ms']} ms){verdict(during['p99_ms'] < GET_P99_MS_MAX)}")
    for name, hold in (
        ("giver", found["giver_hold"]),
        ("taker", found["taker_hold"]),
        ("giver, loading", loading["hold"]),
    ):
        print(
            f"  longest hold of the {name}: "
            f"{show_hold(hold)}{verdict(hold['cpu_ms'] <= HOLD_MAX_S * 1e3)}"
        )
    print(f"  loading by Node.put: {loading['puts_per_s']:,} a second")


def print_idle(keys: int, found: list[Figures]) -> None:
    print(
        "idle: what each of two nodes in sync sends, and how many messages of each kind both sent "
        "together"
    )
    for seen in found:
        first, second = seen["bytes_per_s"]
        print(f"  {seen['keys']:>10,} keys: {first:.1f} and {second:.1f} B/s; {seen['kinds']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help="repair, takeover, idle; default: all")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument(
        "--differences", type=int, nargs="+", help="default: 1 100 1000 10000 and all keys"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each number of differences but all"
    )
    parser.add_argument("--gets-per-s", type=int, default=500, help="the load on the giver")
    parser.add_argument("--seconds", type=float, default=60.0, help="of idleness")
    parser.add_argument("--without-numpy", action="store_true", help="as where it is not installed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        be_a_child(json.loads(options.child))
        return
    keys, numpy = options.keys, not options.without_numpy
    differences = options.differences or [
        changed for changed in (1, 100, 1000, 10_000) if changed < keys
    ] + [keys]
    measures: dict[str, tuple[Callable[[], Any], Callable[[int, Any], None]]] = {
        "repair": (lambda: measure_repair(keys, differences, options.rounds, numpy), print_repair),
        "takeover": (lambda: measure_takeover(keys, options.gets_per_s, numpy), print_takeover),
        "idle": (
            lambda: [
                measure_idle(some, options.seconds, numpy) for some in (min(keys, FEW_KEYS), keys)
            ],
            print_idle,
        ),
    }
    found: Figures = {}
    for section in options.sections or measures:
        measure, show = measures[section]
        found[section] = measure()
        if not options.json:
            show(keys, found[section])
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
