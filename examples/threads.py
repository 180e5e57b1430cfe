"""Plain threads: every thread reads, and a callback hears of changes. Nobody waits for the
network.

    pip install kvgossip
    python threads.py
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from shop_config import Limits, config, limits

from kvgossip.cache.news import Change

changed = threading.Event()


@config.on_change("limits/")
def tell(change: Change) -> None:
    # on a thread of the cache, in order; it may read and write the cache
    print("changed:", change.new)
    changed.set()


def handle(order: int) -> Limits:
    return limits.value  # one whole object, of one state of its keys


def main() -> None:
    with config, ThreadPoolExecutor(4) as pool:
        print("before:", set(pool.map(handle, range(100))))
        config.put("limits/rate", 20)
        changed.wait(10)
        print("after:", set(pool.map(handle, range(100))))


if __name__ == "__main__":
    main()
