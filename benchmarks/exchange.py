"""What does anti-entropy cost among a million keys, on the wire and in time, and whom does it hold
up meanwhile?

    python -m benchmarks.exchange [repair takeover idle] [--keys 1000000] [--differences 1 100 ...]
        [--without-numpy] [--json]

Every node is an agent with real sockets on loopback, whose process has the instruments of this file
in it, too; the load is a third process, so give it two quiet cores.

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
          fixed rate. Latency counts from when a request was due, so that a giver that stands still
          is charged for all that it missed. `loading`: how the giver got its keys.
idle      Bytes a second of two nodes in sync that have nothing to do, with few keys and with all,
          and what messages these were.

"longest hold" is how long the event loop did nothing else: a timer that should come each
millisecond, and how late it comes. The time on the clock contains what other processes took from
this one; the processor time does not. "gc": the longest garbage collection.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import signal
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks.agents import VALUE_BYTES, Agent
from benchmarks.report import Report, Row, Table, finish

if TYPE_CHECKING:
    from kvgossip import Node

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
    earlier one.
    """
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
    exchanges that it started.
    """

    def __init__(self, node: Node) -> None:
        from kvgossip.protocol.anti_entropy.initiator import Exchange

        pool: Any = node._running.replica.pools.lan
        outbox: Any = pool.outbox
        self._pool, self._send, self._send_units = pool, outbox.send, outbox.send_units
        self._open, self._continue = Exchange.open, pool.exchanges._receive
        self.kinds: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.depths: dict[int, int] = {}
        self.depth = self.trips = 0
        outbox.send, outbox.send_units, pool.exchanges._receive = (
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

    def _on_send_units(
        self, units: list[bytes], to: Any, *, reliable: bool = False, **how: bool
    ) -> None:
        before = self._pool.counters["bytes_sent"]
        self._send_units(units, to, reliable=reliable, **how)
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
    standard output answers.
    """

    def __init__(self, node: Node, started_s: float) -> None:
        self._node, self._started_s = node, started_s
        self._replica = node._running.replica
        self._holds, self._wire = Holds(), Wire(node)

    async def obey(self) -> None:
        from kvgossip.cli.process.agent_process import _print_line

        # an agent that starts collects garbage before it serves: that holds nobody up
        while not gc.get_freeze_count():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0)
        self._holds.reset()
        while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            answer = await getattr(self, command.pop("do"))(**command)
            # by the thread of the agent's own lines: else two may come as one
            _print_line(json.dumps(answer))

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
        settling, pool, done = replica.settling, replica.pools.lan, asyncio.Event()
        (peer,), settle = pool.membership.reachable, settling.exchanged

        def exchanged(*how: Any) -> None:
            settle(*how)
            done.set()

        settling.exchanged = exchanged
        started_s, now = time.monotonic(), read_clocks()
        pool.exchanges.start(peer.name, now, differs=True)
        self._node._running.do(replica.tick(now), now)
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        settling.exchanged = settle
        return {"wall_s": time.monotonic() - started_s}

    async def settled(self) -> Figures:
        await self._node.wait_settled(PATIENCE_S)
        gc.freeze()  # as the agent does
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
        from kvgossip.protocol.model.member import Member
        from kvgossip.protocol.wire.unit import _DECODERS

        before = self._sent()
        await asyncio.sleep(seconds)
        kinds = {
            _DECODERS[kind].type.__name__ if kind in _DECODERS else Member.__name__: told
            for kind, told in sorted(self._wire.kinds.items())
        }
        return {"bytes_per_s": round((self._sent() - before) / seconds, 1), "kinds": kinds}

    def _sent(self) -> int:
        counts = self._node.status()["transport"]
        return int(counts.get("datagram_bytes_sent", 0) + counts.get("frame_bytes_sent", 0))


def be_an_agent(options: Sequence[str]) -> None:
    """`kvgossip agent` with these options, and a Subject in it that obeys standard input until its
    end.
    """
    from kvgossip import Node
    from kvgossip.__main__ import main as run_command

    kind: Any = Node
    start = kind.start

    async def start_with_instruments(node: Node) -> None:
        gc.collect()
        started_s = time.monotonic()
        await start(node)
        # before the event loop gets its turn: nothing has been sent yet
        subject = Subject(node, started_s)
        task = asyncio.create_task(subject.obey())
        task.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGTERM))

    kind.start = start_with_instruments
    sys.argv = ["kvgossip", "agent", *options]
    run_command()


# -- in the measuring process --------------------------------------------------------------------


class Child(Agent):
    """An agent with instruments.

    `tell` and `hear` by themselves let two of them work at the same time.
    """

    def __init__(self, name: str, numpy: bool, join: str = "", **parameters: object) -> None:
        super().__init__(name, cluster="benchmark", parameters=parameters)
        self._numpy = numpy
        self.start(*([join] if join else []))

    def command(self, join: Sequence[str] = ()) -> list[str]:
        options = super().command(join)
        options = options[options.index("agent") + 1 :]
        options.remove("--stop-on-eof")  # standard input has commands
        return [
            sys.executable,
            "-m",
            "benchmarks.exchange",
            "--agent",
            json.dumps({"numpy": self._numpy, "options": options}),
        ]

    def tell(self, do: str, **what: Any) -> None:
        assert self._running.stdin is not None
        self._running.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
        self._running.stdin.flush()

    def hear(self) -> Any:
        """The next answer; that the agent has settled is none."""
        while True:
            answer = json.loads(self._next_line("answering"))
            if "event" not in answer:
                return answer

    def ask(self, do: str, **what: Any) -> Any:
        self.tell(do, **what)
        return self.hear()


