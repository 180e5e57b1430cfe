"""Backlog: answers that take longer than a moment, made in steps of some milliseconds.

Laws
- The first step of an answer is done at once, and nearly always is the last one. What is left is
  done at the next ticks, one step each: between two of them the event loop serves everybody else.
- Links take turns, step by step: who asks for much waits for himself.
- No link may have more than LINK_MAX questions waiting, which is the window of an exchange, nor all
  together more than BYTES_MAX bytes of them: what comes beyond that is dropped and counted, and the
  exchange is cut by its initiator, which tries again later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from kvgossip.config import Address
from kvgossip.errors import RemoteError

LINK_MAX = 64
BYTES_MAX = 16 * 2**20


class Waiting(NamedTuple):
    """The rest of an answer, and how many bytes its question holds on to."""

    work: Iterator[None]
    size: int


class Backlog:
    """The answers that are being made."""

    def __init__(self) -> None:
        #: by link; empty while nothing is to be gone on with
        self.by_link: dict[Address, deque[Waiting]] = {}
        self._bytes = 0

    def begin(self, work: Iterator[None], source: Address, size: int) -> None:
        """Answer a question of this link, of `size` bytes. Raises RemoteError where it makes no
        sense, or too much waits."""
        waiting = self.by_link.get(source, ())
        if len(waiting) >= LINK_MAX or (waiting and self._bytes + size > BYTES_MAX):
            raise RemoteError("too_many_questions")
        for _ in work:
            self.by_link.setdefault(source, deque()).append(Waiting(work, size))
            self._bytes += size
            return

    def step(self) -> None:
        """One step of the link whose turn it is."""
        source = next(iter(self.by_link))
        waiting = self.by_link.pop(source)
        work, size = waiting[0]
        for _ in work:
            break
        else:
            waiting.popleft()
            self._bytes -= size
        if waiting:
            self.by_link[source] = waiting

    def forget(self, source: Address) -> None:
        """This link broke: nobody waits for its answers."""
        for _, size in self.by_link.pop(source, ()):
            self._bytes -= size
