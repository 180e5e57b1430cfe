"""Violations: how a check fails, and what the report of a run says about it."""

from __future__ import annotations

from dataclasses import dataclass

from kvgossip.protocol.model.entry import is_dead, value_in, version_of


class BrokenLawError(Exception):
    """A check failed; the text says which, with what was seen. The cluster adds seed, time and
    node."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A check that failed, in one run: `time_s` is virtual, `node` a name or empty for the cluster
    as a whole."""

    seed: int
    time_s: float
    node: str
    text: str

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, {self.time_s:.6f} s{f', {self.node}' if self.node else ''}: "
            f"{self.text}"
        )


def require(holds: bool, text: str, *seen: object) -> None:
    """Raises BrokenLawError with what was seen, unless it holds."""
    if not holds:
        raise BrokenLawError(
            f"{text}: {' / '.join(brief(thing) for thing in seen)}" if seen else text
        )


def brief(thing: object) -> str:
    if isinstance(thing, bytes):
        body = "deleted" if is_dead(thing) else f"{len(thing)} B {(value_in(thing) or b'')[:24]!r}"
        return f"{version_of(thing)} {body}"
    return str(thing)[:300]
