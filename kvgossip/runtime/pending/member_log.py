"""MemberLog: the lines about members that come and go, and not more of them than a log can bear.

A cluster changes in bursts: at its start, when a switch fails. But the names of strangers would
write a line each, as fast as they are sent: so of each level LINES_AT_ONCE changes have a line
each, then LINES_PER_S; the next line says how many there were beside. Deaths are warnings and
arrivals are not, so that no crowd of arrivals can hide a death. All are counted in the metrics, and
`kvgossip members` shows what has become of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from kvgossip.protocol.ingress.rate_limit import Bucket

LINES_AT_ONCE = 30.0
LINES_PER_S = 0.2


class MemberLog:
    """`log(level, text)` writes a line."""

    def __init__(self, log: Callable[[int, str], None]) -> None:
        self._log, self._left_out = log, 0
        self._lines = defaultdict[int, Bucket](lambda: Bucket(LINES_PER_S, LINES_AT_ONCE))

    def tell(self, level: int, text: str, now_s: float) -> None:
        """A member has changed; monotonic seconds."""
        if not self._lines[level].admits(now_s):
            self._left_out += 1
            return
        if self._left_out:
            text = f"{text}; {self._left_out:,} changes of members before this one have no line"
        self._left_out = 0
        self._log(level, text)
