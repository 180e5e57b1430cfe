"""A process with a cache, for embedded.py, which tells it what to do, a line at a time.

    python benchmarks/embedded_process.py NAME JOIN DATA_DIR

Nothing but the cache is imported here, so that what the process takes is what the cache takes: at
its first line, `bare`, it is an interpreter and no more. The answer to a line is one word, or
figures with blanks between them.

    open            the cache, and the first read: the role
    member          import all that a member needs, and nothing else
    settle          wait until it has settled
    put N PAUSE_S   so many writes, each the time at which it began
    heard N         wait for N writes; for each that came to the callback: how many seconds after
                    its begin
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from importlib import import_module

MEMBER_MODULES = (
    "kvgossip.cache.config_cache",
    "kvgossip.cache.followers",
    "kvgossip.cache.member",
    "kvgossip.cache.on_loop",
    "kvgossip.cache.record_bytes",
    "kvgossip.runtime.disk.data_dir",
    "rocksdict",
)
IF_INSTALLED = ("uvloop",)
ARRIVAL_S = 60.0
"""How long the last write is waited for."""
NOBODY = "127.0.0.1:1"


def main() -> None:
    name, join, data_dir = sys.argv[1:]
    say("bare")
    cache = None
    heard: list[float] = []
    for line in sys.stdin:
        command, *words = line.split()
        if command == "member":
            load()
            say("loaded")
        elif command == "open":
            from kvgossip import ConfigCache
            from kvgossip.cache.news import Change

            cache = ConfigCache(
                "bench/",
                cluster="bench",
                name=name,
                gossip="127.0.0.1:0",
                join=[join] if join else [],
                data_dir=data_dir,
                founding_s=0.0,
            )

            @cache.on_change("")
            def note(change: Change) -> None:
                now_s = time.monotonic()
                heard.extend(now_s - begun_s for begun_s in change.new.values())

            cache.get("key-00000000")
            say(cache.status().role)
        elif cache is None:
            sys.exit(f"{command}: nothing is open")
        elif command == "put":
            for number in range(int(words[0])):
                cache.put(f"moment-{number}", time.monotonic())
                time.sleep(float(words[1]))
            say("done")
        elif command == "settle":
            cache.wait_settled(60)
            say("settled")
        elif command == "heard":
            end_s = time.monotonic() + ARRIVAL_S
            while len(heard) < int(words[0]) and time.monotonic() < end_s:
                time.sleep(0.01)
            say(*heard)
    if cache is not None:
        cache.close()


def load() -> None:
    for module in MEMBER_MODULES:
        import_module(module)
    for module in IF_INSTALLED:
        with suppress(ImportError):
            import_module(module)


def say(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    main()
