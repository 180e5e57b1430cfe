"""Pending: the callers of a node that wait for an answer, by what they have asked.

Laws
- Callers that ask for the same under one key share one answer, and a caller that gives up takes it
  from nobody else.
- All that wait have an error at once when the node stops, and from then on nobody begins to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from kvgossip.errors import LocalError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Answer(Generic[T]):
    """An answer that is to come: once, or an error in its place."""

    def __init__(self) -> None:
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def give(self, answer: T) -> None:
        """Harmless when repeated: the first one counts."""
        if not self._future.done():
            self._future.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)
            # perhaps nobody asks any more
            self._future.exception()

    async def wait(self) -> T:
        return await asyncio.shield(self._future)


A = TypeVar("A", bound=Answer[Any])


class Pending(Generic[K, A]):
    """Answers of one kind by key. `stopped` and `hint` are the error of a node that stops."""

    def __init__(self, stopped: str, hint: str = "") -> None:
        self._stopped, self._hint = stopped, hint
        #: of all keys under which somebody waits
        self._answers: dict[K, A] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._answers)

    def begin(self, key: K, answer: A) -> A:
        """Wait for this answer under the key; `end` must follow. Raises LocalError once closed."""
        if self._closed:
            raise self._error()
        self._answers[key] = answer
        return answer

    def end(self, key: K) -> A | None:
        """Nobody need wait under this key any more; returns the answer that was waited for."""
        return self._answers.pop(key, None)

    def get(self, key: K) -> A | None:
        return self._answers.get(key)

    def answers(self) -> list[A]:
        """Those that are waited for now."""
        return list(self._answers.values())

    def close(self) -> None:
        self._closed = True
        for answer in self._answers.values():
            answer.fail(self._error())

    def _error(self) -> LocalError:
        return LocalError(self._stopped, self._hint)
