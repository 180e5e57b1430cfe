"""The record of a load: each write with its answer, and what was seen that must not be."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

ACKNOWLEDGED = (200, 202)
EXAMPLES_MAX = 8


@dataclass(slots=True)
class Write:
    """`value` is None for a delete, `status` 0 where no answer came. Times are of the monotonic
    clock. `holders` are the members that the answer names."""

    key: str
    value: str | None
    node: str
    life: int
    begin_s: float
    end_s: float = 0.0
    status: int = 0
    version: str = ""
    wait: str = ""
    holders: tuple[str, ...] = ()
    ttl_s: float = 0.0

    @property
    def acknowledged(self) -> bool:
        return self.status in ACKNOWLEDGED

    @property
    def text(self) -> str:
        return f"{self.key}@{self.version} by {self.node} life {self.life} (status {self.status})"


@dataclass(slots=True)
class Record:
    """`faults` count what must not be, by kind; `notes` count what else was seen."""

    writes: list[Write] = field(default_factory=list)
    by_key: dict[str, list[Write]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, write: Write) -> None:
        self.writes.append(write)
        self.by_key[write.key].append(write)
        method = "DELETE" if write.value is None else "PUT"
        wait = "+wait" if write.wait else ""
        self.statuses[f"{method}{wait} {write.status or 'no answer'}"] += 1

    def fault(self, kind: str, text: str) -> None:
        self.faults[kind] += 1
        self._example(kind, text)

    def note(self, kind: str, text: str = "") -> None:
        self.notes[kind] += 1
        if text:
            self._example(kind, text)

    def _example(self, kind: str, text: str) -> None:
        if len(self.examples[kind]) < EXAMPLES_MAX:
            self.examples[kind].append(f"{time.strftime('%H:%M:%S')} {text}")

    def oldest_acknowledged(self, key: str, before_s: float) -> Write | None:
        """The first write of the key that was acknowledged before that time."""
        found = (each for each in self.by_key[key] if each.acknowledged and each.end_s < before_s)
        return next(found, None)

    @property
    def violation(self) -> str:
        kinds = (
            f"{kind} ({count}): {self.examples[kind][0]}" for kind, count in self.faults.items()
        )
        return "; ".join(kinds)
