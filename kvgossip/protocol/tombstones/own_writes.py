"""OwnWrites: the times at which this life has written, one by one.

Of a version of the own site that somebody offers a node must know whether it wrote it and
collected it since, or wrote it in a memory that it has lost (set_back.py). A bound does not tell
that: a machine that was set back, and writes, has lost versions that are older than its last write.

The newest OWN_MAX writes at least are known exactly. What is older than those counts as written: a
machine that was set back is offered what it lost by the first exchange.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

OWN_MAX = 65_536


class OwnWrites:
    __slots__ = ("_times", "_trimmed")

    def __init__(self) -> None:
        #: oldest first
        self._times = array("Q")
        #: how many older ones there were
        self._trimmed = 0

    def __contains__(self, timestamp: int) -> bool:
        times = self._times
        place = bisect_left(times, timestamp)
        if place == 0 and self._trimmed:
            return True
        return place < len(times) and times[place] == timestamp

    def __len__(self) -> int:
        """All that there were."""
        return self._trimmed + len(self._times)

    @property
    def last(self) -> int:
        """0 before the first one."""
        return self._times[-1] if self._times else 0

    def add(self, timestamp: int) -> None:
        """Later than all before."""
        self._times.append(timestamp)
        if len(self._times) >= 2 * OWN_MAX:
            del self._times[:OWN_MAX]
            self._trimmed += OWN_MAX

    def split(self, timestamp: int) -> tuple[int, list[int]]:
        """The last one before this time, 0 where there is none, and the later ones."""
        place = bisect_left(self._times, timestamp)
        return self._times[place - 1] if place else 0, list(self._times[place:])
