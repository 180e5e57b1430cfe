"""What does a key cost a node: how many bytes, and how much time to write it?

    python -m benchmarks.memory [memory writes] [--keys 1000000] [--value-bytes 100]
    [--without-numpy] [--json]

memory    One node, in a process of its own, takes that many keys by `Node.put`. `process`: what it
has more than a bare interpreter,
          resident, for each key, libraries and all; `data`: what it has more than a node without
          keys. The parts are sums over the objects as the allocator rounds them, their rest is what
          allocators and the garbage collector keep for themselves. `digest` is the digest tree,
          `sketch` what waits to be folded into the sketch and the sketch itself: constant, but
          shown for each key, too.
writes    New keys a second of processor time, into a store and into a node, with the sketch and
with one that forgets them, in turns;
          and what it costs to fold a write into the sketch later, when there is time.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from benchmarks.exchange import ROOT, Figures, records, verdict

if TYPE_CHECKING:
    from kvgossip import Node
    from kvgossip.protocol.store.store import Store

WRITES_MAX = 200_000
ROUNDS = 5
NODE_BYTES_MAX = 400
DIGEST_BYTES_MAX = 16
ALIGNMENT_BYTES = 16

Pairs = list[tuple[str, bytes]]


def resident_bytes() -> int:
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# -- memory --------------------------------------------------------------------------------------


def fill(keys: int, value_bytes: int, without_numpy: bool) -> Figures:
    """In a fresh process: fill a node and weigh it."""
    bare = resident_bytes()
    if without_numpy:
        sys.modules["numpy"] = None  # type: ignore[assignment]
    from kvgossip import Node
    from kvgossip.config import config_from
    from kvgossip.runtime.loop import run

    async def filled() -> Figures:
        async with Node(config_from({"name": "n1", "gossip": "127.0.0.1:0"})) as node:
            gc.collect()
            empty = resident_bytes()
            for key, record in records(range(keys), 0, value_bytes):
                await node.put(key, record[-value_bytes:])
            gc.collect()
            full = resident_bytes()
            each = {"process": full - bare, "data": full - empty} | _parts(node)
            each["rest"] = each["data"] - sum(
                each[name] for name in ("records", "keys", "tables", "index", "digest", "sketch")
            )
            return {"count": keys, "value_bytes": value_bytes} | {
                name: round(told / keys, 1) for name, told in each.items()
            }

    return run(filled())


def _parts(node: Node) -> dict[str, int]:
    """Bytes by part."""
    store: Any = node._running.replica.store
    pairs = list(store.records())
    sketch = store.sketch
    columns = (sketch._symbols.sums, sketch._symbols.checks)
    return {
        "records": _sizes(record for _, record in pairs),
        "keys": _sizes(key for key, _ in pairs),
        "tables": _sizes(store._tables) + _sizes([store._tables._slots, store._tables._widths]),
        "index": _sizes([*store._live._blocks, store._live._blocks, store._live._lows]),
        "digest": _sizes(store.digest._sums),
        "sketch": sys.getsizeof(sketch._changed)
        + sum(getattr(column, "nbytes", 40 * len(column)) for column in columns),
    }


def _sizes(parts: Iterable[object]) -> int:
    """With what the garbage collector and the allocator add; the content of containers does not
    count."""
    return sum(-(-sys.getsizeof(part) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for part in parts)


def measure_memory(options: argparse.Namespace) -> Figures:
    told = ["--keys", str(options.keys), "--value-bytes", str(options.value_bytes)]
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--child",
        *told,
        *(["--without-numpy"] if options.without_numpy else []),
    ]
    figures: Figures = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    )
    return figures


def print_memory(seen: Figures) -> None:
    print(f"memory: {seen['count']:,} keys, {seen['value_bytes']} B values; bytes a key")
    print(
        f"  {'process':>9}{seen['process']:>8.1f}   at most "
        f"{NODE_BYTES_MAX}{verdict(seen['process'] <= NODE_BYTES_MAX)}"
    )
    print(f"  {'data':>9}{seen['data']:>8.1f}   of it:")
    for name in ("records", "keys", "tables", "index", "digest", "sketch", "rest"):
        target = (
            f"   at most {DIGEST_BYTES_MAX}{verdict(seen[name] <= DIGEST_BYTES_MAX)}"
            if name == "digest"
            else ""
        )
        print(f"  {name:>9}{seen[name]:>8.1f}{target}")


# -- writes --------------------------------------------------------------------------------------


def measure_writes(options: argparse.Namespace) -> Figures:
    """Medians of rounds in turns."""
    if options.without_numpy:
        sys.modules["numpy"] = None  # type: ignore[assignment]
    from kvgossip.protocol.store.sketch import Sketch

    kind: Any = Sketch
    pairs, toggle = (
        list(records(range(min(options.keys, WRITES_MAX)), 0, options.value_bytes)),
        kind.toggle,
    )
    rates: dict[str, list[float]] = {}
    for turn in range(2 * options.rounds):
        sketched = bool(turn % 2)
        kind.toggle = toggle if sketched else lambda sketch, fingerprint: None
        for level, write in (("store", write_to_store), ("node", write_to_node)):
            rates.setdefault(f"{level}_{'with' if sketched else 'without'}", []).append(
                len(pairs) / write(pairs)
            )
    kind.toggle = toggle
    medians = {name: round(statistics.median(seen)) for name, seen in rates.items()}
    return {"keys": len(pairs), **medians, "folding_us": round(1e6 * fold(pairs) / len(pairs), 2)}


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


def print_writes(seen: Figures) -> None:
    print(f"writes: {seen['keys']:,} new keys; a second of processor time")
    for level in ("store", "node"):
        with_, without = seen[f"{level}_with"], seen[f"{level}_without"]
        print(
            f"  {level:>5}: {with_:,} with the sketch, {without:,} without: "
            f"{with_ / without - 1:+.1%}"
        )
    print(f"  to fold a write into the sketch later: {seen['folding_us']} us")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help="memory, writes; default: both")
    parser.add_argument(
        "--keys", type=int, default=1_000_000, help=f"written are at most {WRITES_MAX:,}"
    )
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of writes")
    parser.add_argument("--without-numpy", action="store_true", help="as where it is not installed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(fill(options.keys, options.value_bytes, options.without_numpy)))
        return
    sections = {"memory": (measure_memory, print_memory), "writes": (measure_writes, print_writes)}
    found: Figures = {}
    for section in options.sections or sections:
        measure, show = sections[section]
        found[section] = measure(options)
        if not options.json:
            show(found[section])
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
