"""The change feed: one ordered log of what this node merges, for everybody who wants to hear of it and for those who come back.

Laws
- Every change has an *arrival index*: the hybrid logical time at which it arrived here, or one more than the index before it, whichever is
  greater. So indices rise strictly on a node, are never 0, and those of other nodes and of later lives lie near them in time.
- The newest changes are kept, `changes_max` of them and `bytes_max` bytes, so that who was away for a while can go on. They are kept by
  reference: a record that is still in the store costs nothing twice.
- A *cursor* names a life of a node and an index: "I have seen everything until there". The order of arrival is that node's own, so a
  cursor is good there and then only. Where it cannot be gone on from, because what came after it is gone, or it is another life's, the
  answer is *resync*, never silence and never a gap (lessons.md 23): the watcher is to take a snapshot, and then the changes after it.
- Who knows that nothing came under its topic after its cursor goes on from a cursor of any age.

Consul's blocking queries ask for the same: `last_index` of a topic, and `wait` until it is greater. A `wait` beyond all indices that were
ever given here, by a client that comes from another server, returns at once instead of hanging.

A new life begins with an empty feed at the time of its start: what it reads from its disk is no change.
"""

from __future__ import annotations

import asyncio
import re
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.errors import LocalError, WatchLaggedError
from kvgossip.protocol.effect import Changed
from kvgossip.runtime.watch import LAGGED_HINT, Arrival, Queue, Topic, Watcher, Watches

SCANNED_MAX = 4096
"""Changes that one `read` looks at: well below a millisecond."""
_CURSOR = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})")


Kept = tuple[int, str, bytes | None, bytes]
"""An arrival as the ring keeps it: a plain tuple of plain values, which the garbage collector visits once and never again."""


class Portion(NamedTuple):
    """Changes of a topic in the order of their arrival, and the index up to which there are no others."""

    arrivals: list[Arrival]
    until: int


