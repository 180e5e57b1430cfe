"""Reads that need more than one look at the store: versions that are still to come, the past of a
key, everything at one moment.

Honest: all raise NotSettledError before the node has settled (protocol.md section 8).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NoReturn

from kvgossip.config import Config
from kvgossip.errors import NotFoundError, NotSettledError, StaleError
from kvgossip.protocol.model.entry import Entry, Version, check_key, entry_of, version_of
from kvgossip.protocol.replica import Replica
from kvgossip.runtime.changes.follower import Follower
from kvgossip.runtime.changes.history import HistoryEntry
from kvgossip.runtime.changes.publisher import Publisher
from kvgossip.runtime.changes.watchers import Topic
from kvgossip.runtime.pending.callers import Callers


class Reads:
    """All raise as the methods of Node that have their names."""

    def __init__(
        self, config: Config, replica: Replica, publisher: Publisher, callers: Callers
    ) -> None:
        self._config, self._replica = config, replica
        self._publisher, self._callers = publisher, callers

    @property
    def honest(self) -> Replica:
        """The replica, once it may be asked."""
        return self._replica if self._replica.settled else not_settled(self._replica)

    async def wait_for(self, key: str, version: Version, timeout_s: float) -> Entry:
        check_key(key)
        try:
            async with asyncio.timeout(timeout_s):
                await self._callers.wait_settled(None)
                while not self._has_arrived(key, version):
                    await self._publisher.version_waits.wait(key, version)
        except TimeoutError:
            record = self.honest.store.record(key)
            text = f"version {version} of this key has not arrived within {timeout_s:g} s"
            raise StaleError(
                text, "try again, or ask another node", str(version_of(record)) if record else None
            ) from None
        record = self._replica.store.record(key)
        return entry_of(key, record) if record is not None else Entry(key, None, version)

    def _has_arrived(self, key: str, version: Version) -> bool:
        """True if this version or a newer one is here, or was here and has been collected since."""
        record = self._replica.store.record(key)
        return (
            version_of(record) >= version
            if record is not None
            else self._replica.tombstones.has_collected(key, version)
        )

    def history(self, key: str) -> list[HistoryEntry]:
        check_key(key)
        record = self.honest.store.record(key)
        if not self._config.history_versions:
            raise NotFoundError("this node keeps no history", "set history_versions to more than 0")
        return self._publisher.history.entries(key, record)

    def snapshot(self) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        # asked before the first chunk is
        replica = self.honest
        return self._publisher.read_snapshot(replica.store)

    def follow(self, topic: Topic, since: str | None) -> Follower:
        return Follower(self._publisher.feed, self.honest.store.scan, topic, since)


def not_settled(replica: Replica) -> NoReturn:
    raise NotSettledError(
        f"the node {replica.config.name!r} has not caught up with its cluster yet"
    )
