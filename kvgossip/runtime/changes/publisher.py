"""Publisher: every change of the data goes to all that hear of changes - the feed, the history,
snapshots that are being read, and callers that wait for a version; those of members, and
conflicts, to theirs; and what happened to the cluster to the events.

With more to hear of it a merge costs more: so nothing is done for what nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from kvgossip.config import Config
from kvgossip.errors import LocalError
from kvgossip.protocol.effect import Dropped, MemberChanged
from kvgossip.protocol.model.change import Changed, Conflict
from kvgossip.protocol.model.hlc import COUNTER_BITS, index_of, timestamp_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.store.store import Store
from kvgossip.runtime.changes.conflicts import Conflicts
from kvgossip.runtime.changes.events import Events
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.history import History
from kvgossip.runtime.changes.members import MemberChanges
from kvgossip.runtime.changes.snapshot import Snapshot
from kvgossip.runtime.pending.version_waits import VersionWaits


class Publisher:
    """Of one life of a node, which begins `now`."""

    def __init__(self, config: Config, replica: Replica, now: Now) -> None:
        self._hlc = replica.hlc
        self._closed = False
        started = index_of(max(self._hlc.latest, timestamp_of(now.wall_ms)))
        self.feed = Feed(config, replica.site, started)
        self.conflicts = Conflicts(config, replica.site, started)
        self.history = History(config.history_versions, config.history_bytes_max)
        self.history.name_site(replica.site, config.name)
        self.members = MemberChanges(config.watch_events_max)
        self.version_waits = VersionWaits()
        self.events = Events(replica.site)
        #: those that are being read
        self.snapshots: list[Snapshot] = []

    def publish(self, changed: Changed, now: Now) -> None:
        """Something else is served under this key from now on."""
        if changed.old_record is not None:
            self.history.keep(changed.key, changed.old_record)
        if self.version_waits.count:
            self.version_waits.arrived(changed)
        self.feed.publish(changed, self._index(now))
        for snapshot in self.snapshots:
            snapshot.changed(changed.key, changed.old_record)

    def conflict(self, conflict: Conflict, now: Now) -> None:
        """A write has lost here, although the other one's writer had not seen it."""
        self.history.lost(conflict.key, conflict.lost_record)
        self.conflicts.publish(conflict, self._index(now))

    def _index(self, now: Now) -> int:
        latest = self._hlc.latest
        # a local write has just moved the clock there
        if latest < now.wall_ms << COUNTER_BITS:
            latest = timestamp_of(now.wall_ms)
        return index_of(latest)

    def dropped(self, effect: Dropped) -> None:
        """A record was taken out of the store, of which no watcher hears."""
        self.history.dropped(effect)
        for snapshot in self.snapshots:
            snapshot.changed(effect.key, effect.record)

    def member_changed(self, effect: MemberChanged, now: Now) -> None:
        self.history.met(effect)
        self.members.publish(effect)
        self.events.member_changed(effect, now)

    async def read_snapshot(self, store: Store) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """All keys with records as they are when the iteration begins, in chunks. A snapshot hears
        of every change as long as somebody reads it."""
        snapshot = Snapshot(store)
        self.snapshots.append(snapshot)
        try:
            for chunk in snapshot.chunks():
                yield chunk
                await asyncio.sleep(0)
                if self._closed:
                    raise LocalError("the node stopped")
        finally:
            self.snapshots.remove(snapshot)

    def pack(self) -> bool:
        """Pack a chunk of the past that is kept; true if there is more."""
        more = self.history.tidy()
        if not more:
            self.feed.tidy()
        return more

    def close(self) -> None:
        """End all watchers, snapshots and waits."""
        self._closed = True
        self.feed.close()
        self.conflicts.close()
        self.members.close()
        self.events.close()
        self.version_waits.close()