class Feed:
    """The changes of one life of a node. `site` names the life, `start` is the hybrid logical time at which it began.

    `index` is that of the latest change; at first, when there was none, `start`.
    """

    def __init__(self, config: Config, site: int, start: int) -> None:
        self.watches = Watches(config.watch_events_max)
        self.index = self._floor = max(start, 1)
        self._site = site
        self._ring: deque[Kept] = deque()
        self._latest: dict[str, int] = {}
        self._bytes = 0
        self._changes_max, self._bytes_max = config.feed_changes_max, config.feed_bytes_max
        self._thread = threading.get_ident()

    def __len__(self) -> int:
        """How many changes are kept."""
        return len(self._ring)

    @property
    def kept_bytes(self) -> int:
        """How many bytes of records those changes hold on to, at most."""
        return self._bytes

    # -- changes come --------------------------------------------------------------------------------------------------

    def publish(self, changed: Changed, timestamp: int) -> None:
        """A merge was news, at this hybrid logical time."""
        self.index = index = timestamp if timestamp > self.index else self.index + 1
        key, old, new = changed
        self._ring.append((index, key, old, new))
        self._latest[key] = index
        self._bytes += len(new) if old is None else len(new) + len(old)
        if not self.watches.idle:
            self.watches.publish(Arrival(index, changed))
        while self._bytes > self._bytes_max or len(self._ring) > self._changes_max:
            self._floor, key, old, new = self._ring.popleft()
            self._bytes -= len(new) if old is None else len(new) + len(old)
            if self._latest[key] == self._floor:
                del self._latest[key]

    def close(self) -> None:
        """End all watchers (see Watches.close)."""
        self.watches.close()

    # -- changes go ----------------------------------------------------------------------------------------------------

    def watch(self, topic: Topic, since: str | None = None) -> Watcher:
        """A new watcher, from this moment on or, after a cursor, from there on.

        Raises WatchLaggedError where the cursor cannot be gone on from, LocalError on another thread than the node's.
        """
        if threading.get_ident() != self._thread:
            raise LocalError("a node is watched on the thread of its event loop", "use asyncio.run_coroutine_threadsafe to get there")
        index = self.index if since is None else self.resume(since, topic)
        if index is None:
            raise WatchLaggedError(f"the cursor {since!r} is too old, or of another node or an earlier life of this one", LAGGED_HINT)
        queue = Queue(topic)
        queue.arrivals.extend(self._arrivals(index, topic))
        self.watches.add(queue, self.index)
        return Watcher(self.watches, queue, index, self.cursor)

    def subscribe(self, topic: Topic, on_wake: Callable[[], None]) -> Queue:
        """What comes from now on, for those who are no Watcher. Give it back to `watches.remove`."""
        queue = Queue(topic, on_wake)
        self.watches.add(queue, self.index)
        return queue

    def cursor(self, index: int | None = None) -> str:
        """The cursor of a watcher that has seen everything until this index; None: until now."""
        return f"{self._site:016x}-{self.index if index is None else index:016x}"

    def resume(self, cursor: str, topic: Topic) -> int | None:
        """The index behind a cursor, None where it cannot be gone on from: the watcher must take a snapshot first."""
        match = _CURSOR.fullmatch(cursor)
        if match is None or int(match[1], 16) != self._site:
            return None
        index = int(match[2], 16)
        return index if index <= self.index and self._reaches(index, topic) else None

    def read(self, after: int, topic: Topic, scanned_max: int = SCANNED_MAX) -> Portion:
        """The changes of the topic that came after this index, a portion of them: go on after its `until`, until it is ours.

        Raises WatchLaggedError when some of them are gone.
        """
        if self._is_quiet_since(after, topic):
            return Portion([], self.index)
        if after < self._floor:
            raise WatchLaggedError(f"the changes after {after} are gone", LAGGED_HINT)
        first = self._place_after(after)
        seen = [self._ring[place] for place in range(first, min(first + scanned_max, len(self._ring)))]
        found = [Arrival(at, Changed(key, old, new)) for at, key, old, new in seen if topic.covers(key)]
        return Portion(found, seen[-1][0] if seen else self.index)

    def last_index(self, topic: Topic) -> int:
        """The index of the topic's latest change; where that is gone, or there was none, an index before which it was.

        It stays the same until a change comes, while somebody watches or asks often enough (see Watches.keep).
        """
        index = self.watches.index_of(topic)
        if not index and topic.exact:
            index = self._latest.get(topic.text, self._floor)
        elif not index:
            found = (at for at, key, _, _ in reversed(self._ring) if topic.covers(key))
            index = next(found, self._floor)
        self.watches.keep(topic, index)
        return index

    async def wait(self, topic: Topic, after: int, timeout_s: float) -> int:
        """The topic's last index, as soon as it is greater than `after`; at the latest after the timeout, or when the node stops.

        An `after` that is greater than all indices of this feed is answered at once.
        """
        index = self.last_index(topic)
        if index > after or after > self.index:
            return index
        woken = asyncio.Event()
        queue = self.subscribe(topic, woken.set)
        try:
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        except TimeoutError:
            pass
        finally:
            self.watches.remove(queue)
        return self.last_index(topic)

    # -- the ring ------------------------------------------------------------------------------------------------------

    def _reaches(self, after: int, topic: Topic) -> bool:
        """Whether everything of the topic that came after this index is here."""
        return after >= self._floor or self._is_quiet_since(after, topic)

    def _is_quiet_since(self, after: int, topic: Topic) -> bool:
        quiet_since = self.watches.quiet_since(topic)
        return quiet_since is not None and quiet_since <= after

    def _arrivals(self, after: int, topic: Topic) -> list[Arrival]:
        found: list[Arrival] = []
        while after < self.index:
            arrivals, after = self.read(after, topic)
            found += arrivals
        return found

    def _place_after(self, index: int) -> int:
        return bisect_right(self._ring, index, key=itemgetter(0))
