"""JoinLog: the lines of the log about joins that this node makes by itself and that fail.

The first failure is told at once: a peer may be starting, or a name may be misspelt. From then on
there is a line a minute that counts, however many addresses a name has: somebody has to look.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

INTERVAL_S = 60.0
SUBJECTS_MAX = 4096


class JoinLog:
    """`log(level, text)` writes a line."""

    def __init__(self, log: Callable[[int, str], None]) -> None:
        self._log = log
        #: the time of the last line, monotonic seconds, and what failed since then: how often, and
        #: which targets and addresses
        self._told_s = -math.inf
        self._failures = 0
        self._subjects: set[str] = set()

    def failed(self, subject: str, text: str, now_s: float, level: int = logging.INFO) -> None:
        """A target or an address did not help, at this time, monotonic seconds. `level`: of the
        line, where this is the first one."""
        self._failures += 1
        if len(self._subjects) < SUBJECTS_MAX:
            self._subjects.add(subject)
        since_s = now_s - self._told_s
        if since_s < INTERVAL_S:
            return
        if self._told_s == -math.inf:
            self._log(level, text)
        else:
            count = f"{len(self._subjects)} address{'es' if len(self._subjects) > 1 else ''}"
            self._log(
                logging.WARNING,
                f"could not join at {count}, {self._failures} times in {since_s:.0f} s; the last "
                f"one: {text}",
            )
        self._told_s, self._failures = now_s, 0
        self._subjects.clear()
