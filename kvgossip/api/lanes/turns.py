"""Turns: long answers leave a few at a time, and all other clients get their turn between.

To copy a value of a megabyte into the socket takes as long as to answer fifty requests for short
ones. One client that asks for hundreds of them in one moment would hold the event loop until the
last one is copied. So about LONG_BYTES_A_TURN of them leave in one turn of the loop, those of all
connections together; the others wait, the first one first, and hold nothing meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LONG_BYTES_A_TURN = 1024 * 1024


class Turns:
    __slots__ = ("_left", "_loop", "_waiting", "is_over")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: how many bytes may still leave in this turn
        self._left = LONG_BYTES_A_TURN
        #: true if no more long answers may leave in this turn
        self.is_over = False
        self._waiting: deque[Callable[[], None]] = deque()

    def spend(self, size: int) -> None:
        """A long answer of so many bytes leaves in this turn."""
        if self._left == LONG_BYTES_A_TURN:
            self._loop.call_soon(self._next)
        self._left -= size
        self.is_over = self._left <= 0

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call this in the next turn, or a later one, in which a long answer may leave."""
        self._waiting.append(go_on)

    def _next(self) -> None:
        self._left, self.is_over = LONG_BYTES_A_TURN, False
        while self._waiting and not self.is_over:
            self._waiting.popleft()()
