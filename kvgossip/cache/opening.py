"""Opening: when the source of a cache is open, and how its futures are waited for.

Laws
- The first who reads opens; all others wait for that, and nobody waits twice.
- Where it cannot be opened, readers get what is here, and one of them tries again every RETRY_S; a
  writer gets the error.
- What was open is closed at the end of the process, so that a member says farewell.
- What a forked child has of its parent is orphaned: its threads and sockets are its parent's, and
  its locks may be held by a thread that the child does not have. It keeps its values, closes
  nothing, and its next use opens another source.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from kvgossip.cache.applying import Applying
from kvgossip.cache.source import Source
from kvgossip.cache.staleness import Staleness
from kvgossip.cache.table import Table
from kvgossip.errors import KVGossipError, LocalError, StorageError
from kvgossip.protocol.model.plain_text import plain

RETRY_S = 5.0
WRITE_TIMEOUT_S = 30.0
CLOSED = "the cache is closed"

log = logging.getLogger("kvgossip")


class Opening:
    """`make_source()` is called at each opening. `problem`: why a reader has not got it open, in
    words."""

    def __init__(
        self, make_source: Callable[[], Source], applying: Applying, staleness: Staleness
    ) -> None:
        self._make_source, self._applying, self._staleness = make_source, applying, staleness
        self._source: Source | None = None
        self._closed = self._orphaned = False
        self.problem, self._retry_s = "", 0.0
        self._lock = threading.Lock()

    @property
    def orphaned(self) -> bool:
        """Set in a child that has just been forked: plain assignments, nothing else."""
        return self._orphaned

    @orphaned.setter
    def orphaned(self, orphaned: bool) -> None:
        self._orphaned = orphaned
        self._lock = threading.Lock()
        self._applying.orphan(was_open=self._source is not None)
        self._source = None

    @property
    def state(self) -> str:
        if self._source is not None:
            return "open"
        return "closed" if self._closed else "not open"

    def open(self) -> None:
        """Raises as `Source.open`; then nothing is open. Harmless when repeated."""
        if self._source is not None:
            return
        self._forbid_makers("open")
        with self._lock:
            if self._source is None:
                source = self._make_source()
                source.open(self._applying)
                self._source, self._closed, self.problem = source, False, ""
                self._applying.begin(source.report)
                self._staleness.begin()
                atexit.register(self.close)

    async def aopen(self, *, again: bool = True) -> None:
        """The same, for a coroutine. `again`: also where it was closed."""
        if self._source is None and (again or not self._closed):
            from kvgossip.cache import on_loop

            await on_loop.on_thread(self.open)

    def close(self) -> None:
        """Returns when all is closed. Harmless when repeated."""
        self._forbid_makers("close")
        with self._lock:
            source, self._source = self._source, None
            if source is not None:
                self._closed, self.problem = True, CLOSED
                self._staleness.end()
                source.close()
                atexit.unregister(self.close)
        self._applying.end()

    def table(self) -> Table:
        """For a reader, who opens where nobody has. Never fails."""
        here = self._source is not None or self._closed or self._applying.makes_here
        if not here and time.monotonic() >= self._retry_s:
            try:
                self.open()
            except Exception as error:
                self._retry_s = time.monotonic() + RETRY_S
                self._applying.serve()
                self._fail(error)
        return self._applying.table

    def for_writing(self) -> Source:
        """Raises as `open`, and LocalError once it is closed."""
        self._forbid_makers("write to")
        if not self._closed:
            self.open()
        source = self._source
        if source is None:
            raise LocalError(CLOSED, "open it again")
        return source

    def _forbid_makers(self, what: str) -> None:
        if self._applying.makes_here:
            raise LocalError(
                f"a model or a check cannot {what} the cache, which waits for its answer",
                "do that in a callback of on_change",
            )

    def _fail(self, error: Exception) -> None:
        hint = error.hint if isinstance(error, KVGossipError) else ""
        problem = plain(f"{error}; {hint}" if hint else str(error) or repr(error))
        if problem != self.problem:
            self.problem = problem
            log.error(
                "%s: the cache is not open, and has defaults alone: %s",
                self._applying.title,
                problem,
            )


def waited(written: Future[tuple[str, ...]]) -> str:
    """The version of one write."""
    try:
        return written.result(WRITE_TIMEOUT_S)[0]
    except TimeoutError:
        raise _unanswered() from None


async def awaited(written: Future[tuple[str, ...]]) -> str:
    """The same, for a coroutine; the write goes on where it is cancelled."""
    from kvgossip.cache import on_loop

    try:
        return (await on_loop.result_of(written, WRITE_TIMEOUT_S))[0]
    except TimeoutError:
        raise _unanswered() from None


def _unanswered() -> StorageError:
    return StorageError(
        f"no answer to a write within {WRITE_TIMEOUT_S:g} s",
        "it may have been made: read the key before you write it again",
    )
