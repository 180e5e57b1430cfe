"""Merging: processor time of one checkout of the project for entries that a node hears as rumors.

    python -P benchmarks/merging.py make 200000 5000 FILE  writes datagrams full of rumors: so many
                                                         entries of so many keys
    python -P benchmarks/merging.py take FILE            prints how many there are; then reads lines
                                                         with a number of datagrams to take next,
                                                         and prints the seconds that each took

PYTHONPATH names the checkout. This file knows the names of a few classes, not where they stand, so
that one file serves checkouts whose modules stand in different packages; paired.py runs it.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec

WALL_MS = 1_700_000_000_000
VALUE_BYTES = 100
DATAGRAM_BYTES = 1_400
TICK_EVERY = 50
SENDER = ("10.0.0.2", 7481)
LENGTH = struct.Struct(">I")


def find(name: str) -> Any:
    """The class of this name in `kvgossip.protocol`, wherever it is defined."""
    package = importlib.import_module("kvgossip.protocol")
    check_tree(str(package.__file__))
    for module in pkgutil.walk_packages(package.__path__, "kvgossip.protocol."):
        found = getattr(importlib.import_module(module.name), name, None)
        if found is not None:
            return found
    sys.exit(f"this checkout has no {name}")


def check_tree(file: str) -> None:
    """What is installed beside the checkout must not be measured instead of it."""
    tree = Path(os.environ.get("PYTHONPATH", "")).resolve()
    if tree not in Path(file).resolve().parents:
        sys.exit(f"{file} is not of the checkout {tree}")


def frames(entries: int, keys: int) -> Iterator[bytes]:
    """Datagrams of a node named n2 in the default cluster, which wrote the entries."""
    framing = find("Framing")("default", "lan:dc1", 2**21)
    gossip, rumor, version, rng = find("Gossip"), find("Rumor"), find("Version"), Random(1)
    make_record = find("make_record")
    names = [f"service/{rng.getrandbits(32):08x}/{number}" for number in range(keys)]
    packet: list[bytes] = []
    for number in range(entries):
        record = make_record(version(WALL_MS + number // 100 << 16, 2), rng.randbytes(VALUE_BYTES))
        unit = unit_of(rumor(key=names[number % keys], record=record))
        if packet and sum(map(len, packet)) + len(unit) > DATAGRAM_BYTES:
            yield framing.frame(packet, reliable=False)
            packet = []
        packet = packet or [unit_of(gossip(sequence=number, sender="n2", direct=True))]
        packet.append(unit)
    yield framing.frame(packet, reliable=False)


def unit_of(message: Any) -> bytes:
    """A message as it stands in a frame: its kind, the length of its body, the body."""
    body = msgspec.msgpack.encode(message)
    return bytes((message.kind,)) + LENGTH.pack(len(body)) + body


def make(entries: int, keys: int, file: Path) -> None:
    with open(file, "wb") as out:
        out.write(LENGTH.pack(keys))
        for frame in frames(entries, keys):
            out.write(LENGTH.pack(len(frame)) + frame)


def read(file: Path) -> tuple[int, list[bytes]]:
    """How many keys there are, and the datagrams."""
    data = file.read_bytes()
    (keys,), place, found = LENGTH.unpack_from(data), LENGTH.size, []
    while place < len(data):
        (size,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size + size
        found.append(data[place - size : place])
    return keys, found


def collect_as_agents_do() -> None:
    """The collector visits what it visits in an agent of this checkout."""
    try:
        memory = importlib.import_module("kvgossip.cli.process.memory")
    except ImportError:
        pass  # a checkout whose agents have the interpreter's own thresholds
    else:
        memory.shorten_collections()
    gc.collect()
    gc.freeze()


def take(file: Path) -> None:
    """A node hears as many at a time as a line says, and its timers run as they would."""
    keys, datagrams = read(file)
    config, address = (
        getattr(importlib.import_module("kvgossip.config"), name) for name in ("Config", "Address")
    )
    now_of, source, waiting = find("Now"), address(*SENDER), deque(datagrams)
    begins = now_of(0.0, WALL_MS)
    replica = find("Replica")(
        config(name="n1"), address=address("10.0.0.1", 7481), rng=Random(1), now=begins
    )
    replica.tick(begins)
    collect_as_agents_do()
    print(len(waiting), flush=True)
    for line in sys.stdin:
        started_s = time.process_time()
        for _ in range(min(int(line), len(waiting))):
            now_ms = len(datagrams) - len(waiting)
            now = now_of(now_ms / 1000, WALL_MS + now_ms)
            replica.receive(waiting.popleft(), source, now)
            if now_ms % TICK_EVERY == 0:
                replica.tick(now)
        cpu_s = time.process_time() - started_s
        if not waiting and len(replica.store) != keys:
            sys.exit(f"of {keys} keys the node has {len(replica.store)}")
        print(cpu_s, flush=True)


def main() -> None:
    match sys.argv[1:]:
        case ["make", entries, keys, file]:
            make(int(entries), int(keys), Path(file))
        case ["take", file]:
            take(Path(file))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
