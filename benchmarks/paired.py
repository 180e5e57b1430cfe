"""What do two checkouts of the project cost, side by side: of requests, merges and restart?

    python -m benchmarks.paired BEFORE AFTER [--pairs 10] [--only get put durable ...]

BEFORE and AFTER are folders with a checkout each; both run on this interpreter and its packages.
An agent ignores a parameter that its checkout does not know, so their parameters may differ.
Everything is processor time, of all threads and of the kernel for them, as other work on the
machine changes it least. A machine changes its speed, too: so the two take turns in small steps,
before, after, after, before, and every pair has new processes.

get          of 100 B from a memory-only agent over 16 connections
put          of 100 B to the same
durable      of a PUT of 100 B to an agent with a disk, over 16 connections
durable3     of the same to one of three agents with disks: all three of them
propagation  of a PUT of 100 B to one of --nodes memory-only agents, from the first of them to the
             watchers of all others, one PUT after the other: all of them, with the watchers' events
merge        of newer entries of some thousand keys that a node hears in datagrams full of rumors
             (see merging.py)
insert       of entries of new keys, in no order, that come in the same way
restart      of an agent from a data directory until it answers a GET

A step of several agents ends a while after its last PUT, so that what they do later for it counts.

`ratio` is AFTER by BEFORE: the median of the ratios of the pairs (which is not the ratio of the two
medians beside it), and the least and greatest of them. Exits with 1 where it is over --limit.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.agents import (
    PATIENCE_S,
    VALUE_BYTES,
    Agent,
    AgentError,
    cluster,
    cpu_s,
    environment,
    fill,
    key_of,
)
from benchmarks.clients import take_http
from benchmarks.report import Report, Table, finish

CONNECTIONS = 16
HTTP_KEYS = 1000
STEPS = 50
"""Into so many steps the work of one checkout in one pair is cut."""
CLUSTER_STEPS = 10
WARM_UP_STEPS = 2
LATER_S = 0.5
"""More than two rounds of gossip after its last PUT a step of a cluster ends."""
NAMES = ("get", "put", "durable", "durable3", "propagation", "merge", "insert", "restart")
NODES = {"durable3": 3}
PATIENT = {"http_idle_timeout_s": 3600}
"""On a busy machine a connection may wait long while the other checkout has its turn."""
ENTRIES_A_KEY = 20

Step = Callable[[], float]
"""Does a part of the work, and returns its processor time in seconds."""


class Pair(NamedTuple):
    """Processor time of the same work, in seconds."""

    before_s: float
    after_s: float

    @property
    def ratio(self) -> float:
        return self.after_s / self.before_s


def alternate(steps: Sequence[Step], count: int) -> Pair:
    """That many steps of each of the two: first, second, second, first, and so on."""
    sums = [0.0, 0.0]
    for turn in range(count):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            sums[which] += steps[which]()
    return Pair(*sums)


# -- requests --------------------------------------------------------------------------------------


class Asking:
    """Connections to the first of some agents: each asks once, then all read their answers, and so
    on."""

    def __init__(self, agents: Sequence[Agent], connections: int = CONNECTIONS) -> None:
        self._pids = [agent.pid for agent in agents]
        self._sockets = [connect(agents[0]) for _ in range(connections)]

    def ask(self, requests: Iterator[bytes], count: int) -> float:
        """Processor time of all agents for at least so many requests, a whole number of rounds."""
        started_s = sum(map(cpu_s, self._pids))
        for _ in range(-(-count // len(self._sockets))):
            self._round(requests)
        if len(self._pids) > 1:
            time.sleep(LATER_S)
        return sum(map(cpu_s, self._pids)) - started_s

    def _round(self, requests: Iterator[bytes]) -> None:
        for each in self._sockets:
            each.sendall(next(requests))
        for each in self._sockets:
            expect_ok(each)

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class Watched(Asking):
    """One connection to the first, and a watcher on each of the others, which hear of each PUT."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        super().__init__(agents, 1)
        self._watchers = [connect(agent) for agent in agents[1:]]
        for watcher in self._watchers:
            watcher.sendall(b"GET /watch?prefix=key- HTTP/1.1\r\nHost: n\r\n\r\n")
            receive_until(watcher, b"retry: ")

    def _round(self, requests: Iterator[bytes]) -> None:
        super()._round(requests)
        for watcher in self._watchers:
            receive_until(watcher, b"event: put")

    def close(self) -> None:
        super().close()
        for watcher in self._watchers:
            watcher.close()


