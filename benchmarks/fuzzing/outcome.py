"""Outcome: what became of a batch of hostile inputs; failure: one that broke a law, with what
repeats it.

A batch ends with its first failure, since nobody knows what state a broken law leaves behind.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Failure:
    """`batch`: the number of the batch; `size`: how many inputs it was to have, `place`: how many
    it had; `data`: the last one."""

    batch: int
    size: int
    place: int
    text: str
    data: bytes
    trace: str = ""


@dataclass(slots=True)
class Outcome:
    """`receiver`: who was attacked. `counts`: what became of the inputs, in words. `steps`: of
    the longest input, calls of functions. `held_bytes`: the most that a batch has left in memory,
    beside the data."""

    receiver: str
    inputs: int = 0
    taken_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    held_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        self.inputs += other.inputs
        self.taken_s += other.taken_s
        self.counts.update(other.counts)
        self.steps = max(self.steps, other.steps)
        self.held_bytes = max(self.held_bytes, other.held_bytes)
        self.failures += other.failures
