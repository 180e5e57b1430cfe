"""JoinLog: the lines of the log about joins that this node makes by itself and that fail.

The first failure is logged at once: a peer may be starting, or a name may be misspelt. From then on
there is a line a minute that counts, however many addresses a name has: somebody has to look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

INTERVAL_S = 60.0
SUBJECTS_MAX = 4096


class JoinLog:
    """`log(level, text)` writes a line."""

    def __init__(self, log: Callable[[int, str], None]) -> None:
        self._log = log
        #: the time of the last line, monotonic seconds, and what failed since then: how often, and
        #: which targets and addresses
        self._logged_s: float | None = None
        self._failures = 0
        self._subjects: set[str] = set()
        #: the targets of which a line said that they cannot be resolved
        self._names: set[str] = set()

    def unresolved(self, target: str, now_s: float) -> None:
        """DNS has no address of a join target: a line for each, the first time."""
        text = f"the join address {target} cannot be resolved; it will be tried again"
        if target in self._names or len(self._names) >= SUBJECTS_MAX:
            return self.failed(target, text, now_s)
        self._names.add(target)
        self._log(logging.WARNING, text)

    def failed(self, subject: str, text: str, now_s: float) -> None:
        """A target or an address did not help, at this time, monotonic seconds."""
        self._failures += 1
        if len(self._subjects) < SUBJECTS_MAX:
            self._subjects.add(subject)
        if self._logged_s is None:
            self._logged_s = now_s
            if subject not in self._names:
                self._log(logging.INFO, text)
        elif now_s - self._logged_s >= INTERVAL_S:
            count = f"{len(self._subjects)} address{'es' if len(self._subjects) > 1 else ''}"
            self._log(
                logging.WARNING,
                f"could not join at {count}, {self._failures} times in "
                f"{now_s - self._logged_s:.0f} s; the last one: {text}",
            )
            self._logged_s = now_s
        else:
            return
        self._failures = 0
        self._subjects.clear()