def connect(agent: Agent) -> socket.socket:
    connection = socket.create_connection(agent.address, PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive_until(connection: socket.socket, wanted: bytes) -> None:
    received = b""
    while wanted not in received:
        data = connection.recv(65536)
        if not data:
            raise AgentError(f"an agent closed a stream before it told {wanted!r}")
        received += data


def expect_ok(connection: socket.socket) -> None:
    received = b""
    while True:
        data = connection.recv(65536)
        if not data:
            raise AgentError("an agent closed a connection")
        received += data
        size, answer = take_http(received)
        if size and answer is not None:
            if not answer.startswith(b"HTTP/1.1 200"):
                raise AgentError(f"an agent answered {answer[:200]!r}")
            return


def requests_of(method: str) -> Iterator[bytes]:
    body = b"x" * VALUE_BYTES if method == "put" else b""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{method.upper()} /kv/%s HTTP/1.1\r\nHost: n\r\n{length}\r\n"
    return itertools.cycle((head % key_of(number)).encode() + body for number in range(HTTP_KEYS))


@contextmanager
def serving(tree: Path, data_dir: Path | None = None) -> Iterator[Agent]:
    """A settled agent of this checkout."""
    agent = Agent("n1", cluster="paired", data_dir=data_dir, tree=tree)
    try:
        agent.start()
        agent.settle()
        yield agent
    finally:
        agent.stop()


class Load(NamedTuple):
    """What one pair of two checkouts is asked, by the name of the section."""

    method: str
    nodes: int
    steps: int
    rounds: int
    """Rounds of requests of one step."""
    durable: bool = False
    watched: bool = False

    @property
    def requests(self) -> int:
        return self.steps * self.rounds * (1 if self.watched else CONNECTIONS)


def load_of(name: str, options: argparse.Namespace) -> Load:
    if name == "propagation":
        rounds = -(-options.writes // CLUSTER_STEPS)
        return Load("put", options.nodes, CLUSTER_STEPS, rounds, watched=True)
    if name in ("get", "put"):
        return Load(name, 1, STEPS, rounds_of(options.requests, STEPS))
    nodes, steps = NODES.get(name, 1), STEPS if name == "durable" else CLUSTER_STEPS
    return Load("put", nodes, steps, rounds_of(options.durable_requests, steps), durable=True)


def rounds_of(requests: int, steps: int) -> int:
    return -(-requests // (steps * CONNECTIONS))


def pair_of_requests(trees: Sequence[Path], load: Load, folder: Path) -> Pair:
    with ExitStack() as stack:
        steps = []
        for tree in trees:
            data = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
            kept = Path(data) if load.durable else None
            agents = stack.enter_context(
                cluster(load.nodes, folder=kept, parameters=PATIENT, tree=tree)
            )
            asking = Watched(agents) if load.watched else Asking(agents)
            stack.callback(asking.close)
            asking.ask(requests_of("put"), HTTP_KEYS)
            count = load.requests // load.steps
            steps.append(step_of(asking, requests_of(load.method), count))
        alternate(steps, WARM_UP_STEPS)
        return alternate(steps, load.steps)


def step_of(asking: Asking, requests: Iterator[bytes], count: int) -> Step:
    return lambda: asking.ask(requests, count)


# -- merge -----------------------------------------------------------------------------------------


def merging(tree: Path, *words: str) -> subprocess.Popen[str]:
    """merging.py of this checkout's code, with the allocator that agents have."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("merging.py")), *words]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tree,
        env=environment(tree, {}) | {"PYTHONMALLOC": "malloc"},
    )


def make_rumors(tree: Path, entries: int, keys: int, file: Path) -> None:
    with merging(tree, "make", str(entries), str(keys), str(file)) as process:
        process.communicate()
    if process.returncode:
        raise AgentError(f"{tree} makes no rumors: see above")


class Taker:
    """A node that takes the next of the datagrams when it shall."""

    def __init__(self, tree: Path, file: Path) -> None:
        self._tree, self._process = tree, merging(tree, "take", str(file))
        try:
            self.datagrams = int(self._read())
        except AgentError:
            self.stop()
            raise

    def take(self, datagrams: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{datagrams}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AgentError(f"merging with {self._tree} has ended: see above")
        return line

    def stop(self) -> None:
        with self._process:  # its input ends, and so does it
            pass


def pair_of_merges(trees: Sequence[Path], files: Mapping[Path, Path]) -> Pair:
    with ExitStack() as stack:
        steps = []
        for tree in trees:
            taker = Taker(tree, files[tree])
            stack.callback(taker.stop)
            steps.append(step_of_merge(taker, -(-taker.datagrams // STEPS)))
        return alternate(steps, STEPS)


def step_of_merge(taker: Taker, datagrams: int) -> Step:
    return lambda: taker.take(datagrams)


# -- restart ---------------------------------------------------------------------------------------


def make_data(tree: Path, keys: int, folder: Path) -> None:
    with serving(tree, folder) as agent:
        fill(agent.address, keys)


def restart_s(tree: Path, made: Path, keys: int) -> float:
    """Processor time of an agent from its start until it answers a GET of the last key."""
    with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
        copy = shutil.copytree(made, Path(scratch, "data"))
        with serving(tree, copy) as agent:
            get(agent, key_of(keys - 1))
            return cpu_s(agent.pid)


def get(agent: Agent, key: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"{agent.url}/kv/{key}", timeout=PATIENCE_S) as answer:
                answer.read()
                return
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > deadline_s:
                raise AgentError(f"a GET after a restart was answered with {error.code}") from error
            time.sleep(0.01)


# -- all pairs -------------------------------------------------------------------------------------


def measure(options: argparse.Namespace) -> Report:
    """Raises AgentError."""
    trees = (options.before, options.after)
    rows, laws = [], {}
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        for name in options.only:
            one_pair, units, unit = prepared(name, trees, Path(scratch, name), options)
            pairs = []
            for turn in range(options.pairs):
                # the one that starts first changes with each pair
                pair = one_pair(trees) if turn % 2 == 0 else Pair(*reversed(one_pair(trees[::-1])))
                pairs.append(pair)
                text = f"{name}, pair {turn + 1} of {options.pairs}: ratio {pair.ratio:.3f}"
                print(text, file=sys.stderr, flush=True)
            ratios = sorted(pair.ratio for pair in pairs)
            median = statistics.median(ratios)
            rows.append(
                {
                    "of": f"{name}, {unit}",
                    "before": statistics.median(pair.before_s for pair in pairs) / units,
                    "after": statistics.median(pair.after_s for pair in pairs) / units,
                    "ratio": f"{median:.3f}",
                    "range": f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
                }
            )
            laws[f"{name}: {median:.3f} is at most {options.limit}"] = median <= options.limit
    title = f"processor time, medians of {options.pairs} pairs, and the ratio of after to before"
    return Report("paired", [Table(title, rows)], laws=laws)


def prepared(
    name: str, trees: Sequence[Path], file: Path, options: argparse.Namespace
) -> tuple[Callable[[Sequence[Path]], Pair], float, str]:
    """One pair of two trees as a function; by what its seconds are divided; and what that gives.

    Each tree makes what it reads itself, since formats may differ."""
    files = {tree: file.with_suffix(f".{number}") for number, tree in enumerate(trees)}
    if name in ("merge", "insert"):
        keys = options.entries if name == "insert" else max(1, options.entries // ENTRIES_A_KEY)
        for tree, made in files.items():
            make_rumors(tree, options.entries, keys, made)
        return lambda turn: pair_of_merges(turn, files), options.entries / 1e6, "us an entry"
    if name == "restart":
        for tree, made in files.items():
            make_data(tree, options.keys, made)
        return (
            lambda turn: Pair(*(restart_s(tree, files[tree], options.keys) for tree in turn)),
            1.0,
            f"s with {options.keys:,} keys",
        )
    load = load_of(name, options)
    unit = f"us a PUT, {load.nodes} nodes" if load.nodes > 1 else "us a request"
    return lambda turn: pair_of_requests(turn, load, file.parent), load.requests / 1e6, unit


def checkout(text: str) -> Path:
    tree = Path(text).resolve()
    # without the first, Python would run the package that is installed
    for file in ("kvgossip/__init__.py", "kvgossip/__main__.py"):
        if not (tree / file).is_file():
            raise argparse.ArgumentTypeError(f"{text} is no checkout: it has no {file}")
    return tree


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return int(text)


def several(text: str) -> int:
    if positive(text) < 2:
        raise argparse.ArgumentTypeError("nothing propagates among fewer than 2 nodes")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=checkout)
    parser.add_argument("after", type=checkout)
    parser.add_argument("--pairs", type=positive, default=10)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--requests", type=positive, default=40_000, help="of one pair, to each")
    parser.add_argument(
        "--durable-requests", type=positive, default=16_000, help="the same, with disks"
    )
    parser.add_argument(
        "--writes", type=positive, default=1_000, help="the same, that are followed"
    )
    parser.add_argument("--nodes", type=several, default=5, help="of the propagation")
    parser.add_argument("--entries", type=positive, default=100_000, help="that are merged")
    parser.add_argument("--keys", type=positive, default=1_000_000, help="of the restart")
    parser.add_argument("--limit", type=float, default=1.03, help="of the median of the ratios")
    parser.add_argument("--dir", help="where data goes; default: the temporary directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        report = measure(options)
    except AgentError as error:
        sys.exit(str(error))
    finish(report, json=options.json)


if __name__ == "__main__":
    main()
