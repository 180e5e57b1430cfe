"""Watchers: a bounded fan-out of changes from this node's feed (feed.py) to those who watch.

Laws
- A watcher gets every change of its topic that this node merges after `watch()` was called, in the
  order of the merges, deletes too, each as a frozen pair of the old record and the new one.
- A watcher never slows the node. When more than `events_max` changes wait for it, it is cut off: it
  loses the changes that waited and gets WatchLaggedError. A gap is never silent.
- A watcher that is closed, or that nobody holds any more, costs nothing from then on.
- A watcher of a topic wakes for its changes and for no others, also while there is nothing under it
  (lessons.md 21).

Everything here runs on the thread of the node's event loop; nothing may be called from another
thread. No code of a watcher's owner runs inside `publish`: its task wakes in a later turn of the
loop, so it may write, watch and close as it likes (lessons.md 24).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import NamedTuple

from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.ordered_set import OrderedSet

TOPICS_KEPT = 256
"""Topics whose latest index is remembered while nobody watches them: each distinct length costs a
write one look-up."""
LAGGED_HINT = "list the keys again, then watch again"


class Topic(NamedTuple):
    """A thing to watch: all keys that start with `text`, or, when `exact`, the one key."""

    text: str = ""
    exact: bool = False

    def covers(self, key: str) -> bool:
        return key == self.text if self.exact else key.startswith(self.text)


class Arrival(NamedTuple):
    """A change with its arrival index (see feed.py). Everybody who waits for it holds the same
    one."""

    at: int
    changed: Changed


class Change(NamedTuple):
    """A merge of a key: `old` is the entry that this node had (None: nothing), `new` the one that
    it has now (perhaps a tombstone)."""

    key: str
    old: Entry | None
    new: Entry


class State(Enum):
    OPEN = "open"
    LAGGED = "lagged"
    CLOSED = "closed"


class Queue:
    """The changes that wait for one watcher. Watches holds this and not the Watcher, so that a
    forgotten Watcher can be noticed.

    `on_wake` is called when something comes or the queue ends. It may only take a note for a later
    turn.
    """

    __slots__ = ("_on_wake", "arrivals", "state", "topic", "waiter")

    def __init__(self, topic: Topic, on_wake: Callable[[], None] | None = None) -> None:
        self.topic = topic
        #: those that wait, oldest first
        self.arrivals: deque[Arrival] = deque()
        self.state = State.OPEN
        #: the task that waits for the next change; None: none does
        self.waiter: asyncio.Future[None] | None = None
        self._on_wake = on_wake

    def end(self, state: State) -> None:
        self.state = state
        self.wake()

    def wake(self) -> None:
        if self._on_wake is not None:
            self._on_wake()
        elif self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class _Group:
    """Those who watch one topic. `index` is that of its latest change, 0 while it is not known:
    then there was none after `since`.

    `kept`: also while nobody watches.
    """

    __slots__ = ("index", "kept", "queues", "since")

    def __init__(self, since: int) -> None:
        self.queues: OrderedSet[Queue] = OrderedSet()
        self.index = 0
        self.since = since
        self.kept = False


class Watches:
    """All watchers of a node, by topic. `events_max`: how many changes may wait for one of them."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        #: watchers of all keys under a prefix, and of one key
        self._by_prefix: dict[str, _Group] = {}
        self._by_key: dict[str, _Group] = {}
        #: how many watched prefixes have each length, and those lengths, rising
        self._by_length: Counter[int] = Counter()
        self._lengths: tuple[int, ...] = ()
        #: topics whose index is kept while nobody watches them, the oldest first
        self._kept: OrderedSet[Topic] = OrderedSet()
        #: how many watchers were cut off
        self.lagged = 0

    def __len__(self) -> int:
        """How many watchers there are."""
        return sum(
            len(group.queues)
            for groups in (self._by_prefix, self._by_key)
            for group in groups.values()
        )

    @property
    def idle(self) -> bool:
        """True if nobody watches, and no topic's index is kept."""
        return not (self._lengths or self._by_key)

    @property
    def waiting(self) -> int:
        """How many changes wait for watchers."""
        groups = (group for groups in (self._by_prefix, self._by_key) for group in groups.values())
        return sum(len(queue.arrivals) for group in groups for queue in group.queues)

    def add(self, queue: Queue, index: int) -> None:
        """Everything that is published of its topic from now on goes into this queue; `index`: that
        of the latest change by now."""
        self._group_of(queue.topic, index).queues.add(queue)

    def remove(self, queue: Queue) -> None:
        """Forget a watcher; harmless when it is gone already."""
        group = self._groups(queue.topic).get(queue.topic.text)
        if group is not None:
            group.queues.discard(queue)
            self._drop_if_idle(queue.topic, group)

    def publish(self, arrival: Arrival) -> None:
        """Give a change to those who watch it: one look-up for each length that a watched prefix
        has, none without watchers.

        The records are read by those who take the change, and not here: a burst must not cost the
        node what a watcher may never take.
        """
        key = arrival.changed.key
        for length in self._lengths:
            if length > len(key):
                break
            group = self._by_prefix.get(key[:length])
            if group is not None:
                self._give(group, arrival)
        if self._by_key and (group := self._by_key.get(key)) is not None:
            self._give(group, arrival)

    def close(self) -> None:
        """End every watcher: it still gets the changes that wait for it, then its iteration
        stops."""
        groups = [group for groups in (self._by_prefix, self._by_key) for group in groups.values()]
        for queue in [queue for group in groups for queue in group.queues]:
            self.remove(queue)
            queue.end(State.CLOSED)

    # -- the latest change of a topic -------------------------------------------------------------

    def index_of(self, topic: Topic) -> int:
        """The index of the latest change under the topic, 0 where it is not known."""
        group = self._groups(topic).get(topic.text)
        return 0 if group is None else group.index

    def quiet_since(self, topic: Topic) -> int | None:
        """An index after which no change came under the topic, None where that is not known."""
        group = self._groups(topic).get(topic.text)
        return None if group is None else group.index or group.since

    def keep(self, topic: Topic, index: int) -> None:
        """From now on `index_of` knows this topic, also while nobody watches it, until TOPICS_KEPT
        others were kept after it."""
        group = self._group_of(topic, index)
        group.index, group.kept = index, True
        self._kept.discard(topic)
        self._kept.add(topic)
        if len(self._kept) > TOPICS_KEPT:
            oldest = next(iter(self._kept))
            self._kept.discard(oldest)
            group = self._groups(oldest)[oldest.text]
            group.kept = False
            self._drop_if_idle(oldest, group)

    def _give(self, group: _Group, arrival: Arrival) -> None:
        group.index = arrival.at
        # a copy, because a watcher that is cut off leaves while its neighbours get the change
        for queue in list(group.queues):
            self._offer(queue, arrival)

    def _offer(self, queue: Queue, arrival: Arrival) -> None:
        if len(queue.arrivals) < self._events_max:
            queue.arrivals.append(arrival)
            queue.wake()
            return
        self.lagged += 1
        queue.arrivals.clear()
        queue.end(State.LAGGED)
        self.remove(queue)

    def _groups(self, topic: Topic) -> dict[str, _Group]:
        return self._by_key if topic.exact else self._by_prefix

    def _group_of(self, topic: Topic, since: int) -> _Group:
        groups = self._groups(topic)
        if topic.text not in groups:
            groups[topic.text] = _Group(since)
            if not topic.exact:
                self._count(topic.text, +1)
        return groups[topic.text]

    def _drop_if_idle(self, topic: Topic, group: _Group) -> None:
        if (
            not group.queues
            and not group.kept
            and self._groups(topic).pop(topic.text, None) is not None
            and not topic.exact
        ):
            self._count(topic.text, -1)

    def _count(self, prefix: str, step: int) -> None:
        """One watched prefix more or less: the look-up of `publish` changes only when its length is
        new or was the last one."""
        self._by_length[len(prefix)] += step
        if not self._by_length[len(prefix)]:
            del self._by_length[len(prefix)]
        if len(self._by_length) != len(self._lengths):
            self._lengths = tuple(sorted(self._by_length))


