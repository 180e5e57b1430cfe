"""News: what callbacks and iterators hear, and how it waits for them.

The law: who is BEHIND_MAX sets behind gets those that follow joined into one: the last state always
arrives, and what waits is bounded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from kvgossip.cache.status import Refusal, Status

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

BEHIND_MAX = 1024


class Change(NamedTuple):
    """Something appeared. `key` is what was asked for: a key, whose value `old` and `new` are, or a
    prefix; then they are values by name, of those that changed. None: there was, or is, none.
    `release`: whose values those are from now on; empty: loose keys'."""

    key: str
    old: Any
    new: Any
    release: str = ""


News = Change | Refusal | Status


class Waiting:
    """The news that wait for one callback or iterator, for all threads. `wake()` is called once for
    each that `take` will give. `loop`: the one on which they are taken; None: the thread of
    callbacks."""

    def __init__(self, wake: Callable[[], object], loop: AbstractEventLoop | None = None) -> None:
        self._wake, self.loop = wake, loop
        self._news: deque[News] = deque()
        self._lock = threading.Lock()

    def orphan(self) -> None:
        """In a forked child: its parent takes what waits."""
        self._news.clear()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """What waits is told to nobody."""
        with self._lock:
            self._news.clear()

    def put(self, news: News) -> bool:
        """False if nobody will ever take it: the loop is closed."""
        with self._lock:
            joined = len(self._news) >= BEHIND_MAX
            self._news.append(_joined(self._news.pop(), news) if joined else news)
        if not joined:
            try:
                self._wake()
            except RuntimeError:
                return False
        return True

    def take(self) -> News | None:
        with self._lock:
            return self._news.popleft() if self._news else None


def _joined(first: News, second: News) -> News:
    if not (isinstance(first, Change) and isinstance(second, Change)):
        return second
    if not is_prefix(first.key):
        return Change(first.key, first.old, second.new, second.release)
    return Change(
        first.key, {**second.old, **first.old}, {**first.new, **second.new}, second.release
    )


def is_prefix(key: str) -> bool:
    """True if all keys below are meant, false if this one is."""
    return not key or key.endswith("/")
