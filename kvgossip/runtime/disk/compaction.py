"""Compaction: when much has been removed, the disk and the memory that it took go back to the
system.

Neither does so by itself. RocksDB compacts as more is written: the values that were removed last,
some tens of megabytes with the older ones below them, stay while nothing is. glibc keeps memory
that was freed within its heap, unless it lies at the end of it; CPython keeps a megabyte while one
small object of it is in use, and the few that stay of much that goes lie everywhere. All that is
kept of the past is like that, so its keepers pack it first.

Laws
- It is done when as much was removed as is a share of the data that is there, so that its cost is a
  part of that of the removals; and when nothing has been removed for QUIET_S, as it is better done
  once, at the end: also after the work of the store when much has gone (tombstones.py).
- The loop does not wait for it. A commit waits some milliseconds at most, and a node that stops
  interrupts it, and leaves it where the disk hangs.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvgossip.errors import StorageError
from kvgossip.runtime.daemon_threads import DaemonThreads

if TYPE_CHECKING:
    from kvgossip.runtime.disk.rocksdb import RocksDB

REMOVED_MIN, SHARE = 1024, 16
QUIET_S = 25.0
CLOSE_S = 5.0
"""How long an interruption may take."""

log = logging.getLogger("kvgossip")


class Compaction:
    """On the thread of the event loop. `storage`: None without a data directory. `entries()`: how
    many there are.

    `quiet_s`: for how long nothing has been removed by then.
    `pack()` packs a chunk of the past that is kept; true if there is more.
    """

    def __init__(
        self,
        storage: RocksDB | None,
        entries: Callable[[], int],
        title: str,
        *,
        pack: Callable[[], bool] = lambda: False,
        quiet_s: float = QUIET_S,
    ) -> None:
        #: how often it was done
        self.times = 0
        self.quiet_s = quiet_s
        self._pack = pack
        self._threads = DaemonThreads("kvgossip-compaction", 2)
        self._storage, self._entries, self._title = storage, entries, title
        #: how many entries were removed since it was last done, and when the last one
        self._removed = 0
        self._removed_s = 0.0
        self._timer: asyncio.Handle | None = None
        self._work: asyncio.Task[None] | None = None

    def removed(self) -> None:
        """An entry was taken out of the store and, by a commit that follows, off the disk."""
        self._removed += 1
        self._removed_s = time.monotonic()
        if self._timer is None and self._removed >= REMOVED_MIN and self._work is None:
            self._wait(self.quiet_s)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        rest_s = self._removed_s + self.quiet_s - time.monotonic()
        if rest_s > 0:
            self._wait(rest_s)
        elif self._removed >= self._entries() // SHARE:
            self._removed = 0
            self._work = asyncio.get_running_loop().create_task(self._tidy())

    async def _tidy(self) -> None:
        try:
            for _ in iter(self._pack, False):
                await asyncio.sleep(0)
            if self._storage is not None:
                await self._threads.run(self._storage.compact)
            await self._threads.run(return_free_memory)
            self.times += 1
        except StorageError as error:
            log.warning("%s: what was removed still takes room: %s", self._title, error)
        finally:
            self._work = None

    async def close(self) -> None:
        """Nothing is under way when this returns, and the storage takes no commit any more."""
        if self._timer is not None:
            self._timer.cancel()
        work = self._work
        if work is not None:
            if self._storage is not None:
                self._threads.run(self._storage.stop_compacting)
            await asyncio.wait((work,), timeout=CLOSE_S)
            work.cancel()
            await asyncio.wait((work,))


def return_free_memory() -> None:
    """Let glibc give back whole pages that are free, wherever they lie. Other allocators have their
    own ways.

    First of all what CPython keeps, and needs not: its cache of attributes holds names that
    rocksdict makes anew for each commit, thousands of small strings among all that has gone, each
    of which keeps a megabyte; so do its lists of free tuples, which a collection empties. The
    collection takes a moment only where all that the process began with is frozen, as the agent
    does it: within a large program it could take long.
    """
    getattr(sys, "_clear_type_cache", lambda: None)()
    if gc.get_freeze_count():
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
