"""Folding: when the changes that wait are folded into the sketch (store/sketch.py).

Every fingerprint that is folded costs about 10 us of Python, on each node. While rumors bring all
that is written nobody asks for the sketch, and roots that are equal once news has come to rest show
it. An exchange that finds the sketch not ready descends the tree instead.

Laws
- Nothing is folded while news comes in, and never so that nothing else gets its turn.
- Nothing is folded that nobody wants. It is wanted where a peer's root differs although news is at
  rest, by a node that has just started, and where more than WAITING_MAX wait.
"""

from __future__ import annotations

import math

from kvgossip.protocol.model.now import Now
from kvgossip.protocol.store.store import Store

REST_S = 0.05
PAUSE_S = 0.004
WAITING_MAX = 8192


class Folding:
    """For one pool."""

    def __init__(self, store: Store, now: Now) -> None:
        self._store = store
        #: until nothing waits
        self._wanted = True
        #: the time at which the sketch was worked on last, monotonic seconds
        self._folded_s = now.monotonic_s

    def saw_other_root(self, news_s: float, now: Now) -> None:
        """A peer's root differs from ours; the last news came at `news_s`, monotonic seconds."""
        if now.monotonic_s - news_s >= REST_S:
            self._wanted = True

    def deadline(self, news_s: float) -> float:
        """The time at which something is to be folded, monotonic seconds; infinite: never."""
        sketch = self._store.sketch
        if sketch.idle or not (self._wanted or sketch.waiting > WAITING_MAX):
            return math.inf
        return max(news_s + REST_S, self._folded_s + PAUSE_S)

    def tick(self, news_s: float, now: Now) -> None:
        if self._store.sketch.idle:
            self._wanted = False
        elif now.monotonic_s >= self.deadline(news_s):
            self._store.work_on_sketch()
            self._folded_s = now.monotonic_s
