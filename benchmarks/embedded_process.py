"""A process with a cache, for embedded.py and canaries.py, which tell it what to do, a line at a
time.

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
    watch           from now on a `rate` over 100 is refused, and releases that are shown are noted
    release NAME R  a release with this rate for all, once all have applied it: when it began
    rollback        to the one before: when it began
    shown N         wait until N releases were shown; NAME@SECONDS of each, on the clock that all
                    processes of a machine share
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sized
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvgossip import ConfigCache
    from kvgossip.cache.news import Change

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
RATE_MAX = 100


def main() -> None:
    name, join, data_dir = sys.argv[1:]
    say("bare")
    cache = None
    heard: list[float] = []
    shown: list[str] = []
    for line in sys.stdin:
        command, *words = line.split()
        if command == "member":
            load()
            say("loaded")
        elif command == "open":
            from kvgossip import ConfigCache

            cache = ConfigCache(
                "bench/",
                cluster="bench",
                name=name,
                gossip="127.0.0.1:0",
                join=[join] if join else [],
                data_dir=data_dir,
                founding_s=0.0,
            )

            @cache.on_change("moments/")
            def note(change: Change) -> None:
                now_s = time.monotonic()
                heard.extend(now_s - begun_s for begun_s in change.new.values())

            cache.get("key-00000000")
            say(cache.status().role)
        elif cache is None:
            sys.exit(f"{command}: nothing is open")
        elif command == "put":
            for number in range(int(words[0])):
                cache.put(f"moments/{number}", time.monotonic())
                time.sleep(float(words[1]))
            say("done")
        elif command == "settle":
            cache.wait_settled(60)
            say("settled")
        elif command == "heard":
            await_count(heard, int(words[0]))
            say(*heard)
        elif command == "watch":
            watch(cache, shown)
            say("watches")
        elif command == "release":
            begun_s = time.monotonic()
            cache.release({"rate": int(words[1])}, name=words[0]).wait(ARRIVAL_S)
            say(begun_s)
        elif command == "rollback":
            begun_s = time.monotonic()
            cache.rollback()
            say(begun_s)
        elif command == "shown":
            await_count(shown, int(words[0]))
            say(*shown)
    if cache is not None:
        cache.close()


def await_count(those: Sized, count: int) -> None:
    """Until there are so many, or for ARRIVAL_S."""
    end_s = time.monotonic() + ARRIVAL_S
    while len(those) < count and time.monotonic() < end_s:
        time.sleep(0.01)


def watch(cache: ConfigCache, shown: list[str]) -> None:
    from dataclasses import dataclass

    from kvgossip import Refused

    @dataclass(frozen=True)
    class Limits:
        rate: int = 0

    limits = cache.bind(Limits)

    @limits.check
    def is_not_too_much(new: Limits) -> None:
        if new.rate > RATE_MAX:
            raise Refused(f"over {RATE_MAX}")

    @cache.on_change("rate")
    def note(change: Change) -> None:
        shown.append(f"{change.release}@{time.monotonic()}")


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
