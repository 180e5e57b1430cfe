"""Follower: one remote watcher's way through the feed, as a value: the events that come
next for it, without a socket and without a clock.

The owner of a Follower takes chunks from it when the watcher is ready for more, so that nothing is
queued for a watcher that is slow: the changes that it has not taken yet are in the feed, for all
alike, and when they are there no more, the watcher is cut off (WatchLaggedError).

Laws
- A watcher that applies its events, in this order, ends with the data of the node, whatever it
  missed before. After `resync` it knows nothing: all keys come as puts, and `synced` ends them; a
  key that it had and that did not come is gone.
- Changes during a snapshot are given as they come, but those of keys that the snapshot has not
  reached: it will find them as they are then. So the snapshot needs no copy and no queue, and lasts
  as long as the watcher needs; every key's events are in their order.
- An event's `at` is the cursor to go on from once it is known, and all that came before it. It is
  None within a snapshot, and RESYNC's is 0, from which no feed goes on: a watcher that is cut
  within a snapshot begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import is_dead, version_of
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.watchers import Arrival, Topic

CHUNK_BYTES = 256 * 1024
PAGE_KEYS = 256

Scan = Callable[[str, str, int], list[tuple[str, bytes]]]
"""`Store.scan`: prefix, after, limit."""


class Kind(StrEnum):
    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"
    CONFLICT = "conflict"
    RESYNC = "resync"
    SYNCED = "synced"


_PUT = Kind.PUT
"""Named for every change (see protocol/merging.py)."""


class Event(NamedTuple):
    """One event for a watcher. `record` (see protocol/model/entry.py) is that of the value or the
    tombstone.

    EXPIRE is a death that nobody has written: a value is served no more, under its own version. Its
    time has come, or the cluster had deleted it long ago and it is in the quarantine. CONFLICT:
    `lost` has lost to `record`, of which it comes with no change.
    """

    kind: Kind
    at: int | None
    key: str = ""
    record: bytes = b""
    lost: bytes = b""


class Follower:
    """`since` is a cursor, None: from this moment on. `at` is the index until which the watcher
    has had all of the topic."""

    __slots__ = ("_announced", "_feed", "_reached", "_scan", "at", "topic")

    def __init__(self, feed: Feed, scan: Scan, topic: Topic, since: str | None) -> None:
        index = feed.index if since is None else feed.resume(since, topic)
        self.topic, self._feed, self._scan = topic, feed, scan
        self.at = feed.index if index is None else index
        #: the last key of the snapshot that was given; None: there is none under way
        self._reached: str | None = "" if index is None else None
        #: true if the watcher knows that it has to begin anew, where it has
        self._announced = index is not None

    @property
    def resyncs(self) -> bool:
        """True if a snapshot is under way, or about to begin."""
        return self._reached is not None

    @property
    def caught_up(self) -> bool:
        return self._reached is None and self.at >= self._feed.index

    def take(self) -> list[Event]:
        """The next chunk; it may be empty although more follows, while it is not `caught_up`.

        Raises WatchLaggedError when what should come next is gone: the watcher was too slow.
        """
        if not self._announced:
            self._announced = True
            return [Event(Kind.RESYNC, 0)]
        events = list(self._news())
        if self._reached is not None and self.at == self._feed.index and not events:
            events = list(self._page(self._reached))
        return events

    def _news(self) -> Iterator[Event]:
        """The changes since, as far as they fit into a chunk."""
        arrivals, until = self._feed.read(self.at, self.topic)
        for arrival in fitting(arrivals):
            self.at = arrival.at
            if self._reached is None:
                yield event_of(arrival, self.topic)
            elif arrival.changed.key <= self._reached:
                yield event_of(arrival, self.topic)._replace(at=None)
        if not arrivals or self.at == arrivals[-1].at:
            self.at = until

    def _page(self, reached: str) -> Iterator[Event]:
        """The next keys of the snapshot, or its end."""
        size = 0
        for key, record in self._entries_after(reached):
            if size > CHUNK_BYTES:
                return
            size += len(record)
            self._reached = key
            yield Event(Kind.PUT, None, key, record)
        if not size:
            self._reached = None
            yield Event(Kind.SYNCED, self.at)

    def _entries_after(self, reached: str) -> list[tuple[str, bytes]]:
        if not self.topic.exact:
            return self._scan(self.topic.text, reached, PAGE_KEYS)
        # the key itself is the first of all that start with it
        return (
            []
            if reached
            else [
                entry for entry in self._scan(self.topic.text, "", 1) if entry[0] == self.topic.text
            ]
        )


def event_of(arrival: Arrival, topic: Topic) -> Event:
    at, changed, _ = arrival
    if topic.conflicts:
        return Event(Kind.CONFLICT, at, changed.key, changed.new_record, changed.old_record or b"")
    return Event(_kind_of(changed), at, changed.key, changed.new_record)


def _kind_of(changed: Changed) -> Kind:
    if not is_dead(changed.new_record):
        return _PUT
    old = changed.old_record
    return (
        Kind.EXPIRE
        if old is not None and version_of(old) == version_of(changed.new_record)
        else Kind.DELETE
    )


def fitting(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """As many of them as make a chunk, at least one."""
    size = 0
    for arrival in arrivals:
        if size > CHUNK_BYTES:
            return
        size += len(arrival.changed.new_record)
        yield arrival
