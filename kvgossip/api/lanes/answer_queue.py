"""AnswerQueue: the answers of one connection of the express lane, from the moment they are known.

Laws
- Answers leave in the order of the requests. One that waits for the disk holds back the answers
  after it, not the requests.
- Small answers leave at the end of the turn of the loop that made them, those of one connection in
  one piece, those of all in one go. A client that is woken by the first of them finds the others,
  where answers that come one by one would wake it for each: on one core for each side, that is a
  fifth of what a request costs this one. Nothing else happens between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from kvgossip.api.http.response import Answers
from kvgossip.api.keys import failure_of
from kvgossip.api.lanes.connections import Connections
from kvgossip.api.lanes.phase import Event

PIPELINE_MAX = 64
WAITING_BYTES_MAX = 256 * 1024
OUTBOX_ANSWERS_MAX = 16
OUTBOX_ANSWER_BYTES_MAX = 8 * 1024


class WaitingAnswer(NamedTuple):
    """An answer that waits for the disk, or for its turn."""

    data: bytes
    durable: asyncio.Future[None] | None
    """Done when the write is on the disk, or has failed to get there; None: nothing to wait for."""
    ending: Event | None
    """The event that follows it, if it is the last answer of its connection."""
    head_only: bool = False
    status: int = 0
    started_s: float = 0.0


class AnswerQueue:
    """`transport` is there from the begin of the connection to its end."""

    __slots__ = (
        "_answers",
        "_connections",
        "_outbox",
        "_waiting_bytes",
        "full",
        "transport",
        "waiting",
    )

    def __init__(self, answers: Answers, connections: Connections) -> None:
        self._answers, self._connections = answers, connections
        self.transport: asyncio.Transport | None = None
        #: Answers that wait, in the order of their requests.
        self.waiting: deque[WaitingAnswer] = deque()
        #: The length of all that wait.
        self._waiting_bytes = 0
        #: True if so many wait that no request may be served.
        self.full = False
        #: Answers that leave at the end of this turn.
        self._outbox: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send this now, or at the end of this turn, where it is small."""
        outbox = self._outbox
        outbox.append(data)
        if len(outbox) < OUTBOX_ANSWERS_MAX and len(data) < OUTBOX_ANSWER_BYTES_MAX:
            if len(outbox) == 1:
                self._connections.at_end_of_turn(self.flush)
            return
        self.flush()

    def flush(self) -> None:
        """Send the answers that were kept back in this turn."""
        outbox = self._outbox
        if outbox and self.transport is not None:
            data = outbox[0] if len(outbox) == 1 else b"".join(outbox)
            outbox.clear()
            self.transport.write(data)

    def add(self, answer: WaitingAnswer, settled: Callable[[asyncio.Future[None]], None]) -> None:
        """Keep this until its turn. `settled` is called when its write has ended."""
        self.waiting.append(answer)
        self._waiting_bytes += len(answer.data)
        self.full = self._is_full()
        if answer.durable is not None:
            answer.durable.add_done_callback(settled)

    def take(self) -> tuple[bytes, Event | None] | None:
        """The first of those that wait, if it need not wait any longer, and what becomes of the
        connection with it."""
        if not self.waiting:
            return None
        answer = self.waiting[0]
        if answer.durable is not None and not answer.durable.done():
            return None
        self.waiting.popleft()
        self._waiting_bytes -= len(answer.data)
        if self.full:
            self.full = self._is_full()
        return self._outcome(answer), answer.ending

    def _outcome(self, answer: WaitingAnswer) -> bytes:
        """The bytes to send, now that the outcome of the write is known."""
        if answer.durable is None:
            return answer.data
        error = failure_of(answer.durable)
        failed = None if error is None else self._answers.failure(error, "a write to", "/kv/")
        status = answer.status if failed is None else failed.status
        self._connections.requests.observe("kv", status, time.perf_counter() - answer.started_s)
        if failed is None:
            return answer.data
        return failed.render(answer.ending is None, head_only=answer.head_only)

    def close(self) -> None:
        """Drop everything: nobody is there any more."""
        self.transport = None
        self.waiting.clear()
        self._outbox.clear()

    def _is_full(self) -> bool:
        return len(self.waiting) >= PIPELINE_MAX or self._waiting_bytes >= WAITING_BYTES_MAX
