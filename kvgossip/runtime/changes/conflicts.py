"""Conflicts that this node has seen, in the order in which the writes met here: which of them has
lost to which (protocol/model/conflicts.py). They live in memory, bounded, and are no part of the
replicated data.

They are a feed of their own beside that of changes, so that they have cursors, watchers and polls
as changes do, and none of those who follow changes pays for them. A pair is kept there as a change
is: the old record is the one that has lost, the new one that which it lost to. The feed is made
with the first conflict, or when somebody asks: most nodes never need its memory.

They are counted by the first segment of their keys, up to the first slash; "" is that of keys
without one. Segments are few where people choose them, and any number where a program does: those
beyond SEGMENTS_MAX are counted together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property

from kvgossip.config import Config
from kvgossip.protocol.model.change import Changed, Conflict
from kvgossip.runtime.changes.feed import Feed

KEPT_MAX = 4096
SEGMENTS_MAX = 64
OTHER = "other"


class Conflicts:
    """Of one life of a node; `site` and `start` as those of its feed."""

    def __init__(self, config: Config, site: int, start: int) -> None:
        self._config, self._site, self._start = config, site, start
        #: how many there were, by the first segment of the key
        self.by_segment: Counter[str] = Counter()

    @cached_property
    def feed(self) -> Feed:
        kept_max = min(KEPT_MAX, self._config.feed_changes_max)
        return Feed(replace(self._config, feed_changes_max=kept_max), self._site, self._start)

    def publish(self, conflict: Conflict, now: int) -> None:
        """A write has lost; `now` is the index of this hybrid logical time."""
        segment, slash, _ = conflict.key.partition("/")
        segment = segment if slash else ""
        if segment not in self.by_segment and len(self.by_segment) >= SEGMENTS_MAX:
            segment = OTHER
        self.by_segment[segment] += 1
        self.feed.publish(Changed(*conflict), now)

    def close(self) -> None:
        """End all watchers."""
        if "feed" in vars(self):
            self.feed.close()
