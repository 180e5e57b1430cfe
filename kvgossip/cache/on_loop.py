"""Who waits for a cache on an event loop: coroutine functions that hear of changes, iterators, and
the coroutines of the face.

asyncio is imported here, and nowhere else where a process that follows its member passes: a program
without a loop does not pay for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from kvgossip.cache.news import Change, Waiting
from kvgossip.errors import LocalError

Result = TypeVar("Result")


class OnLoop:
    """A coroutine function on the loop that registered it: one call at a time, in order."""

    def __init__(
        self,
        function: Callable[[Any], Coroutine[Any, Any, object]],
        failed: Callable[[Callable[..., object], BaseException], None],
    ) -> None:
        loop = running_loop("a coroutine function")
        self.waiting = Waiting(lambda: loop.call_soon_threadsafe(self._woken), loop)
        self._loop, self._function, self._failed = loop, function, failed
        self._task: asyncio.Task[None] | None = None

    def _woken(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while (news := self.waiting.take()) is not None:
                try:
                    await self._function(news)
                except Exception as error:
                    self._failed(self._function, error)
        finally:
            self._task = None


class Changes:
    """An async iterator of Change, for one task at a time, which hears from its making on. It ends
    with its cache, by `aclose`, or as `async with`; one that nobody holds hears nothing."""

    def __init__(self, opens: Callable[[], object], forget: Callable[[Waiting], None]) -> None:
        loop, woken = running_loop("an iterator"), asyncio.Event()
        self.waiting = Waiting(lambda: loop.call_soon_threadsafe(woken.set), loop)
        self._loop, self._woken, self._forget = loop, woken, forget
        self._opens: Callable[[], object] | None = opens
        self._ended = False

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        if self._opens is not None and not self._ended:
            opens, self._opens = self._opens, None
            await asyncio.to_thread(opens)
        while True:
            self._woken.clear()
            news = self.waiting.take()
            if isinstance(news, Change):
                return news
            if self._ended:
                raise StopAsyncIteration
            await self._woken.wait()

    def end(self) -> None:
        """On any thread."""
        self._ended = True
        self._forget(self.waiting)
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._woken.set)

    async def aclose(self) -> None:
        self.end()

    async def __aenter__(self) -> Changes:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.end()

    def __del__(self) -> None:
        # none, where its making has failed
        if hasattr(self, "_forget"):
            self._forget(self.waiting)


def running_loop(what: str) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise LocalError(
            f"{what} needs a running event loop",
            "register it in a coroutine, or give a plain function, which is called on a thread",
        ) from None


async def on_thread(function: Callable[[], object]) -> None:
    """Call what waits, while the loop goes on."""
    await asyncio.to_thread(function)


async def shielded(function: Callable[[], object]) -> None:
    """The same; it goes on where the waiting is cancelled."""
    await asyncio.shield(asyncio.to_thread(function))


async def result_of(future: Future[Result], timeout_s: float | None) -> Result:
    """Raises TimeoutError; what was waited for goes on, also where the waiting is cancelled."""
    async with asyncio.timeout(timeout_s):
        return await asyncio.shield(asyncio.wrap_future(future))
