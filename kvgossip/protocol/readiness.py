"""Readiness: the reasons for which this node should not be asked just now, in words.

Each mechanism that may have one is asked for it here (`add`). As long as there is any, `/readyz` is
503 with the reasons, `/status` lists them, and the doctor of every member finds them. A notice is
for the doctor alone: something is wrong, and the node may be asked all the same.
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


Notice = tuple[str, str]
"""A code for programs, and what is wrong in words that follow the node's name and a colon."""


class Readiness:
    def __init__(self) -> None:
        self._notices: list[Callable[[], Iterable[Notice]]] = []
        self._looks: list[Callable[[Now], Iterable[Reason]]] = []

    def add(self, look: Callable[[Now], Iterable[Reason]]) -> None:
        """From now on a node is not ready for the reasons that `look(now)` gives, too."""
        self._looks.append(look)

    def add_notices(self, look: Callable[[], Iterable[Notice]]) -> None:
        """From now on the doctor of every member finds what `look()` gives, too."""
        self._notices.append(look)

    def notices(self) -> list[Notice]:
        return [notice for look in self._notices for notice in look()]

    def reasons(self, now: Now) -> list[Reason]:
        """All reasons of now; empty: the node is ready."""
        return [reason for look in self._looks for reason in look(now)]
