"""The change feed: one ordered log of the merges of this node, for everybody who wants to hear of
it and for those who come back.

Laws
- Every change has an *arrival index*: the hybrid logical time at which it arrived here (`index_of`
  it, so below 2**53), or one more than the index before it, whichever is greater. So indices rise
  strictly on a node, are never 0, and those of other nodes and of later lives lie near them in
  time.
- The newest changes are kept, at most `changes_max` of them and `bytes_max` bytes, so that a
  watcher that was away for a while can go on. They go by chunks, so that up to a sixteenth less is
  kept.
- A *cursor* names a life of a node and an index: "I have seen everything until there". The order of
  arrival is that node's own, so a cursor is good there and then only. If it cannot be gone on from,
  because the changes after it are gone, or it is another life's, the answer is *resync*, never
  silence and never a gap (lessons.md 23): the watcher is to take a snapshot, and then the changes
  after it.
- If nothing came under its topic after its cursor, a watcher goes on from a cursor of any age.

Consul's blocking queries ask for the same: `last_index` of a topic, and `wait` until it is greater.
A `wait` beyond all indices that were ever given here, by a client that comes from another server,
returns at once instead of hanging.

A new life begins with an empty feed at the time of its start: an entry that it reads from its disk
is no change.

Chunks of small changes are packed into one string of bytes each, and what is known of chunks stands
in arrays. As objects of their own they would lie scattered among all that comes and goes in the
store, and CPython gives back no megabyte of which one of them is left: after a million deletes they
held several times their size, and even a hundred small objects held as many megabytes. A change
whose records are large is kept by reference: it costs nothing twice while it is in the store.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

import msgspec

from kvgossip.config import Config
from kvgossip.errors import WatchLaggedError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.newest import Newest
from kvgossip.runtime.changes.packing import packed
from kvgossip.runtime.changes.watchers import (
    LAGGED_HINT,
    Arrival,
    ConflictWatcher,
    SetWatcher,
    Topic,
    TopicQueue,
    Watcher,
    Watches,
)

SCANNED_MAX = 4096
"""Changes that one `read` looks at: well below a millisecond."""
CHUNK_MAX = 256
CHUNK_SHARE = 16
PACKED_RECORDS_MAX = 1024
"""A chunk whose changes have larger records than this, on average, is kept as it is."""
OPENED_MAX = 4
PLACES_MIN, PLACES_MAX = 1 << 16, 1 << 20
_CURSOR = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})")


Kept = tuple[int, str, bytes | None, bytes]
"""An arrival as it is kept: a plain tuple of plain values, which the garbage collector visits once
and never again."""

_unpack = msgspec.msgpack.Decoder(list[Kept]).decode


class Page(NamedTuple):
    """Changes of a topic in the order of their arrival, and the index up to which there are no
    others."""

    arrivals: list[Arrival]
    until: int


class Feed:
    """The changes of one life of a node. `site` names the life, `start` is the index of the time
    at which it began.

    `index` is that of the latest change; at first, when there was none, `start`.
    """

    def __init__(self, config: Config, site: int, start: int) -> None:
        self.watches = Watches(config.watch_events_max)
        #: the number of the replica's input whose changes are published: they are a set
        self.input = 0
        self.index = self._floor = max(start, 1)
        self._site = site
        #: for each chunk: its arrivals, packed or as they are; the index of the last one; how many;
        #: and how many bytes their records have
        self._chunks: deque[bytes | list[Kept]] = deque()
        self._lasts, self._counts, self._sizes = array("Q"), array("Q"), array("Q")
        #: the newest arrivals, which are no chunk yet
        self._tail: list[Kept] = []
        #: chunks that were unpacked lately, by the index of their last arrival
        self._opened: Newest[int, list[Kept]] = Newest(OPENED_MAX)
        self._count = self._tail_bytes = 0
        self._bytes = 0
        self._changes_max, self._bytes_max = config.feed_changes_max, config.feed_bytes_max
        self._chunk_max = max(min(self._changes_max // CHUNK_SHARE, CHUNK_MAX), 1)
        self._chunk_bytes_max = self._bytes_max // CHUNK_SHARE
        #: the latest index of all keys whose hashes share a place, and so one that is late enough
        #: for each of them
        places = min(max(1 << (2 * self._changes_max).bit_length(), PLACES_MIN), PLACES_MAX)
        self._latest = array("Q", bytes(8 * places))

    def __len__(self) -> int:
        """How many changes are kept."""
        return self._count

    @property
    def kept_bytes(self) -> int:
        """How many bytes of records those changes hold on to, at most."""
        return self._bytes

    # -- changes come -----------------------------------------------------------------------------

    def publish(self, changed: Changed, now: int) -> None:
        """A merge was news; `now` is the index of this hybrid logical time."""
        self.index = index = now if now > self.index else self.index + 1
        key, old, new = changed
        size = len(new) if old is None else len(new) + len(old)
        tail, latest = self._tail, self._latest
        tail.append((index, key, old, new))
        latest[hash(key) % len(latest)] = index
        self._count += 1
        self._bytes += size
        self._tail_bytes += size
        if not self.watches.idle:
            self.watches.publish(Arrival(index, changed, self.input))
        if len(tail) >= self._chunk_max or self._tail_bytes >= self._chunk_bytes_max:
            self._close_chunk()
        while self._bytes > self._bytes_max or self._count > self._changes_max:
            self._forget()

    def _close_chunk(self) -> None:
        tail, size = self._tail, self._tail_bytes
        packs = size <= PACKED_RECORDS_MAX * len(tail)
        self._chunks.append(packed(tail) if packs else tail)
        self._lasts.append(tail[-1][0])
        self._counts.append(len(tail))
        self._sizes.append(size)
        self._tail, self._tail_bytes = [], 0
        if packs:
            # a watcher has often not yet read the last of it
            self._remember(tail)

    def _forget(self) -> None:
        """The oldest chunk."""
        self._chunks.popleft()
        self._floor = self._lasts.pop(0)
        self._count -= self._counts.pop(0)
        self._bytes -= self._sizes.pop(0)
        self._opened.pop(self._floor, None)

    def tidy(self) -> None:
        """Much has gone: keep nothing that would hold its room."""
        if self._tail:
            self._close_chunk()
        self._opened.clear()

    def close(self) -> None:
        """End all watchers (see Watches.close)."""
        self.watches.close()

    # -- changes go -------------------------------------------------------------------------------

    def watch(self, topic: Topic, since: str | None = None) -> Watcher:
        """A new watcher, from this moment on or, after a cursor, from there on. Raises
        WatchLaggedError where the cursor cannot be gone on from."""
        queue, index = self._queue_since(topic, since)
        return Watcher(self.watches, queue, index, self.cursor)

    def watch_conflicts(self, topic: Topic, since: str | None = None) -> ConflictWatcher:
        """As `watch`, of a feed of conflicts."""
        queue, index = self._queue_since(topic, since)
        return ConflictWatcher(self.watches, queue, index, self.cursor)

    def _queue_since(self, topic: Topic, since: str | None) -> tuple[TopicQueue, int]:
        index = self.index if since is None else self.resume(since, topic)
        if index is None:
            raise WatchLaggedError(
                f"the cursor {since!r} is too old, or of another node or an earlier life of this "
                "one",
                LAGGED_HINT,
            )
        queue = TopicQueue(topic)
        queue.arrivals.extend(self._arrivals(index, topic))
        self.watches.add(queue, self.index)
        return queue, index

    def watch_sets(self, topic: Topic) -> SetWatcher:
        """A new watcher of sets, from this moment on: of the past their bounds are not kept."""
        queue = TopicQueue(topic)
        self.watches.add(queue, self.index)
        return SetWatcher(self.watches, queue, self.index, self.cursor)

    def subscribe(self, topic: Topic, on_wake: Callable[[], None]) -> TopicQueue:
        """The changes from now on, for those who are no Watcher. Give it back to
        `watches.remove`."""
        queue = TopicQueue(topic, on_wake)
        self.watches.add(queue, self.index)
        return queue

    def cursor(self, index: int | None = None) -> str:
        """The cursor of a watcher that has seen everything until this index; None: until now."""
        return f"{self._site:016x}-{self.index if index is None else index:016x}"

    def resume(self, cursor: str, topic: Topic) -> int | None:
        """The index behind a cursor, None where it cannot be gone on from: the watcher must take a
        snapshot first."""
        match = _CURSOR.fullmatch(cursor)
        if match is None or int(match[1], 16) != self._site:
            return None
        index = int(match[2], 16)
        return index if index <= self.index and self._reaches(index, topic) else None

    def read(self, after: int, topic: Topic, scanned_max: int = SCANNED_MAX) -> Page:
        """The changes of the topic that came after this index, a page of them: go on after its
        `until`, until it is ours.

        Raises WatchLaggedError when some of them are gone.
        """
        if self._is_quiet_since(after, topic):
            return Page([], self.index)
        if after < self._floor:
            raise WatchLaggedError(f"the changes after {after} are gone", LAGGED_HINT)
        seen = list(islice(self._kept_after(after), scanned_max))
        found = [
            Arrival(at, Changed(key, old, new)) for at, key, old, new in seen if topic.covers(key)
        ]
        return Page(found, seen[-1][0] if seen else self.index)

    def newest(self, topic: Topic, limit: int) -> list[Arrival]:
        """The last changes of the topic that are kept, at most so many, newest first."""
        kept = self._kept_backwards(topic.text.encode())
        found = (
            Arrival(at, Changed(key, old, new)) for at, key, old, new in kept if topic.covers(key)
        )
        return list(islice(found, limit))

    def last_index(self, topic: Topic) -> int:
        """The index of the topic's latest change; where that is gone, or there was none, an index
        before which it was.

        It stays the same until a change comes, while somebody watches or asks often enough (see
        Watches.keep).
        """
        index = self.watches.index_of(topic)
        if not index and topic.exact:
            index = max(self._latest[hash(topic.text) % len(self._latest)], self._floor)
        elif not index:
            found = (
                at
                for at, key, _, _ in self._kept_backwards(topic.text.encode())
                if topic.covers(key)
            )
            index = next(found, self._floor)
        self.watches.keep(topic, index)
        return index

    def latest(self, topic: Topic) -> Changed | None:
        """The topic's latest change; None where there was none in this life, or it is gone."""
        index = self.last_index(topic)
        at, key, old, new = next(self._kept_after(index - 1), (0, "", None, b""))
        return Changed(key, old, new) if at == index and topic.covers(key) else None

    def gave(self, index: int, topic: Topic) -> bool:
        """True if this was the topic's `last_index` once, as far as that is known."""
        at, key, _, _ = next(self._kept_after(index - 1), (0, "", None, b""))
        return index == self._floor or (at == index and topic.covers(key))

    async def wait(self, topic: Topic, after: int, timeout_s: float) -> int:
        """The topic's last index, as soon as it is greater than `after`; at the latest after the
        timeout, or when the node stops.

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

    # -- chunks -----------------------------------------------------------------------------------

    def _kept_after(self, index: int) -> Iterator[Kept]:
        """The arrivals after this index, in order."""
        for place in range(bisect_right(self._lasts, index), len(self._chunks)):
            kept = self._open(place)
            yield from kept[bisect_right(kept, index, key=itemgetter(0)) :]
        yield from self._tail[bisect_right(self._tail, index, key=itemgetter(0)) :]

    def _kept_backwards(self, text: bytes) -> Iterator[Kept]:
        """The arrivals that are kept, newest first, at least where the key begins with this
        text."""
        yield from reversed(self._tail)
        for place in reversed(range(len(self._chunks))):
            chunk = self._chunks[place]
            # to look through bytes takes much less than to unpack them
            if isinstance(chunk, list) or text in chunk:
                yield from reversed(self._open(place))

    def _open(self, place: int) -> list[Kept]:
        chunk = self._chunks[place]
        if isinstance(chunk, list):
            return chunk
        kept = self._opened.get(self._lasts[place])
        if kept is None:
            kept = _unpack(chunk)
            self._remember(kept)
        return kept

    def _remember(self, kept: list[Kept]) -> None:
        """Others will want to read the same."""
        self._opened[kept[-1][0]] = kept

    # -- the changes that are still here ----------------------------------------------------------

    def _reaches(self, after: int, topic: Topic) -> bool:
        """True if everything of the topic that came after this index is here."""
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
