"""Watchers: a bounded fan-out of changes from this node's feed (feed.py) to those who watch.

Laws
- A watcher gets every change of its topic that this node merges after `watch()` was called, in the
  order of the merges, deletes too, each as a frozen pair of the old record and the new one.
- A watcher for which more than `events_max` changes wait is cut off (stream.py).
- A watcher of a topic wakes for its changes and for no others, also while there is nothing under it
  (lessons.md 21).
- A *set* is what one input of the replica has changed under the topic. So a batch is one set: where
  it was written, and wherever it arrives as one, by rumor. An exchange repairs key by key, so what
  it brings is one set only as far as one message had it; and one datagram may have brought several
  writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from kvgossip.errors import WatchLaggedError
from kvgossip.protocol.model.change import Changed, Conflict
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed.views import view_of
from kvgossip.runtime.changes.stream import Given, Queue, State, Stream

TOPICS_KEPT = 256
"""Topics whose latest index is remembered while nobody watches them: each distinct length costs a
write one look-up."""
LAGGED_HINT = "list the keys again, then watch again"


class Topic(NamedTuple):
    """A thing to watch: all keys that start with `text`, or, when `exact`, the one key: their
    changes, or their `conflicts` (conflicts.py)."""

    text: str = ""
    exact: bool = False
    conflicts: bool = False

    def covers(self, key: str) -> bool:
        return key == self.text if self.exact else key.startswith(self.text)


class Arrival(NamedTuple):
    """A change with its arrival index (see feed.py). Everybody who waits for it holds the same
    one. `input`: the number of the node's input that brought it; 0 where it is not kept."""

    at: int
    changed: Changed
    input: int = 0


class Change(NamedTuple):
    """A merge of a key: `old` is the entry that this node had (None: nothing), `new` the one that
    it has now (perhaps a tombstone)."""

    key: str
    old: Entry | None
    new: Entry


class TopicQueue(Queue[Arrival]):
    """The changes of a topic that wait for one watcher."""

    __slots__ = ("topic",)

    def __init__(self, topic: Topic, on_wake: Callable[[], None] | None = None) -> None:
        super().__init__(on_wake)
        self.topic = topic


class _Group:
    """Those who watch one topic. `index` is that of its latest change, 0 while it is not known:
    then there was none after `since`.

    `kept`: also while nobody watches.
    """

    __slots__ = ("index", "kept", "queues", "since")

    def __init__(self, since: int) -> None:
        self.queues: OrderedSet[TopicQueue] = OrderedSet()
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

    def add(self, queue: TopicQueue, index: int) -> None:
        """Everything that is published of its topic from now on goes into this queue; `index`: that
        of the latest change by now."""
        self._group_of(queue.topic, index).queues.add(queue)

    def remove(self, queue: TopicQueue) -> None:
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

    def _offer(self, queue: TopicQueue, arrival: Arrival) -> None:
        if not queue.offer(arrival, self._events_max):
            self.lagged += 1
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


class TopicStream(Stream[TopicQueue, Given]):
    """What a watcher of a topic is. `index` is the arrival index of the change that was taken last,
    at first that of the moment from which on it hears."""

    def __init__(
        self, watches: Watches, queue: TopicQueue, index: int, cursor_of: Callable[[int], str]
    ) -> None:
        super().__init__(queue, watches.remove)
        self.index, self._cursor_of = index, cursor_of

    @property
    def prefix(self) -> str:
        return self._queue.topic.text

    @property
    def cursor(self) -> str:
        """`Node.watch(prefix, since=cursor)` goes on after the change that was taken last."""
        return self._cursor_of(self.index)

    def _lagged(self) -> WatchLaggedError:
        return WatchLaggedError(f"the watcher of {self.prefix!r} did not keep up", LAGGED_HINT)


class Watcher(TopicStream[Change]):
    """An async iterator of Change."""

    def _take(self) -> Change:
        self.index, changed, _ = self._queue.arrivals.popleft()
        return _change(changed)


class ConflictWatcher(TopicStream[Conflict]):
    """An async iterator of Conflict."""

    def _take(self) -> Conflict:
        self.index, (key, lost, kept), _ = self._queue.arrivals.popleft()
        return Conflict(key, lost or b"", kept)


class SetWatcher(TopicStream[tuple[Change, ...]]):
    """An async iterator of the changes that appeared together, in their order: those of one input
    of the node. No task runs within an input, so a set that waits is whole."""

    def _take(self) -> tuple[Change, ...]:
        arrivals = self._queue.arrivals
        together = [arrivals.popleft()]
        while arrivals and arrivals[0].input == together[0].input:
            together.append(arrivals.popleft())
        self.index = together[-1].at
        return tuple(_change(changed) for _, changed, _ in together)


def _change(changed: Changed) -> Change:
    key, old, new = changed
    return Change(key, None if old is None else view_of(key, old), view_of(key, new))
