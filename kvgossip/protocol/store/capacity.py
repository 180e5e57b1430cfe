"""Capacity: how large the store may become by what clients of this node write.

Laws
- A write that would make the records larger than `store_bytes_max` is refused, and changes nothing.
  One that makes nothing larger is taken, and so is every delete: a full store can be emptied.
- What peers have is merged, however much it is: replicas that leave something out differ for ever.
  The bound is each node's own; a cluster should have one.
- A store that is full is never silent: a WARNING when it becomes so, `overload` in the status, a
  finding of the doctor.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.config import Config
from kvgossip.errors import StoreFullError
from kvgossip.protocol.store.store import Store

FREE_SHARE = 16
"""A store is no longer called full once such a part of its bound is free: not at each write."""


class Capacity:
    """`bytes_max` is 0 where there is no bound."""

    def __init__(self, config: Config, store: Store) -> None:
        self.bytes_max = config.store_bytes_max
        self._store = store
        self._is_full = False

    def check(self, key: str, value: bytes) -> None:
        """Before a write. Raises StoreFullError."""
        if self._store.record_bytes + len(value) > self.bytes_max:
            self._check_growth(((key, value),))

    def check_all(self, writes: Iterable[tuple[str, bytes]]) -> None:
        """Before several that are one. Raises StoreFullError."""
        if self.bytes_max:
            self._check_growth(writes)

    def _check_growth(self, writes: Iterable[tuple[str, bytes]]) -> None:
        growth = 0
        for key, value in writes:
            old = self._store.record(key)
            growth += len(value) - (0 if old is None else len(old))
        if growth > 0 and self._store.record_bytes + growth > self.bytes_max:
            raise StoreFullError(
                f"the store of this node is full: {self._store.record_bytes} bytes of records, "
                f"and store_bytes_max is {self.bytes_max}",
                "delete what is not needed, or raise store_bytes_max on every node",
            )

    def problem(self) -> str:
        """In words; empty while it is not full."""
        if not self.bytes_max or self._store.record_bytes < self.bytes_max:
            return ""
        return (
            f"the store is full: {self._store.record_bytes} bytes of records, and store_bytes_max "
            f"is {self.bytes_max}: writes that make it larger are refused"
        )

    def notices(self) -> list[tuple[str, str]]:
        """For the doctor, as (code, text)."""
        problem = self.problem()
        return [("store_full", problem)] if problem else []

    def change(self) -> tuple[str, str] | None:
        """The level and the text of a line for the log: once when it becomes full, and once when
        there is room again."""
        if not self._is_full and (problem := self.problem()):
            self._is_full = True
            return "WARNING", f"{problem}; entries of peers are merged all the same"
        if self._is_full and self._store.record_bytes < self.bytes_max * (1 - 1 / FREE_SHARE):
            self._is_full = False
            return "INFO", "there is room in the store again"
        return None