class Pair:
    """Two nodes that have joined."""

    def __init__(self, numpy: bool, **values: Any) -> None:
        first = Child("n1", numpy, **values)
        self.children = [first]
        try:
            self.children.append(Child("n2", numpy, **values, join=first.gossip))
            self.children[1].ask("settled")
        except BaseException:
            self.stop()
            raise

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
    (shared/published-tables.md).
    """
    return math.ceil((64 * differences - math.lgamma(differences + 1) / math.log(2)) / 8)


def measure_takeover(keys: int, gets_per_s: int, numpy: bool) -> Figures:
    children = [Child("giver", numpy)]
    giver, http = children[0], children[0].http
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
    children.append(Child("taker", numpy, join=children[0].gossip))
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


def holds_of(role: str, hold: Figures) -> Row:
    names = {
        "cpu_ms": "processor ms",
        "wall_ms": "clock ms",
        "gc_ms": "of it gc",
        "over_10_ms": "over 10 ms",
    }
    return {"longest hold of": role} | {title: hold[name] for name, title in names.items()}


def report_repair(keys: int, found: Sequence[Figures]) -> tuple[list[Table], dict[str, bool]]:
    names = (
        "changed",
        "beyond",
        "stale",
        "bound",
        "list",
        "wire",
        "entries",
        "messages",
        "trips",
        "wall_s",
    )
    rows = [{name: seen[name] for name in names} for seen in found]
    title = (
        f"repair among {keys:,} keys with {VALUE_BYTES} B: the median wall_s, the worst of all else"
    )
    sides = [
        (f"{side}, {seen['changed']:,} changed", seen[f"{side}_hold"])
        for seen in found
        for side in ("asker", "answerer")
    ]
    targets = {}
    for name, limits in (("beyond", BEYOND_MAX), ("trips", TRIPS_MAX), ("wall_s", WALL_S_MAX)):
        for seen in found:
            if seen["changed"] in limits:
                limit = limits[seen["changed"]]
                targets[f"{seen['changed']:,} changed: {name} is at most {limit:,}"] = (
                    seen[name] <= limit
                )
    return [
        Table(title, rows),
        Table("repair: who is held up", [holds_of(*side) for side in sides]),
    ], targets


def report_takeover(keys: int, found: Figures) -> tuple[list[Table], dict[str, bool]]:
    before, during, loading = found["get_before"], found["get_during"], found["loading"]
    roles = (
        ("giver", found["giver_hold"]),
        ("taker", found["taker_hold"]),
        ("giver, loading", loading["hold"]),
    )
    names = ("wall_s", "entries_per_s", "messages", "beyond", "entries", "wire")
    tables = [
        Table(
            f"an empty node takes over {keys:,} entries, from its start until it has settled",
            [{name: found[name] for name in names} | {"puts/s of loading": loading["puts_per_s"]}],
        ),
        Table(
            "GETs at the giver",
            [
                {"when": when} | {name: value for name, value in seen.items() if name != "outcome"}
                for when, seen in (("before", before), ("during", during))
            ],
        ),
        Table("takeover: who is held up", [holds_of(*role) for role in roles]),
    ]
    targets = {
        f"at least {ENTRIES_PER_S_MIN:,} entries/s": found["entries_per_s"] >= ENTRIES_PER_S_MIN,
        f"p99 of GETs meanwhile under {GET_P99_MS_MAX} ms": during["p99_ms"] < GET_P99_MS_MAX,
    }
    targets |= {
        f"{role} is held up for at most {HOLD_MAX_S * 1e3:.0f} ms": hold["cpu_ms"]
        <= HOLD_MAX_S * 1e3
        for role, hold in roles
    }
    return tables, targets


def report_idle(found: Sequence[Figures]) -> tuple[list[Table], dict[str, bool]]:
    rows = [
        {
            "keys": seen["keys"],
            "B/s of one": seen["bytes_per_s"][0],
            "B/s of the other": seen["bytes_per_s"][1],
        }
        | {
            "messages of both": ", ".join(
                f"{kind} {count}" for kind, count in seen["kinds"].items()
            )
        }
        for seen in found
    ]
    return [Table("two idle nodes in sync", rows)], {}


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
        "--rounds", type=int, default=3, help="of each number of differences but all"
    )
    parser.add_argument("--gets-per-s", type=int, default=500, help="the load on the giver")
    parser.add_argument("--seconds", type=float, default=20.0, help="of idleness")
    parser.add_argument("--without-numpy", action="store_true", help="as where it is not installed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--agent", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agent:
        agent = json.loads(options.agent)
        if not agent["numpy"]:
            sys.modules["numpy"] = None  # type: ignore[assignment]
        be_an_agent(agent["options"])
        return
    keys, numpy = options.keys, not options.without_numpy
    differences = options.differences or [
        changed for changed in (1, 100, 1000, 10_000) if changed < keys
    ] + [keys]
    sizes = sorted({min(keys, FEW_KEYS), keys})
    sections: dict[str, Callable[[], tuple[list[Table], dict[str, bool]]]] = {
        "repair": lambda: report_repair(
            keys, measure_repair(keys, differences, options.rounds, numpy)
        ),
        "takeover": lambda: report_takeover(
            keys, measure_takeover(keys, options.gets_per_s, numpy)
        ),
        "idle": lambda: report_idle([measure_idle(some, options.seconds, numpy) for some in sizes]),
    }
    tables: list[Table] = []
    targets: dict[str, bool] = {}
    for section in options.sections or sections:
        print(section, file=sys.stderr)
        more_tables, more_targets = sections[section]()
        tables += more_tables
        targets |= more_targets
    finish(Report("exchange", tables, targets=targets), json=options.json)


if __name__ == "__main__":
    main()
