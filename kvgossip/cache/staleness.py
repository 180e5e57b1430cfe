"""Staleness: how old the data of a cache is, when that is too old, and when it is fresh again.

Nothing tells that nothing is heard any more, so it has to be looked for: one thread does that for
all open caches of the process, and is there while there is one.

Laws
- Age goes by the wall clock, since it outlasts restarts; a clock that was set back makes nothing
  younger than it is.
- A turn is told once: in the log, and to those who registered for it. A cache that has just been
  opened has GRACE_S to hear of somebody before it is called stale.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from kvgossip.cache.status import Status

LOOK_S = 1.0
GRACE_S = 5.0

log = logging.getLogger("kvgossip")


class Staleness:
    """Of one cache. `title` begins the lines of the log. `status()` is called to look, and
    `tell(status)` at each turn. `total`: how often it has become stale."""

    def __init__(
        self,
        title: str,
        stale_after_s: float,
        status: Callable[[], Status],
        tell: Callable[[Status], None],
    ) -> None:
        self._title, self._stale_after_s = title, stale_after_s
        self._status, self._tell = status, tell
        self.total = 0
        self._reported_stale, self._begun_s = False, 0.0

    def age_s(self, exchanged_ms: int | None) -> float | None:
        """Of data that was exchanged at this wall time; None: it never was."""
        if exchanged_ms is None:
            return None
        return max(time.time() - exchanged_ms / 1000, 0.0)

    def is_stale(self, age_s: float | None) -> bool:
        return age_s is None or age_s > self._stale_after_s

    def begin(self) -> None:
        """The cache is open: it is looked at."""
        self._begun_s = time.monotonic()
        _looking.add(self)

    def end(self) -> None:
        _looking.remove(self)

    def look(self) -> None:
        status = self._status()
        if status.stale == self._reported_stale:
            return
        if status.stale and time.monotonic() - self._begun_s < GRACE_S:
            return
        self._reported_stale = status.stale
        if status.stale:
            self.total += 1
            heard = "has never been heard"
            if status.age_s is not None:
                heard = f"has not been heard for {status.age_s:.0f} s"
            why = f": {status.problem}" if status.problem else ""
            log.warning(
                "%s: stale: the cluster %s, and what is here is served%s",
                self._title,
                heard,
                why,
            )
        else:
            log.warning("%s: fresh again: the cluster is heard", self._title)
        self._tell(self._status())


class _Looking:
    """The thread, and whom it looks at."""

    def __init__(self) -> None:
        self.orphan()

    def orphan(self) -> None:
        """In a forked child: the thread is not there, and its lock may be held."""
        self._lock = threading.Lock()
        self._open: WeakSet[Staleness] = WeakSet()
        self._runs = False

    def add(self, one: Staleness) -> None:
        with self._lock:
            self._open.add(one)
            begins, self._runs = not self._runs, True
        if begins:
            threading.Thread(target=self._run, name="kvgossip staleness", daemon=True).start()

    def remove(self, one: Staleness) -> None:
        with self._lock:
            self._open.discard(one)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_S)
            with self._lock:
                looked_at = list(self._open)
                if not looked_at:
                    self._runs = False
                    return
            for one in looked_at:
                one.look()
            # a cache that nobody else holds is let go
            del looked_at, one


_looking = _Looking()
os.register_at_fork(after_in_child=_looking.orphan)
