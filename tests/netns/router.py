"""A long way between two network namespaces: a process that owns a TUN device in each and carries
IP packets from one to the other.

    python -m tests.netns.router NAMESPACE NAMESPACE --device wan0 --delay 0.08 --loss 0.01

It prints `ready` when both devices are there, and then obeys the lines of its standard input: `cut`
drops everything from now on, `mend` stops that. It ends, and the devices go, when its standard
input does. (The kernel's own netem needs a module that many machines lack.)
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_BYTES_MAX = 65_536
ORDERS = 0
"""Standard input."""

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """What this thread opens meanwhile belongs to that namespace, and stays there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)
        os.close(there)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def open_tun(namespace: str, device: str) -> int:
    """The descriptor of a new TUN device there: reading gives what is routed into it, writing
    delivers."""
    with inside(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(
            descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI)
        )
    return descriptor


class Router:
    """Packets under way: each arrives `delay_s` after it was sent, or never."""

    def __init__(self, ends: list[int], delay_s: float, loss: float) -> None:
        self._others = dict(zip(ends, reversed(ends), strict=True))
        self._delay_s, self._loss, self._rng = delay_s, loss, random.Random(1)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self.cut = False

    def run(self) -> None:
        """Until standard input ends."""
        while True:
            wait_s = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            readable, _, _ = select.select([*self._others, ORDERS], [], [], wait_s)
            for source in readable:
                received = os.read(source, PACKET_BYTES_MAX)
                if source != ORDERS:
                    self._take(source, received)
                elif received:
                    self.cut = received.endswith(b"cut\n")
                else:
                    return
            self._deliver()

    def _take(self, source: int, packet: bytes) -> None:
        if not self.cut and self._rng.random() >= self._loss:
            self._count += 1
            heapq.heappush(
                self._under_way,
                (time.monotonic() + self._delay_s, self._count, self._others[source], packet),
            )

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(self._under_way)
            if not self.cut:
                os.write(target, packet)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("namespaces", nargs=2)
    parser.add_argument("--device", required=True)
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--loss", type=float, required=True)
    told = parser.parse_args()
    ends = [open_tun(namespace, told.device) for namespace in told.namespaces]
    print("ready", flush=True)
    Router(ends, told.delay, told.loss).run()


if __name__ == "__main__":
    main()
