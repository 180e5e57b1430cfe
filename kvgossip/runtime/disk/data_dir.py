"""DataDir: the data directory in the hands of one life of a node, which takes it, reads it, and
writes to it until the end.

In this order: `take` it, so that nobody else does and the node learns its own name; `open` it once
the name is known; `load` the replica; then `commits` keeps the changes, and `compaction` gives back
what it no longer takes; `close` in any case. Nothing here holds the event loop for long: what may
block runs on a thread, and entries are read some at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from kvgossip.config import Config
from kvgossip.errors import ConfigError, DataDirError, RemoteError, StorageError
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.runtime.disk.compaction import Compaction
from kvgossip.runtime.disk.group_commit import GroupCommit
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.disk.rocksdb import REBUILD_HINT, RocksDB

PROGRESS_S = 1.0

log = logging.getLogger("kvgossip")


class DataDir:
    """The data directory of one life of a node."""

    def __init__(self, storage: RocksDB) -> None:
        self.storage = storage
        self.quarantine = Quarantine(storage)
        #: the saved state of earlier lives, None at the very first start
        self.facts: dict[bytes, bytes] | None = None
        self._commits: GroupCommit | None = None
        self._compaction: Compaction | None = None

    @classmethod
    async def take(cls, config: Config, *, rebuild: bool) -> DataDir:
        """`rebuild`: move the old content aside first. Raises DataDirError, or ConfigError where a
        rebuild has nobody to fetch from."""
        if rebuild and not (config.join or config.join_wan):
            raise ConfigError(
                "--rebuild fetches all data from peers, and this node joins nobody",
                "add --join HOST:PORT",
            )
        storage = await asyncio.to_thread(RocksDB, Path(config.data_dir), ignore_owner=rebuild)
        if rebuild:
            try:
                aside = await asyncio.to_thread(storage.set_aside)
            except BaseException:
                await asyncio.to_thread(storage.close)
                raise
            log.warning(
                "rebuilding from peers; %s",
                f"the old data is kept in {aside}" if aside else "there was no data to keep",
            )
        return cls(storage)

    @property
    def name(self) -> str:
        """The name of the node whose data this is; empty: no node's yet."""
        return self.storage.name

    async def open(self, config: Config) -> None:
        """Make sure that it is this node's, and read the facts. Raises DataDirError."""

        def open_it() -> None:
            self.storage.claim(
                name=config.name, cluster=config.cluster, datacenter=config.datacenter
            )
            self.storage.open()
            self.facts = self.storage.facts() or None

        await asyncio.to_thread(open_it)

    async def load(
        self, replica: Replica, clocks: Callable[[], Now], pack: Callable[[], bool]
    ) -> None:
        """Hand all entries to the replica and make its first commit. `pack` is as Compaction takes
        it. Raises DataDirError."""
        started_s = logged_s = time.monotonic()
        count, about = 0, self.storage.entries_estimate()
        replica.tombstones.expect(about)
        for batch in self.storage.entries():
            try:
                replica.load(batch)
            except RemoteError as error:
                text = f"the data in {self.storage.directory} holds {error}"
                raise DataDirError(
                    text, f"run the newer version that wrote it; or {REBUILD_HINT}"
                ) from error
            count += len(batch)
            if time.monotonic() - logged_s >= PROGRESS_S:
                logged_s = time.monotonic()
                log.info(
                    "%s: read %s of about %s entries from %s",
                    replica.config.name,
                    f"{count:,}",
                    f"{about:,}",
                    self.storage.directory,
                    extra={"progress": (count, about)},
                )
            await asyncio.sleep(0)
        replica.store.loaded()
        if count:
            took_s = time.monotonic() - started_s
            log.info(
                "%s: read %s entries from %s in %.1f s",
                replica.config.name,
                f"{count:,}",
                self.storage.directory,
                took_s,
            )
        self._commits = GroupCommit(
            self.storage, self.quarantine, lambda: replica.checkpoint(clocks()), replica.config.name
        )
        self._compaction = Compaction(
            self.storage, lambda: len(replica.store), replica.config.name, pack=pack
        )
        try:
            await self._commits.start()
        except StorageError as error:
            raise DataDirError(
                f"the data directory {self.storage.directory} cannot be written: {error}",
                error.hint,
            ) from error

    @property
    def commits(self) -> GroupCommit:
        assert self._commits is not None, "load comes first"
        return self._commits

    @property
    def compaction(self) -> Compaction:
        assert self._compaction is not None, "load comes first"
        return self._compaction

    async def close(self) -> None:
        """Commit the changes that wait and let the directory go."""
        try:
            if self._commits is not None:
                await self._commits.close()
        finally:
            if self._compaction is not None:
                await self._compaction.close()
            await asyncio.to_thread(self.storage.close)

    def status(self) -> dict[str, object]:
        """The state of the data directory, ready for JSON."""
        fault = self.commits.fault
        return {
            "directory": str(self.storage.directory),
            "degraded": fault is not None,
            "fault": None if fault is None else str(fault),
            "bytes": self.storage.bytes_used(),
            **self.commits.statistics(),
        }
