"""Timeline: virtual time and the one event heap."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[..., None]


class Timeline:
    """`time_s` is the virtual time. Of two actions at one time the one that was planned first comes
    first."""

    __slots__ = ("_heap", "_planned", "stopped", "time_s")

    def __init__(self) -> None:
        self.time_s = 0.0
        self.stopped = False
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._planned = 0

    def at(self, time_s: float, action: Action, *arguments: Any) -> None:
        """Call `action(*arguments)` at this virtual time, or now if that is past."""
        self._planned += 1
        heappush(
            self._heap,
            (time_s if time_s > self.time_s else self.time_s, self._planned, action, arguments),
        )

    def after(self, delay_s: float, action: Action, *arguments: Any) -> None:
        self.at(self.time_s + delay_s, action, *arguments)

    def run(self) -> None:
        """Until somebody sets `stopped` or nothing is left to do."""
        heap = self._heap
        while heap and not self.stopped:
            self.time_s, _, action, arguments = heappop(heap)
            action(*arguments)
