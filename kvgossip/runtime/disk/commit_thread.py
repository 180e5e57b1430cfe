"""CommitThread: the one thread that waits for the disk, so that the loop need not.

The loop hands it a batch, and may wait for it, no longer than it says: while it waits, it lets go
of the interpreter's lock, so that the thread has it the moment the disk answers. After that time
the loop goes on, and hears of the end by a callback.

The thread is a daemon: a disk that hangs holds no process that ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

WriteBatch = Mapping[bytes, bytes | None]


class Commit:
    """One batch on its way to the disk, of so many bytes. `took_s` are the seconds that the disk
    took, `error` is why it failed; both mean something once it has ended."""

    __slots__ = ("_ended", "_notifies", "batch", "batch_bytes", "error", "has_ended", "took_s")

    def __init__(self, batch: dict[bytes, bytes | None], batch_bytes: int) -> None:
        self.batch, self.batch_bytes = batch, batch_bytes
        self.took_s = 0.0
        self.error: BaseException | None = None
        self.has_ended = False
        self._ended = threading.Lock()
        self._ended.acquire()
        #: true if the loop is to hear of the end
        self._notifies = False

    def wait(self, seconds: float) -> bool:
        """Hold the caller until it has ended, no longer than that; true if it has."""
        return self._ended.acquire(timeout=seconds)

    def tell(self) -> bool:
        """From now on `on_end` is called with it. True if it has ended meanwhile: then perhaps it
        is not."""
        self._notifies = True
        return self.has_ended

    def end(self) -> bool:
        """By the thread; true if the loop is to hear of it."""
        self.has_ended = True
        self._ended.release()
        return self._notifies


class CommitThread:
    """Does one `commit(batch)` at a time, for the loop that runs when it is made; it returns the
    seconds that the disk took. `on_end(commit)` is called in the loop: once, or not at all, as
    Commit says."""

    def __init__(
        self, commit: Callable[[WriteBatch], float], on_end: Callable[[Commit], object]
    ) -> None:
        self._commit, self._on_end = commit, on_end
        self._loop = asyncio.get_running_loop()
        self._next: Commit | None = None
        self._begun = threading.Lock()
        self._begun.acquire()
        threading.Thread(target=self._work, name="kvgossip-disk", daemon=True).start()

    def begin(self, commit: Commit) -> None:
        """Only when the one before has ended."""
        self._next = commit
        self._begun.release()

    def close(self) -> None:
        """Let the thread end; once a commit that is under way has. Only once."""
        self._next = None
        if self._begun.locked():
            self._begun.release()

    def _work(self) -> None:
        while True:
            self._begun.acquire()
            commit = self._next
            if commit is None:
                return
            try:
                commit.took_s = self._commit(commit.batch)
            except BaseException as error:
                commit.error = error
            if commit.end():
                # a loop that is closed has nobody who waits
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._on_end, commit)
