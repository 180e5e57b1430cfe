"""Who hears of changes: a bounded fan-out from this node's merges to its watchers.

Laws
- A watcher gets every change under its prefix that this node merges after `watch()` was called, in the order of the merges, deletes
  too, each as a frozen pair of what was and what is.
- A watcher never slows the node. When more than `events_max` changes wait for it, it is cut off: it loses what waited and is told so
  by WatchLaggedError. A gap is never silent.
- A watcher that is closed, or that nobody holds any more, costs nothing from then on.

Everything here runs on the thread of the node's event loop; nothing may be called from another thread. No code of a watcher's owner
runs inside `publish`: its task wakes in a later turn of the loop, so it may write, watch and close as it likes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from enum import Enum
from types import TracebackType
from typing import NamedTuple

from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.protocol.effect import Changed
from kvgossip.protocol.entry import Entry


class Change(NamedTuple):
    """What a merge did to a key: `old` is what this node had (None: nothing), `new` what it has now (perhaps a death certificate)."""

    key: str
    old: Entry | None
    new: Entry


class _State(Enum):
    OPEN = "open"
    LAGGED = "lagged"
    CLOSED = "closed"


class _Queue:
    """What waits for one watcher. Watches holds this and not the Watcher, so that a forgotten Watcher can be noticed."""

    __slots__ = ("changes", "prefix", "state", "waiter")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.changes: deque[Changed] = deque()
        self.state = _State.OPEN
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def end(self, state: _State) -> None:
        self.state = state
        self.wake()


class Watches:
    """All watchers of a node, by prefix. `events_max`: how many changes may wait for one of them."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._by_prefix: dict[str, dict[_Queue, None]] = {}
        self._by_length: Counter[int] = Counter()
        self._lengths: tuple[int, ...] = ()
        self.lagged = 0

    def __len__(self) -> int:
        """How many watchers there are."""
        return sum(map(len, self._by_prefix.values()))

    def watch(self, prefix: str = "") -> Watcher:
        """A new watcher of all keys that start with `prefix`, from this moment on."""
        queue = _Queue(prefix)
        if prefix not in self._by_prefix:
            self._by_prefix[prefix] = {}
            self._count(prefix, +1)
        self._by_prefix[prefix][queue] = None
        return Watcher(self, queue)

    def publish(self, changed: Changed) -> None:
        """Tell a change to those who watch it: one look-up for each length that a watched prefix has, none without watchers.

        The records are read by those who take the change, and not here: a burst must not cost the node what a watcher may never take.
        """
        key = changed.key
        for length in self._lengths:
            if length > len(key):
                break
            # a copy, because a watcher that is cut off leaves while its neighbours are being told
            for queue in list(self._by_prefix.get(key[:length], ())):
                self._offer(queue, changed)

    def close(self) -> None:
        """End every watcher: it still gets what waits for it, then its iteration stops."""
        for queue in [queue for queues in self._by_prefix.values() for queue in queues]:
            self.remove(queue)
            queue.end(_State.CLOSED)

    def remove(self, queue: _Queue) -> None:
        """Forget a watcher; harmless when it is gone already."""
        queues = self._by_prefix.get(queue.prefix)
        if queues is None:
            return
        queues.pop(queue, None)
        if not queues:
            del self._by_prefix[queue.prefix]
            self._count(queue.prefix, -1)

    def _offer(self, queue: _Queue, changed: Changed) -> None:
        if len(queue.changes) < self._events_max:
            queue.changes.append(changed)
            queue.wake()
            return
        self.lagged += 1
        queue.changes.clear()
        queue.end(_State.LAGGED)
        self.remove(queue)

    def _count(self, prefix: str, step: int) -> None:
        """One watched prefix more or less: what `publish` looks up changes only when its length is new or was the last one."""
        self._by_length[len(prefix)] += step
        if not self._by_length[len(prefix)]:
            del self._by_length[len(prefix)]
        if len(self._by_length) != len(self._lengths):
            self._lengths = tuple(sorted(self._by_length))


class Watcher:
    """An async iterator of Change, for one task at a time. Close it with `aclose` or use it as `async with`.

    Iterating raises WatchLaggedError once the watcher was cut off, and ends when the watcher or its node is closed.
    """

    def __init__(self, watches: Watches, queue: _Queue) -> None:
        self._watches, self._queue = watches, queue

    @property
    def prefix(self) -> str:
        return self._queue.prefix

    @property
    def waiting(self) -> int:
        """How many changes wait to be taken."""
        return len(self._queue.changes)

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        queue = self._queue
        while not queue.changes:
            if queue.state is _State.CLOSED:
                raise StopAsyncIteration
            if queue.state is _State.LAGGED:
                raise WatchLaggedError(f"the watcher of {queue.prefix!r} did not keep up", "list the keys again, then watch again")
            await self._wait()
        # taken only after the wait, so that a cancelled wait loses nothing
        changed = queue.changes.popleft()
        return Change(changed.key, changed.old, changed.new)

    async def aclose(self) -> None:
        """Stop watching at once; what waits is dropped, and a task that waits in the iteration ends it. Harmless when repeated."""
        self._close()

    async def __aenter__(self) -> Watcher:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def __del__(self) -> None:
        self._watches.remove(self._queue)

    def _close(self) -> None:
        self._watches.remove(self._queue)
        self._queue.changes.clear()
        self._queue.end(_State.CLOSED)

    async def _wait(self) -> None:
        if self._queue.waiter is not None:
            raise LocalError("two tasks iterate one watcher", "give each task a watcher of its own")
        self._queue.waiter = asyncio.get_running_loop().create_future()
        try:
            await self._queue.waiter
        finally:
            self._queue.waiter = None
