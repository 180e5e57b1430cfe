"""The record of a key of type `siblings` or `counter`, and its join: pure functions of records,
which siblings.py checks under all that can happen to nodes.

    values   dot -> what that write wrote: a Value, a Cell, or None, for a delete
    seen     site -> timestamp: of what this site wrote under this key, all up to then is
             superseded, but for what is in `values`

A dot is a timestamp and a site; a site is one life of a node. No two dots are alike, so a dot that
is in one of two records only was superseded in the other one, or has not come there: which of the
two, `seen` says. The join asks nothing else, least of all the context of a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Dot(NamedTuple):
    timestamp: int
    site: int


class Value(NamedTuple):
    """One of the siblings. `expires`: a time by the clocks of nodes, None for never."""

    body: str
    expires: int | None = None


class Cell(NamedTuple):
    """What one site has added to a counter: its newest cell holds all that the others held."""

    total: int


@dataclass(frozen=True)
class Record:
    values: Mapping[Dot, Value | Cell | None] = field(default_factory=dict)
    seen: Mapping[int, int] = field(default_factory=dict)

    def supersedes(self, dot: Dot) -> bool:
        """True if it had this dot, or what replaced it, and has it no more."""
        return dot not in self.values and self.seen.get(dot.site, -1) >= dot.timestamp

    def without(self, dots: list[Dot]) -> Record:
        kept = {dot: value for dot, value in self.values.items() if dot not in dots}
        return Record(kept, self.seen)

    @property
    def pairs(self) -> list[Dot]:
        return [Dot(timestamp, site) for site, timestamp in self.seen.items()]

    @property
    def context(self) -> dict[int, int]:
        """What whoever has read this record has seen."""
        return _later(self.seen, _seen(self.values))

    @property
    def count(self) -> int:
        """The value of a counter."""
        return sum(cell.total for cell in self.values.values() if isinstance(cell, Cell))


def join(a: Record, b: Record) -> Record:
    """Commutative, associative, idempotent."""
    values = {dot: value for dot, value in a.values.items() if not b.supersedes(dot)}
    values |= {dot: value for dot, value in b.values.items() if not a.supersedes(dot)}
    cells = {dot.site: dot for dot in sorted(values) if isinstance(values[dot], Cell)}
    older = [d for d, v in values.items() if isinstance(v, Cell) and cells[d.site] != d]
    return Record(values, _later(a.seen, b.seen)).without(older)


def write(
    record: Record, dot: Dot, value: Value | None, context: Mapping[int, int], limit: int
) -> Record | None:
    """The record after a write, or a delete, whose writer had seen `context`. A sibling of the same
    content is replaced, seen or not. None where there are `limit` of them, and it replaces none."""
    left = join(record, Record({}, context))
    same = [each for each, other in left.values.items() if value is not None and other == value]
    contents = {other for other in left.values.values() if other is not None}
    if value is not None and not same and len(contents) >= limit:
        return None
    return _replaced(left, same, dot, value)


def add(record: Record, dot: Dot, amount: int, orphans: list[Dot]) -> Record:
    """The record of a counter after the site of `dot` has added this to its cell, and taken over
    those of former lives."""
    cells = [
        cell for each, cell in record.values.items() if each.site == dot.site or each in orphans
    ]
    total = amount + sum(cell.total for cell in cells if isinstance(cell, Cell))
    own = [each for each, cell in record.values.items() if each.site == dot.site and cell]
    return _replaced(record.without(own), orphans, dot, Cell(total))


def _replaced(record: Record, dots: list[Dot], dot: Dot, value: Value | Cell | None) -> Record:
    values = {**record.without(dots).values, dot: value}
    return Record(values, _later(record.seen, _seen(dots)))


def _seen(dots: Iterable[Dot]) -> dict[int, int]:
    return {dot.site: dot.timestamp for dot in sorted(dots)}


def _later(a: Mapping[int, int], b: Mapping[int, int]) -> dict[int, int]:
    return {**a, **{site: max(timestamp, a.get(site, -1)) for site, timestamp in b.items()}}
