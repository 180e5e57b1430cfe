"""A consumer of a watch that trusts what it is told: it keeps what was put, drops what was deleted,
and forgets all at a resync."""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.protocol.model.entry import version_of
from kvgossip.protocol.store.store import Store
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.follower import Event, Follower, Kind
from kvgossip.runtime.changes.watchers import Topic

EVERYTHING = 1 << 30


class Consumer:
    """`cursor` is what it would come back with; `held` is by key what it believes the node has,
    `resyncs` how often it began anew."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.cursor: str | None = "0"
        self.held: dict[str, bytes] = {}
        self.seen: dict[str, bytes] = {}
        self.resyncs = 0

    def hear(self, events: Iterable[Event], feed: Feed) -> None:
        """Take events in; every key's come in their order."""
        for event in events:
            if event.at is not None:
                self.cursor = feed.cursor(event.at) if event.at else "0"
            if event.kind is Kind.RESYNC:
                self.held, self.seen = {}, {}
                self.resyncs += 1
            elif event.kind is not Kind.SYNCED:
                assert self.topic.covers(event.key)
                self._change(event)

    def _change(self, event: Event) -> None:
        before = self.seen.get(event.key)
        assert before is None or version_of(before) <= version_of(event.record), (
            "a key's events are in their order"
        )
        self.seen[event.key] = event.record
        if event.kind is Kind.PUT:
            self.held[event.key] = event.record
        else:
            self.held.pop(event.key, None)

    def check(self, follower: Follower, store: Store) -> None:
        """Who has caught up has what the node has: nothing is missing, nothing was deleted in
        silence."""
        assert follower.caught_up
        assert self.held == {
            key: record for key, record in store.scan("", "", EVERYTHING) if self.topic.covers(key)
        }
