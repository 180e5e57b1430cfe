"""What does a key cost a node: how many bytes, and how much time to write it?

    python -m benchmarks.memory [memory writes] [--keys 1000000] [--value-bytes 100] [--json]

memory    An agent takes that many keys over HTTP. `process`: what it has more than a bare
          interpreter, resident, for each key, libraries and all; `data`: what it has more than
          before. The parts are sums over the objects of a node with the same keys, as the allocator
          rounds them; their rest is what allocators, the garbage collector and connections keep.
          `digest` is the digest tree, `sketch` what waits to be folded into the sketch and the
          sketch itself: constant, but shown for each key, too.
writes    New keys a second of processor time, into a store and into a node in this process, with
          the sketch and with one that forgets them, in turns; and what it costs to fold a write
          into the sketch later, when there is time.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.agents import ROOT, VALUE_BYTES, cluster, fill, resident_bytes
from benchmarks.exchange import records
from benchmarks.report import Report, Row, Table, finish

if TYPE_CHECKING:
    from kvgossip import Node
    from kvgossip.protocol.store.store import Store

WRITES_MAX = 200_000
ROUNDS = 3
NODE_BYTES_MAX = 400
DIGEST_BYTES_MAX = 16
ALIGNMENT_BYTES = 16

Pairs = list[tuple[str, bytes]]


# -- memory ----------------------------------------------------------------------------------------


def measure_memory(keys: int, value_bytes: int, *, numpy: bool = True) -> Row:
    """Bytes for each key."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as interpreter:
        assert interpreter.stdout is not None
        interpreter.stdout.readline()
        bare = resident_bytes(interpreter.pid)
        interpreter.communicate()
    with cluster(1) as (agent,):
        empty = resident_bytes(agent.pid)
        fill(agent.address, keys, value_bytes)
        full = resident_bytes(agent.pid)
    parts = measure_parts(keys, value_bytes, numpy=numpy)
    each = {"process": full - bare, "data": full - empty} | parts
    each["rest"] = each["data"] - sum(parts.values())
    shape = {"keys": keys, "value bytes": value_bytes}
    return shape | {name: size / keys for name, size in each.items()}


