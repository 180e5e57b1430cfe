"""Readiness: the reasons for which this node should not be asked just now, in words.

Each mechanism that may have one is asked for it here (`add`). As long as there is any, `/readyz` is
503 with the reasons, `/status` lists them, and the doctor of every member finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kvgossip.protocol.model.now import Now


class Reason(NamedTuple):
    """Why this node is not ready. `code` is for programs and never changes its meaning; `text` says
    it after "the node is not ready:", `hint` what to do."""

    code: str
    text: str
    hint: str = ""


NOT_SETTLED = "not_settled"
"""The code of a node that has not caught up; the doctor knows that by its sync state, too."""


class Readiness:
    def __init__(self) -> None:
        self._looks: list[Callable[[Now], Iterable[Reason]]] = []

    def add(self, look: Callable[[Now], Iterable[Reason]]) -> None:
        """From now on a node is not ready for the reasons that `look(now)` gives, too."""
        self._looks.append(look)

    def reasons(self, now: Now) -> list[Reason]:
        """All reasons of now; empty: the node is ready."""
        return [reason for look in self._looks for reason in look(now)]
