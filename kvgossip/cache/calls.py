"""Calls: what was asked of a member over a line, and is not answered yet.

A call waits for a line, and then for its answer. While there is no member it is kept for
PATIENCE_S, since another process takes over soon. One that was sent, and whose line broke, fails:
it may have been done or not, and only the caller knows whether it may be done twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from kvgossip.cache.line import FromFollower
from kvgossip.errors import KVGossipError, NoMemberError

PATIENCE_S = 10.0


class Call(NamedTuple):
    """`make`: the message, for the number of the call."""

    make: Callable[[int], FromFollower]
    future: Future[Any]
    gives_up_s: float


class Calls:
    """Safe on all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: list[Call] = []
        self._sent: dict[int, Call] = {}
        self._closed = False

    def add(self, make: Callable[[int], FromFollower]) -> Future[Any]:
        call = Call(make, Future(), time.monotonic() + PATIENCE_S)
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append(call)
        if closed:
            call.future.set_exception(_closed())
        return call.future

    def take(self) -> list[FromFollower]:
        """Those that wait, to be sent now."""
        messages: list[FromFollower] = []
        with self._lock:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                if call.future.set_running_or_notify_cancel():
                    self._number += 1
                    self._sent[self._number] = call
                    messages.append(call.make(self._number))
        return messages

    def answered(self, number: int, result: object) -> None:
        """By a result, or by an error of the member."""
        with self._lock:
            call = self._sent.pop(number, None)
        if call is None:
            return
        if isinstance(result, KVGossipError):
            call.future.set_exception(result)
        else:
            call.future.set_result(result)

    def broken(self) -> None:
        """The line is gone, and with it the answers to what was sent."""
        with self._lock:
            sent, self._sent = self._sent, {}
        for call in sent.values():
            call.future.set_exception(
                NoMemberError(
                    "the member of this host ended before it answered",
                    "it may have done what was asked: look, and try again where that is safe",
                )
            )

    def give_up(self, why: str) -> None:
        """Those that have waited for too long."""
        now_s = time.monotonic()
        with self._lock:
            late = [call for call in self._waiting if call.gives_up_s <= now_s]
            self._waiting = [call for call in self._waiting if call.gives_up_s > now_s]
        for call in late:
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(
                    NoMemberError(
                        f"no member of this host has answered within {PATIENCE_S:.0f} s: {why}",
                        "nothing was changed: try again in a moment",
                    )
                )

    def unsent(self) -> list[Call]:
        """Those that wait still, for somebody else; what comes from now on is refused."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        return waiting

    def close(self) -> None:
        self.broken()
        for call in self.unsent():
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(_closed())


def _closed() -> NoMemberError:
    return NoMemberError("the cache was closed meanwhile", "nothing was changed")
