"""Callbacks: who hears of changes, and where - functions on one thread of their own, in order;
coroutine functions on the loop that registered them; iterators on the loop that iterates.

Laws
- A set of changes that appeared together is one call for whom any of it concerns.
- A callback that raises is one line of the log, and nothing else: the others are called, and it is
  called again.
- Nobody waits for a callback, but the callbacks after it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard
from weakref import WeakSet

from kvgossip.cache.news import Change, News, Waiting, is_prefix
from kvgossip.cache.status import Refusal, Status
from kvgossip.cache.table import Table
from kvgossip.errors import LocalError
from kvgossip.protocol.model.plain_text import plain

if TYPE_CHECKING:
    from kvgossip.cache.on_loop import Changes

CLOSING_S = 2.0
CO_COROUTINE = 0x80
"""The flag of the code of an `async def`, as `inspect` has it."""

log = logging.getLogger("kvgossip")


class Hearing(NamedTuple):
    """Somebody who hears of something. `key`: what of, where that is changes. `function`: by which
    it can be forgotten; None for an iterator."""

    of: type[News]
    key: str
    function: Callable[[Any], object] | None
    waiting: Waiting


class Callbacks:
    """`title` begins the name of the thread, and lines of the log."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._hearing: list[Hearing] = []
        self._iterators: WeakSet[Changes] = WeakSet()
        #: there is a thread once there was something to call; None ends it
        self._thread: threading.Thread | None = None
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.Lock()

    # -- who hears --------------------------------------------------------------------------------

    def on_change(self, key: str, function: Callable[[Any], object]) -> None:
        self._hearing.append(Hearing(Change, key, function, self._waiting_for(function)))

    def on_refused(self, function: Callable[[Any], object]) -> None:
        self._hearing.append(Hearing(Refusal, "", function, self._waiting_for(function)))

    def on_stale(self, function: Callable[[Any], object]) -> None:
        self._hearing.append(Hearing(Status, "", function, self._waiting_for(function)))

    def iterate(self, key: str, opens: Callable[[], object]) -> Changes:
        """`opens()` is called on another thread before the first wait."""
        from kvgossip.cache.on_loop import Changes

        changes = Changes(opens, lambda waiting: self._drop(Hearing(Change, key, None, waiting)))
        self._hearing.append(Hearing(Change, key, None, changes.waiting))
        self._iterators.add(changes)
        return changes

    def forget(self, function: Callable[..., object]) -> None:
        """It hears of nothing any more, whatever it was registered for; a call that has begun goes
        on. Raises LocalError where it is not registered."""
        registered = [each for each in self._hearing if each.function == function]
        if not registered:
            raise LocalError(
                f"{function!r} is no callback of {self._title}",
                "give the function that was registered",
            )
        for each in registered:
            self._drop(each)
            each.waiting.clear()

    def _drop(self, hearing: Hearing) -> None:
        # in one step, since a garbage collection may ask for it on any thread
        with suppress(ValueError):
            self._hearing.remove(hearing)

    def _waiting_for(self, function: Callable[[Any], object]) -> Waiting:
        if is_coroutine_function(function):
            from kvgossip.cache.on_loop import OnLoop

            return OnLoop(function, self._failed).waiting
        waiting = Waiting(lambda: self._call(call))

        def call() -> None:
            news = waiting.take()
            if news is None:
                return  # forgotten meanwhile
            try:
                function(news)
            except (Exception, SystemExit) as error:
                self._failed(function, error)

        return waiting

    # -- what they hear ---------------------------------------------------------------------------

    def changed(self, old: Table, new: Table, names: frozenset[str]) -> None:
        """Readers see another table from now on. `names`: all whose values may differ."""
        for each in self._hearing_of(Change):
            change = _change(each.key, old, new, names)
            if change is not None:
                self._tell(each, change)

    def refused(self, refusal: Refusal) -> None:
        for each in self._hearing_of(Refusal):
            self._tell(each, refusal)

    def turned(self, status: Status) -> None:
        """It has become stale, or is fresh again."""
        for each in self._hearing_of(Status):
            self._tell(each, status)

    def _hearing_of(self, kind: type[News]) -> list[Hearing]:
        return [each for each in self._hearing if each.of is kind]

    def _tell(self, hearing: Hearing, news: News) -> None:
        if not hearing.waiting.put(news):
            self._drop(hearing)

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
        self._hearing = [each for each in self._hearing if each.waiting.loop is None]
        for each in self._hearing:
            each.waiting.orphan()

    def _failed(self, function: Callable[..., object], error: BaseException) -> None:
        name = getattr(function, "__qualname__", repr(function))
        log.error("%s: the callback %s failed: %s", self._title, name, plain(repr(error)))


def _work(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while (call := calls.get()) is not None:
        call()


def is_coroutine_function(
    function: Callable[[Any], object],
) -> TypeGuard[Callable[[Any], Coroutine[Any, Any, object]]]:
    if type(function) is FunctionType and not function.__dict__:
        return bool(function.__code__.co_flags & CO_COROUTINE)
    # heavy, and for what is no plain function alone
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function)


# -- changes ---------------------------------------------------------------------------------------


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
