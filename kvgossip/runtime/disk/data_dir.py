"""DataDir: the data directory in the hands of one life of a node, which takes it, reads it, and
writes to it until the end.

In this order: `take` it, so that nobody else does and the node learns its own name; `open` it once
the name is known; `load` the replica; then `commits` keeps the changes, and `compaction` gives back
what it no longer takes; `close` in any case. Nothing here holds the event loop for long: what may
block runs on a thread, and entries are read some at a time. A disk that hangs does not hold a node
that stops either: it is left as it is.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from kvgossip.config import Config
from kvgossip.errors import ConfigError, DataDirError, RemoteError, StorageError
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.runtime.daemon_threads import DaemonThreads
from kvgossip.runtime.disk.compaction import Compaction
from kvgossip.runtime.disk.folder import Size
from kvgossip.runtime.disk.group_commit import GroupCommit
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.disk.rocksdb import REBUILD_HINT, RocksDB

PROGRESS_S = 1.0
SIZE_S = 1.0
"""The size of the directory is looked at no more often."""
THREADS_MAX = 4

log = logging.getLogger("kvgossip")


class DataDir:
    """The data directory of one life of a node."""

    def __init__(self, storage: RocksDB, threads: DaemonThreads, timeout_s: float) -> None:
        self.storage = storage
        self._threads, self._timeout_s = threads, timeout_s
        self.quarantine = Quarantine(storage)
        #: the saved state of earlier lives, None at the very first start
        self.facts: dict[bytes, bytes] | None = None
        self._commits: GroupCommit | None = None
        self._compaction: Compaction | None = None
        #: the size of the directory as it was seen last, when that was, and the look under way
        self._size, self._seen_s = Size(0, 0), -math.inf
        self._look: asyncio.Future[Size] | None = None

    @classmethod
    async def take(cls, config: Config, *, rebuild: bool) -> DataDir:
        """`rebuild`: move the old content aside first. Raises DataDirError, or ConfigError where a
        rebuild has nobody to fetch from."""
        if rebuild and not (config.join or config.join_wan):
            raise ConfigError(
                "--rebuild fetches all data from peers, and this node joins nobody",
                "add --join HOST:PORT",
            )
        threads = DaemonThreads("kvgossip-disk", THREADS_MAX)
        storage = await threads.run(lambda: RocksDB(Path(config.data_dir), ignore_owner=rebuild))
        if rebuild:
            try:
                aside = await threads.run(storage.set_aside)
            except BaseException:
                await threads.run(storage.close)
                raise
            log.warning(
                "rebuilding from peers; %s",
                f"the old data is kept in {aside}" if aside else "there was no data to keep",
            )
        return cls(storage, threads, config.disk_timeout_s)

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
            self._size = self.storage.size()
            self.quarantine.open()

        await self._threads.run(open_it)

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
        replica.disk.loaded()
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
            self.storage,
            self.quarantine,
            lambda: replica.checkpoint(clocks()),
            replica.config.name,
            self._timeout_s,
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
        """Commit the changes that wait and let the directory go; where the disk hangs, as soon as
        it answers."""
        try:
            if self._commits is not None:
                await self._commits.close()
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        if self._compaction is not None:
            await self._compaction.close()
        closing = self._threads.run(self.storage.close)
        done, _ = await asyncio.wait((closing,), timeout=self._timeout_s)
        if not done:
            log.error("the disk of %s hangs: it is left as it is", self.storage.directory)

    def status(self) -> dict[str, object]:
        """The state of the data directory, ready for JSON."""
        fault, size = self.commits.fault, self.size
        return {
            "directory": str(self.storage.directory),
            "degraded": fault is not None,
            "fault": None if fault is None else str(fault),
            "bytes": size.used_bytes,
            "free_bytes": size.free_bytes,
            **self.commits.statistics(),
        }

    @property
    def size(self) -> Size:
        """As it was a moment ago: a thread looks, for whoever asks next."""
        look = self._look
        if look is not None and look.done():
            self._look = None
            if look.exception() is None:
                self._size = look.result()
        if self._look is None and time.monotonic() >= self._seen_s + SIZE_S:
            self._seen_s = time.monotonic()
            self._look = self._threads.run(self.storage.size)
        return self._size
