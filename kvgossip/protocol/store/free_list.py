"""FreeList: empty dicts for later.

They are made many at a time, so that they do not lie one by one among what comes and goes, and few
are kept: thousands, each alone where much was, would hold a page each.
"""

from __future__ import annotations

from typing import Generic, TypeVar

SPARES = 64

Value = TypeVar("Value")


class FreeList(Generic[Value]):
    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[dict[str, Value]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def take(self) -> dict[str, Value]:
        if not self._kept:
            self._kept = [{} for _ in range(SPARES)]
        return self._kept.pop()

    def give(self, used: dict[str, Value]) -> None:
        """It is needed no more, and is emptied."""
        used.clear()
        if len(self._kept) < SPARES:
            self._kept.append(used)

    def _check(self) -> None:
        assert not any(self._kept), "a spare dict holds keys"
