"""A sink that remembers, and lets a test wait for what is to come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from kvgossip.cache.source import Record, SourceState

PATIENCE_S = 60.0
"""Only a test that fails waits for so long."""


class Remembering:
    """All that a cache would have, and the calls that brought it."""

    def __init__(self) -> None:
        self.table: dict[str, bytes | None] = {}
        #: the keys of each call: ("replaced", ...) or ("changed", ...)
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.states: list[SourceState] = []
        #: the keys that had a value and lost it
        self.lost: list[str] = []
        self._records: dict[str, Record] = {}
        self._came = threading.Condition()

    def replaced(self, records: Sequence[Record], *, settled: bool = False) -> None:
        with self._came:
            table = {record.key: record.value for record in records}
            self.lost += sorted(self.table.keys() - table.keys())
            self.table = table
            self._records = {record.key: record for record in records}
            self._note("replaced", records)

    def changed(self, records: Sequence[Record]) -> None:
        with self._came:
            for record in records:
                self._records[record.key] = record
                if record.value is None:
                    del self._records[record.key]
                    self.lost += [record.key] if record.key in self.table else []
                    self.table.pop(record.key, None)
                else:
                    self.table[record.key] = record.value
            self._note("changed", records)

    def state_changed(self, state: SourceState) -> None:
        with self._came:
            self.states.append(state)
            self._came.notify_all()

    def records(self) -> Mapping[str, Record]:
        return self._records

    def until(self, so: Callable[[Remembering], bool]) -> None:
        """Returns once it is so."""
        with self._came:
            assert self._came.wait_for(lambda: so(self), PATIENCE_S), (self.table, self.states)

    @property
    def problem(self) -> str:
        return self.states[-1].problem if self.states else ""

    def _note(self, call: str, records: Sequence[Record]) -> None:
        self.calls.append((call, tuple(record.key for record in records)))
        self._came.notify_all()
