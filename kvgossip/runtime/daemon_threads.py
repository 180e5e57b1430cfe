"""DaemonThreads: calls that may block for ever, on threads that nobody waits for at the end.

A name server that is away holds a look-up for half a minute, a disk that hangs holds its caller for
as long as it likes. The executors of asyncio and uvloop are joined when the loop closes or the
process ends; these threads are not.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

_Task = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class DaemonThreads:
    """At most `threads_max` at a time; what is more waits for one of them. Safe for the loops of
    several threads. `name` begins the names of the threads."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._name, self._threads_max = name, threads_max
        self._lock = threading.Lock()
        self._tasks: deque[_Task] = deque()
        self._running = 0

    def run(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """The future, of the running loop, of a call. To cancel it gives up the answer; a call that
        has begun goes on."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with self._lock:
            self._tasks.append((loop, future, function))
            begins = self._running < self._threads_max
            self._running += begins
        if begins:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._running -= 1
                    return
                loop, future, function = self._tasks.popleft()
            if future.cancelled():
                continue
            try:
                result, error = function(), None
            except Exception as caught:
                result, error = None, caught
            # a loop that is closed has nobody who waits
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_finish, future, result, error)


def _finish(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
