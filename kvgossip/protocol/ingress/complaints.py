"""Complaints: how often a node says, in its log or to a stranger, that something is wrong with what
came from the network.

Laws
- Once a minute about each subject, such as one source and one reason.
- And whatever the subjects are, for a source may be a lie, and there are more of them than any
  table holds: ANSWERS_PER_S refusals are sent as datagrams in a second, LINES_PER_S lines are
  logged. What is beyond that is counted, and the next line says how many there were.
- A refusal over a link goes to a source that is no lie, and tells a node that wants to join what to
  change: it counts for its host alone, so no flood of datagrams drowns it.
"""

from __future__ import annotations

from collections import Counter

from kvgossip.protocol.ingress.rate_limit import Bucket, RateLimit
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now

INTERVAL_S = 60.0
SUBJECTS_MAX = 1024
ANSWERS_PER_S = 10.0
LINES_PER_S = 0.2
LINES_AT_ONCE = 10.0
"""Both together are 22 lines in the worst minute: a gateway has two pools, and the log is to grow
by less than 100 lines a minute."""


class Complaints:
    """Those of one pool. `counters` count what was left unsaid."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        #: by subject, when it was last complained of, monotonic seconds
        self._said_s: Newest[str, float] = Newest(SUBJECTS_MAX)
        self._lines = Bucket(LINES_PER_S, LINES_AT_ONCE)
        self._answers = Bucket(ANSWERS_PER_S, ANSWERS_PER_S)
        self._link_answers = RateLimit(ANSWERS_PER_S)
        #: how many lines were left out since the last one
        self._left_out = 0

    def __len__(self) -> int:
        """How many subjects are remembered."""
        return len(self._said_s)

    def is_due(self, subject: str, now: Now) -> bool:
        """True if nothing was said of this subject for a minute."""
        last_s = self._said_s.get(subject)
        return last_s is None or now.monotonic_s - last_s >= INTERVAL_S

    def said(self, subject: str, now: Now) -> None:
        """It was: in the log, or to its sender."""
        self._said_s.pop(subject, None)
        self._said_s[subject] = now.monotonic_s

    def line(self, text: str, now: Now) -> str | None:
        """The line for the log, None if there are too many of them."""
        if not self._lines.admits(now.monotonic_s):
            self._left_out += 1
            self._counters["complaints_unlogged"] += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return f"{text}; {left_out:,} warnings before this one were left out" if left_out else text

    def may_answer(self, host: str, *, reliable: bool, now: Now) -> bool:
        """True if a refusal may be sent there, as a datagram or over a link: then it is to be
        sent."""
        admitted = (
            self._link_answers.admits(host, now.monotonic_s)
            if reliable
            else self._answers.admits(now.monotonic_s)
        )
        if not admitted:
            self._counters["answers_withheld"] += 1
        return admitted
