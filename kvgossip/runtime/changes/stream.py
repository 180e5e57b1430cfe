"""Stream: what one listener hears, as an async iterator over a queue that is bounded.

Laws
- A listener never slows the node. When too much waits for it, it is cut off: it loses what waited,
  and gets WatchLaggedError. A gap is never silent.
- A stream that is closed, or that nobody holds any more, costs nothing from then on.
- No code of a listener's owner runs while it hears: its task wakes in a later turn of the loop,
  so it may write, listen and close as it likes (lessons.md 24).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from enum import Enum
from threading import get_ident
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.runtime.resident import Resident, check_home

T = TypeVar("T")
Given = TypeVar("Given", covariant=True)


class State(Enum):
    OPEN = "open"
    LAGGED = "lagged"
    CLOSED = "closed"


class Queue(Generic[T]):
    """What waits for one listener. Those who tell hold this and not the Stream, so that a forgotten
    Stream can be noticed.

    `on_wake` is called when something comes or the queue ends. It may only take a note for a later
    turn.
    """

    __slots__ = ("_on_wake", "arrivals", "state", "waiter")

    def __init__(self, on_wake: Callable[[], None] | None = None) -> None:
        #: those that wait, oldest first
        self.arrivals: deque[T] = deque()
        self.state = State.OPEN
        #: the task that waits for the next one; None: none does
        self.waiter: asyncio.Future[None] | None = None
        self._on_wake = on_wake

    def offer(self, arrival: T, waiting_max: int) -> bool:
        """Let this wait as well; false where so much waits already: then the listener is cut
        off."""
        if len(self.arrivals) < waiting_max:
            self.arrivals.append(arrival)
            self.wake()
            return True
        self.arrivals.clear()
        self.end(State.LAGGED)
        return False

    def end(self, state: State) -> None:
        self.state = state
        self.wake()

    def wake(self) -> None:
        if self._on_wake is not None:
            self._on_wake()
        elif self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


Q = TypeVar("Q", bound=Queue[Any])


class Stream(Resident, ABC, Generic[Q, Given]):
    """An async iterator over a queue, for one task at a time. Close it with `aclose` or use it as
    `async with`.

    Iterating raises WatchLaggedError once it was cut off, and ends when it or its node is closed.
    On another thread than the node's it raises LocalError: nobody would wake it there.
    `leave(queue)`: nothing more goes to that queue; harmless when repeated.
    """

    def __init__(self, queue: Q, leave: Callable[[Q], None]) -> None:
        super().__init__()
        self._queue, self._leave = queue, leave

    @abstractmethod
    def _take(self) -> Given:
        """Take what comes next out of the queue, in which something waits."""

    @abstractmethod
    def _lagged(self) -> WatchLaggedError:
        """It was cut off: in words."""

    @property
    def waiting(self) -> int:
        """How many changes wait to be taken."""
        return len(self._queue.arrivals)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Given:
        if self.thread != get_ident():
            check_home(self)
        queue = self._queue
        while not queue.arrivals:
            if queue.state is State.CLOSED:
                raise StopAsyncIteration
            if queue.state is State.LAGGED:
                raise self._lagged()
            await self._wait()
        # taken only after the wait, so that a cancelled wait loses nothing
        return self._take()

    async def aclose(self) -> None:
        """Stop listening at once; what waits is dropped, and a task that waits in the iteration
        ends it. Harmless when repeated."""
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def __del__(self) -> None:
        self._leave(self._queue)

    def _close(self) -> None:
        self._leave(self._queue)
        self._queue.arrivals.clear()
        self._queue.end(State.CLOSED)

    async def _wait(self) -> None:
        if self._queue.waiter is not None:
            raise LocalError("two tasks iterate one watcher", "give each task a watcher of its own")
        self._queue.waiter = asyncio.get_running_loop().create_future()
        try:
            await self._queue.waiter
        finally:
            self._queue.waiter = None
