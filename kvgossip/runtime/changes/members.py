"""Members: the changes of this node's beliefs about members, for streams and callbacks.

They hear all that MemberChanged says, in its order: a new name, another state, address or life, and
that a name was forgotten; of this node's own record, too. Nothing runs between `watch_members` and
the `members()` that follows it, so a table that begins with the one and follows the other is right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import NamedTuple

from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.protocol.effect import MemberChanged
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.runtime.changes.stream import Queue, State, Stream


class MemberChange(NamedTuple):
    """A node's belief of a member changed: `old` None: a new name; `new` None: it was forgotten.
    `pool`: `lan`, or on a gateway also `wan`."""

    old: Member | None
    new: Member | None
    pool: str


OnMemberChange = Callable[[MemberChange], object]


class MemberWatcher(Stream[Queue[MemberChange], MemberChange]):
    """An async iterator of MemberChange."""

    def _take(self) -> MemberChange:
        return self._queue.arrivals.popleft()

    def _lagged(self) -> WatchLaggedError:
        return WatchLaggedError(
            "the watcher of members did not keep up", "watch again, then ask for members()"
        )


class MemberChanges:
    """All who hear of members. `events_max`: how many changes may wait for one of them."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._queues: OrderedSet[Queue[MemberChange]] = OrderedSet()
        #: by what stands for each of them
        self._callbacks: dict[object, OnMemberChange] = {}

    def publish(self, effect: MemberChanged) -> None:
        """Tell all; callbacks in a later turn of the event loop."""
        change = MemberChange(effect.old, effect.new, effect.pool.value)
        for queue in list(self._queues):
            if not queue.offer(change, self._events_max):
                self._queues.discard(queue)
        for token in self._callbacks:
            asyncio.get_running_loop().call_soon(self._call, token, change)

    def watch(self) -> MemberWatcher:
        queue: Queue[MemberChange] = Queue()
        self._queues.add(queue)
        return MemberWatcher(queue, self._queues.discard)

    def call(self, callback: OnMemberChange) -> Callable[[], None]:
        """Call this of every change from now on; returns what ends that. Raises LocalError for a
        coroutine function, for which nobody would wait."""
        if iscoroutinefunction(callback):
            raise LocalError(
                "a callback for members is a plain function, not a coroutine function",
                "iterate watch_members() in a task of your own",
            )
        token = object()
        self._callbacks[token] = callback

        def end() -> None:
            self._callbacks.pop(token, None)

        return end

    def _call(self, token: object, change: MemberChange) -> None:
        # perhaps it was ended since
        callback = self._callbacks.get(token)
        if callback is not None:
            callback(change)

    def close(self) -> None:
        """End all streams: each still gives what waits."""
        for queue in list(self._queues):
            self._queues.discard(queue)
            queue.end(State.CLOSED)
