"""The process between the namespaces of a TunNet: it owns a TUN device in each of them.

    python -m tests.chaos.packet_router SEED NAMESPACE...

It prints `ready`, obeys lines of JSON on its standard input (`{"all": 1, "loss": 0.1}`,
`{"way": [1, 2], "delay_s": 0.1}`, `{"heal": 1}`), and ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import random
import select
import sys
import time
from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

from tests.netns.router import open_tun

DEVICE = "tun9"
PACKET_BYTES_MAX = 65_536
IP_HEADER_BYTES, UDP_HEADER_BYTES = 20, 8
UDP = 17
SWAPPED_WORDS_MIN = 16
"""A payload of fewer 16-bit words is left alone."""
ORDERS = 0
"""Standard input."""


@dataclass(slots=True)
class Way:
    """What befalls packets of one direction between two agents.

    `loss`, `double`, `flip` (a bit: the kernel sees it and drops the packet) and `swap` (two words
    of the payload: no checksum of the kernel sees it) are shares of packets. `delay_s` is for all,
    `jitter_s` at most in addition. Packets of more than `hole_bytes` vanish.
    """

    loss: float = 0.0
    double: float = 0.0
    flip: float = 0.0
    swap: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    hole_bytes: int = PACKET_BYTES_MAX

    def heal(self) -> None:
        for each in fields(self):
            setattr(self, each.name, each.default)


def swapped(packet: bytes, rng: random.Random) -> bytes:
    """Two 16-bit words of the payload change places: the checksums of IP, UDP and TCP stay
    right."""
    header = (packet[0] & 15) * 4
    is_udp = packet[9] == UDP
    payload = header + (UDP_HEADER_BYTES if is_udp else (packet[header + 12] >> 4) * 4)
    words = (len(packet) - payload) // 2
    if words < SWAPPED_WORDS_MIN:
        return packet
    one, other = (payload + 2 * rng.randrange(words) for _ in range(2))
    changed = bytearray(packet)
    changed[one : one + 2] = packet[other : other + 2]
    changed[other : other + 2] = packet[one : one + 2]
    return bytes(changed)


def flipped(packet: bytes, rng: random.Random) -> bytes:
    """One bit behind the IP header is wrong."""
    at = rng.randrange(IP_HEADER_BYTES, len(packet))
    return packet[:at] + bytes((packet[at] ^ 1 << rng.randrange(8),)) + packet[at + 1 :]


class Router:
    """Packets under way between the descriptors `ends`, of agents 1, 2, ..."""

    def __init__(self, ends: list[int], seed: int) -> None:
        self._ends, self._rng = ends, random.Random(seed)
        numbers = range(1, len(ends) + 1)
        self._ways = {(source, target): Way() for source in numbers for target in numbers}
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Until standard input ends."""
        poll = select.poll()
        for end in (*self._ends, ORDERS):
            poll.register(end, select.POLLIN)
        while True:
            wait_s = self._under_way[0][0] - time.monotonic() if self._under_way else 1.0
            for end, _ in poll.poll(1000 * max(0.0, wait_s)):
                if end != ORDERS:
                    self._read(end)
                elif line := sys.stdin.readline():
                    self.obey(json.loads(line))
                else:
                    return
            self._deliver()

    def obey(self, order: dict[str, Any]) -> None:
        if order.pop("heal", None):
            for way in self._ways.values():
                way.heal()
            return
        everything = order.pop("all", None)
        source, target = order.pop("way", (0, 0))
        for ends, way in self._ways.items():
            if everything or ends == (source, target):
                for name, value in order.items():
                    setattr(way, name, value)

    def _read(self, end: int) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                self._take(os.read(end, PACKET_BYTES_MAX))

    def _take(self, packet: bytes) -> None:
        if len(packet) < IP_HEADER_BYTES or packet[0] >> 4 != 4:
            return
        way = self._ways.get((packet[15], packet[19]))
        if way is None:
            return
        if len(packet) > way.hole_bytes or self._happens(way.loss, "lost"):
            return
        if self._happens(way.flip, "flipped"):
            packet = flipped(packet, self._rng)
        if self._happens(way.swap, "swapped"):
            packet = swapped(packet, self._rng)
        for _ in range(2 if self._happens(way.double, "doubled") else 1):
            self._number += 1
            due_s = time.monotonic() + way.delay_s + self._rng.random() * way.jitter_s
            target = self._ends[packet[19] - 1]
            heapq.heappush(self._under_way, (due_s, self._number, target, packet))

    def _happens(self, share: float, what: str) -> bool:
        happens = share > 0 and self._rng.random() < share
        if happens:
            self.counts[what] += 1
        return happens

    def _deliver(self) -> None:
        now_s = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now_s:
            _, _, end, packet = heapq.heappop(self._under_way)
            # A device that is not up yet, or full, takes nothing: that is a lost packet.
            with contextlib.suppress(OSError):
                os.write(end, packet)


def main() -> None:
    seed, *names = sys.argv[1:]
    ends = [open_tun(name, DEVICE) for name in names]
    for end in ends:
        os.set_blocking(end, False)
    print("ready", flush=True)
    router = Router(ends, int(seed))
    router.run()
    print(dict(router.counts), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
