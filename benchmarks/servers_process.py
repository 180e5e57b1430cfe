"""What servers.py adds to the shop of examples/: each process that hears of a change says so. And
the one program that examples/ has not: four processes of multiprocessing.

    python -m benchmarks.servers_process fork|spawn

The configuration of the shop is in the working directory. Forked processes have a parent that has
read it before, and hears of changes, too. A process that ends is replaced, as servers do it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvgossip.cache.news import Change

WORKERS = 4
HEARD = "BENCH_HEARD"
"""The environment variable that names the file with a line for each change and each process."""


def tell(change: Change) -> None:
    """Which process has heard of which change, and how many seconds after its begin, on the clock
    that all processes of a machine share."""
    heard_s = time.monotonic()
    number, begun_s = change.new
    line = f"{os.getpid()} {number} {heard_s - begun_s}\n"
    descriptor = os.open(os.environ[HEARD], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read() -> None:
    """The first read opens the cache."""
    import_module("shop_config").config.get("theme")


def work() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    read()
    signal.pause()


def main(method: str) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    context = multiprocessing.get_context(method)

    def start() -> BaseProcess:
        worker: BaseProcess = context.Process(target=work, daemon=True)  # type: ignore[attr-defined]
        worker.start()
        return worker

    if method == "fork":
        read()
    workers = [start() for _ in range(WORKERS)]
    while True:
        wait([worker.sentinel for worker in workers])
        workers = [worker if worker.is_alive() else start() for worker in workers]


if __name__ == "__main__":
    main(*sys.argv[1:])
