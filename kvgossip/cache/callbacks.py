"""Callbacks: who hears of changes, and where - functions on one thread of their own, in order;
coroutine functions on the loop that registered them; iterators on the loop that iterates.

Laws
- A set of changes that appeared together is one call for whom any of it concerns.
- A callback that raises is one line of the log, and nothing else: the others are called, and it is
  called again.
- Nobody waits for a callback, but the callbacks after it. Who is BEHIND_MAX sets behind gets those
  that follow joined into one: the last state always arrives, and what waits is bounded.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any
from weakref import WeakSet

from msgspec import Struct

from kvgossip.cache.table import Table
from kvgossip.errors import LocalError
from kvgossip.protocol.model.plain_text import plain

BEHIND_MAX = 1024
CLOSING_S = 2.0

log = logging.getLogger("kvgossip")


class Change(Struct, frozen=True):
    """Something appeared. `key` is what was asked for: a key, whose value `old` and `new` are, or a
    prefix; then they are values by name, of those that changed. None: there was, or is, none.
    `release`: whose values those are from now on; empty: loose keys'."""

    key: str
    old: Any
    new: Any
    release: str = ""


class Refusal(Struct, frozen=True):
    """What is not applied, and why. `key`: without the prefix of the cache; that of a bound model
    where no single field is to blame. `version`: of the record, where it is one."""

    key: str
    reason: str
    version: str = ""


News = Change | Refusal


class Waiting:
    """The news that wait for one callback or iterator, for all threads. `wake()` is called once for
    each that `take` will give. `loop`: the one on which they are taken; None: the thread of
    callbacks."""

    def __init__(
        self, wake: Callable[[], object], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._wake, self.loop = wake, loop
        self._news: deque[News] = deque()
        self._lock = threading.Lock()

    def orphan(self) -> None:
        """In a forked child: its parent takes what waits."""
        self._news.clear()
        self._lock = threading.Lock()

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


class Callbacks:
    """`title` begins the name of the thread, and lines of the log."""

    def __init__(self, title: str) -> None:
        self._title = title
        #: those who hear of changes, by what of; and those who hear of refusals
        self._changes: list[tuple[str, Waiting]] = []
        self._refusals: list[Waiting] = []
        self._iterators: WeakSet[Changes] = WeakSet()
        #: there is a thread once there was something to call; None ends it
        self._thread: threading.Thread | None = None
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.Lock()

    # -- who hears --------------------------------------------------------------------------------

    def on_change(self, key: str, function: Callable[[Any], object]) -> None:
        self._changes.append((key, self._waiting_for(function)))

    def on_refused(self, function: Callable[[Any], object]) -> None:
        self._refusals.append(self._waiting_for(function))

    def iterate(self, key: str, opens: Callable[[], object]) -> Changes:
        """`opens()` is called on another thread before the first wait."""
        changes = Changes(opens, lambda waiting: self._forget(key, waiting))
        self._changes.append((key, changes.waiting))
        self._iterators.add(changes)
        return changes

    def _forget(self, key: str, waiting: Waiting) -> None:
        # in one step, since a garbage collection may ask for it on any thread
        with suppress(ValueError):
            self._changes.remove((key, waiting))

    def _waiting_for(self, function: Callable[[Any], object]) -> Waiting:
        if inspect.iscoroutinefunction(function):
            return _OnLoop(function, self._failed).waiting
        waiting = Waiting(lambda: self._call(call))

        def call() -> None:
            news = waiting.take()
            try:
                function(news)
            except (Exception, SystemExit) as error:
                self._failed(function, error)

        return waiting

    # -- what is told -----------------------------------------------------------------------------

    def changed(self, old: Table, new: Table, names: frozenset[str]) -> None:
        """Readers see another table from now on. `names`: all whose values may differ."""
        for key, waiting in self._changes[:]:
            change = _change(key, old, new, names)
            if change is not None and not waiting.put(change):
                self._forget(key, waiting)

    def refused(self, refusal: Refusal) -> None:
        for waiting in self._refusals[:]:
            if not waiting.put(refusal):
                self._refusals.remove(waiting)

    # -- the thread -------------------------------------------------------------------------------

    def _call(self, call: Callable[[], object]) -> None:
        with self._lock:
            if self._thread is None:
                name = f"kvgossip {self._title} callbacks"
                self._calls = SimpleQueue()
                self._thread = threading.Thread(
                    target=_work, args=(self._calls,), name=name, daemon=True
                )
                self._thread.start()
            self._calls.put(call)

    def close(self) -> None:
        """Iterators end. Waits a moment for the calls that were due; what registered stays, for
        another life."""
        for changes in list(self._iterators):
            changes.end()
        with self._lock:
            thread, self._thread = self._thread, None
            self._calls.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSING_S)

    def orphan(self) -> None:
        """In a forked child: the loops are its parent's, and the thread is not there."""
        self._lock, self._thread, self._iterators = threading.Lock(), None, WeakSet()
        self._changes = [each for each in self._changes if each[1].loop is None]
        self._refusals = [each for each in self._refusals if each.loop is None]
        for waiting in (*(each for _, each in self._changes), *self._refusals):
            waiting.orphan()

    def _failed(self, function: Callable[..., object], error: BaseException) -> None:
        name = getattr(function, "__qualname__", repr(function))
        log.error("%s: the callback %s failed: %s", self._title, name, plain(repr(error)))


def _work(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while (call := calls.get()) is not None:
        call()


class _OnLoop:
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


# -- changes ---------------------------------------------------------------------------------------


def is_prefix(key: str) -> bool:
    """True if all keys below are meant, false if this one is."""
    return not key or key.endswith("/")


def _change(key: str, old: Table, new: Table, names: frozenset[str]) -> Change | None:
    """What became of a key, or of all under a prefix; None where that reads as before."""
    if not is_prefix(key):
        was, now = (old.find(key), new.find(key)) if key in names else (None, None)
        return Change(key, was, now, new.release) if _differ(was, now) else None
    values = {name: (old.find(name), new.find(name)) for name in names if name.startswith(key)}
    moved = sorted(name for name, (was, now) in values.items() if _differ(was, now))
    if not moved:
        return None
    before, after = ({name: values[name][side] for name in moved} for side in (0, 1))
    return Change(key, before, after, new.release)


def _differ(old: object, new: object) -> bool:
    return type(old) is not type(new) or old != new