def measure_parts(keys: int, value_bytes: int, *, numpy: bool) -> dict[str, int]:
    """Bytes of each part of a node, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--parts"]
    command += ["--keys", str(keys), "--value-bytes", str(value_bytes)]
    command += [] if numpy else ["--without-numpy"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    parts: dict[str, int] = json.loads(done.stdout)
    return parts


def parts_of(keys: int, value_bytes: int) -> dict[str, int]:
    """Fill a node in this process and weigh its parts."""
    from kvgossip import Node
    from kvgossip.config import config_from
    from kvgossip.runtime.loop import run

    async def filled() -> dict[str, int]:
        async with Node(config_from({"name": "n1", "gossip": "127.0.0.1:0"})) as node:
            for key, record in records(range(keys), 0, value_bytes):
                await node.put(key, record[-value_bytes:])
            gc.collect()
            return _parts(node)

    return run(filled())


def _parts(node: Node) -> dict[str, int]:
    """Bytes by part."""
    store: Any = node._running.replica.store
    pairs = list(store.records())
    sketch, index = store.sketch, store._live.sort()
    # of integers, or of numpy's since a bulk load
    columns = [each for each in vars(sketch._symbols).values() if not isinstance(each, int)]
    return {
        "records": _sizes(record for _, record in pairs),
        "key texts": _sizes(key for key, _ in pairs),
        "tables": _sizes(store._tables) + _sizes([store._tables._slots, store._tables._widths]),
        "index": _sizes([*index._lists, index._lists, index._maxes]),
        "digest": _sizes(store.digest._sums),
        "sketch": sys.getsizeof(sketch._changed)
        + sum(getattr(column, "nbytes", None) or _sizes([column, *column]) for column in columns),
    }


def _sizes(parts: Iterable[object]) -> int:
    """With what the garbage collector and the allocator add; the content of containers does not
    count.
    """
    return sum(-(-sys.getsizeof(part) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for part in parts)


# -- writes --------------------------------------------------------------------------------------


def measure_writes(keys: int, value_bytes: int, rounds: int = ROUNDS) -> Row:
    """Medians of rounds in turns."""
    from kvgossip.protocol.store.sketch import Sketch

    kind: Any = Sketch
    pairs, toggle = list(records(range(min(keys, WRITES_MAX)), 0, value_bytes)), kind.toggle
    rates: dict[str, list[float]] = {}
    for turn in range(2 * rounds):
        sketched = bool(turn % 2)
        kind.toggle = toggle if sketched else lambda sketch, fingerprint: None
        for level, write in (("store", write_to_store), ("node", write_to_node)):
            rates.setdefault(f"{level}, {'with' if sketched else 'without'} sketch", []).append(
                len(pairs) / write(pairs)
            )
    kind.toggle = toggle
    medians = {name: round(statistics.median(seen)) for name, seen in rates.items()}
    return {"keys": len(pairs), **medians, "folding us": 1e6 * fold(pairs) / len(pairs)}


def write_to_store(pairs: Pairs) -> float:
    """Seconds of processor time."""
    store = _store()
    gc.collect()
    started_s = time.process_time()
    for key, record in pairs:
        store.merge(key, record)
    return time.process_time() - started_s


def write_to_node(pairs: Pairs) -> float:
    from kvgossip import Node
    from kvgossip.config import config_from
    from kvgossip.runtime.loop import run

    async def write() -> float:
        async with Node(config_from({"name": "n1", "gossip": "127.0.0.1:0"})) as node:
            gc.collect()
            started_s = time.process_time()
            for key, record in pairs:
                await node.put(key, record)
            return time.process_time() - started_s

    return run(write())


def fold(pairs: Pairs) -> float:
    store = _store()
    for key, record in pairs:
        store.merge(key, record)
    started_s = time.process_time()
    while not store.sketch.idle:
        store.work_on_sketch()
    return time.process_time() - started_s


def _store() -> Store:
    from kvgossip.protocol.store.digest import DigestTree
    from kvgossip.protocol.store.store import Store

    return Store(DigestTree(4, seed=7))


def report(found: Mapping[str, Row]) -> Report:
    titles = {
        "memory": "memory of an agent, bytes a key; and of its parts",
        "writes": "new keys a second of processor time; to fold one into the sketch later, us",
    }
    targets = {}
    if memory := found.get("memory"):
        targets[f"a key takes at most {NODE_BYTES_MAX} B"] = memory["process"] <= NODE_BYTES_MAX
        law = f"the digest takes at most {DIGEST_BYTES_MAX} B a key"
        targets[law] = memory["digest"] <= DIGEST_BYTES_MAX
    tables = [Table(titles[section], [row]) for section, row in found.items()]
    return Report("memory", tables, targets=targets)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help="memory, writes; default: both")
    parser.add_argument(
        "--keys", type=int, default=1_000_000, help=f"written are at most {WRITES_MAX:,}"
    )
    parser.add_argument("--value-bytes", type=int, default=VALUE_BYTES)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of writes")
    parser.add_argument(
        "--without-numpy", action="store_true", help="parts and writes as where it is not installed"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    keys, value_bytes = options.keys, options.value_bytes
    if options.without_numpy:
        sys.modules["numpy"] = None  # type: ignore[assignment]
    if options.parts:
        print(json.dumps(parts_of(keys, value_bytes)))
        return
    sections: dict[str, Callable[[], Row]] = {
        "memory": lambda: measure_memory(keys, value_bytes, numpy=not options.without_numpy),
        "writes": lambda: measure_writes(keys, value_bytes, options.rounds),
    }
    found = {section: sections[section]() for section in options.sections or sections}
    finish(report(found), json=options.json)


if __name__ == "__main__":
    main()