class Watcher:
    """An async iterator of Change, for one task at a time. Close it with `aclose` or use it as
    `async with`.

    Iterating raises WatchLaggedError once the watcher was cut off, and ends when the watcher or its
    node is closed. `index` is the arrival index of the change that was taken last, at first that of
    the moment from which on it hears.
    """

    def __init__(
        self, watches: Watches, queue: Queue, index: int, cursor_of: Callable[[int], str]
    ) -> None:
        self._watches, self._queue, self.index, self._cursor_of = watches, queue, index, cursor_of

    @property
    def prefix(self) -> str:
        return self._queue.topic.text

    @property
    def cursor(self) -> str:
        """`Node.watch(prefix, since=cursor)` goes on after the change that was taken last."""
        return self._cursor_of(self.index)

    @property
    def waiting(self) -> int:
        """How many changes wait to be taken."""
        return len(self._queue.arrivals)

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        queue = self._queue
        while not queue.arrivals:
            if queue.state is State.CLOSED:
                raise StopAsyncIteration
            if queue.state is State.LAGGED:
                raise WatchLaggedError(
                    f"the watcher of {queue.topic.text!r} did not keep up", LAGGED_HINT
                )
            await self._wait()
        # taken only after the wait, so that a cancelled wait loses nothing
        self.index, changed = queue.arrivals.popleft()
        return Change(changed.key, changed.old, changed.new)

    async def aclose(self) -> None:
        """Stop watching at once; changes that wait are dropped, and a task that waits in the
        iteration ends it. Harmless when repeated."""
        self._close()

    async def __aenter__(self) -> Watcher:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def __del__(self) -> None:
        self._watches.remove(self._queue)

    def _close(self) -> None:
        self._watches.remove(self._queue)
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
