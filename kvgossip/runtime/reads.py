"""Reads that need more than one look at the store: versions that are still to come, the past of a
key, everything at one moment.

Honest (protocol.md section 8): before the node has settled all raise NotSettledError, but for what
a node with a disk has there. It answers with that, and is `stale`; that it lacks something it says
only where it is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NoReturn, TypeVar

from kvgossip.errors import NotFoundError, NotSettledError, StaleError
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    RECORD_FORMAT,
    TYPED,
    Entry,
    Version,
    is_dead,
    value_in,
    version_of,
)
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.typed.body import holds
from kvgossip.protocol.typed.typed_record import dot_of
from kvgossip.protocol.typed.views import view_of
from kvgossip.runtime.changes.follower import Follower
from kvgossip.runtime.changes.history import HistoryEntry
from kvgossip.runtime.changes.watchers import Topic
from kvgossip.runtime.driver import Driver

Found = TypeVar("Found")
_BARE = RECORD_FORMAT << 4
"""The first byte of a plain record that has nothing but a value."""


class Reads:
    """All raise as the methods of Node that have their names."""

    def __init__(self, driver: Driver) -> None:
        self._replica, self._clocks = driver.replica, driver.clocks
        self._store, self._settling = driver.replica.store, driver.replica.settling
        self._publisher, self._callers = driver.publisher, driver.callers

    @property
    def honest(self) -> Replica:
        """The replica, where it may say that there is no more than it has."""
        return self._replica if self._may_deny else not_settled(self._replica)

    @property
    def some(self) -> Replica:
        """The replica, where it may say what it has."""
        settling = self._settling
        may_tell = settling.settled or settling.stale
        return self._replica if may_tell else not_settled(self._replica)

    @property
    def _may_deny(self) -> bool:
        return self._settling.settled or self._settling.is_cut_off(self._clocks())

    def value(self, key: str) -> bytes | None:
        record = self._store.visible(key)
        value: bytes | None = None
        if record is not None:
            if record[0] == _BARE:
                value = record[HEAD_BYTES:]
            else:
                value = self._view(key, record).value if record[0] & TYPED else value_in(record)
        return value if self._settling.settled else self._sure(value)

    def entry(self, key: str) -> Entry | None:
        record = self._store.visible(key)
        entry = None if record is None or is_dead(record) else self._view(key, record)
        return entry if self._settling.settled else self._sure(entry)

    def _view(self, key: str, record: bytes) -> Entry:
        # siblings alone need the time
        return view_of(key, record, self._clocks().wall_ms if record[0] & TYPED else 0)

    def record(self, key: str) -> bytes | None:
        record = self._store.visible(key)
        if self._settling.settled:
            return record
        return self._sure(None if record is None or is_dead(record) else record)

    def has(self, key: str) -> bool:
        record = self.record(key)
        return record is not None and not is_dead(record)

    def _sure(self, found: Found | None) -> Found | None:
        """What was found under one key, if anything was, as the answer of a node that has not
        settled."""
        if self._may_deny or (found is not None and self._settling.stale):
            return found
        return not_settled(self._replica)

    @property
    def stale_s(self) -> float | None:
        """How old the data of the disk is, where the answers are but that; None: they are not."""
        return self._settling.stale_s(self._clocks())

    async def wait_for(self, key: str, version: Version, timeout_s: float) -> Entry:
        check_key(key)
        try:
            async with asyncio.timeout(timeout_s):
                if not self._settling.stale:
                    await self._callers.wait_settled(None)
                while not self._has_arrived(key, version):
                    await self._publisher.version_waits.wait(key, version)
        except TimeoutError:
            record = self.honest.store.record(key)
            text = f"version {version} of this key has not arrived within {timeout_s:g} s"
            raise StaleError(
                text, "try again, or ask another node", str(version_of(record)) if record else None
            ) from None
        record = self._store.record(key)
        return self._view(key, record) if record is not None else Entry(key, None, version)

    def _has_arrived(self, key: str, version: Version) -> bool:
        """True if this version or a newer one is here, or was here and has been collected since. A
        record whose writes are merged may be newer, and lack that one."""
        record, tombstones = self._store.record(key), self._replica.tombstones
        if record is None:
            return tombstones.has_collected(key, version)
        if record[0] & TYPED and not holds(record, dot_of(version)):
            # what it no longer says may have been pruned
            return tombstones.context.covers(version)
        return version_of(record) >= version

    def history(self, key: str) -> list[HistoryEntry]:
        check_key(key)
        record = self.honest.store.record(key)
        if not self._replica.config.history_versions:
            raise NotFoundError("this node keeps no history", "set history_versions to more than 0")
        return self._publisher.history.entries(key, record)

    def snapshot(self) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        # asked before the first chunk is
        replica = self.honest
        return self._publisher.read_snapshot(replica.store)

    def follow(self, topic: Topic, since: str | None) -> Follower:
        # who watches hears when all is there
        replica = self._replica if self._settling.settled else not_settled(self._replica)
        if topic.conflicts:
            return Follower(self._publisher.conflicts.feed, _nothing, topic, since)
        return Follower(self._publisher.feed, replica.store.scan, topic, since)


def _nothing(prefix: str, after: str, limit: int) -> list[tuple[str, bytes]]:
    """Of conflicts there is no snapshot: `resync` says that some were missed."""
    return []


def not_settled(replica: Replica) -> NoReturn:
    raise NotSettledError(
        f"the node {replica.config.name!r} has not caught up with its cluster yet"
    )
