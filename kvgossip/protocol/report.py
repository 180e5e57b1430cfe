"""Report: what an examination has found out about the members of one pool, before anybody draws conclusions (see diagnosis.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvgossip.protocol.member import Member
from kvgossip.protocol.message import Condition, Sight


@dataclass(frozen=True, slots=True)
class Report:
    """`observer` was asked; `members` are those that it looked at, out of `known`, itself not counted.

    `sights`: by observer, then by whom it saw; the observer's own first. `conditions`: of all that told theirs, the observer's own too.
    `answers_as`: members at whose address somebody of another name answers. `silent`: asked to look at others, without an answer; `busy`:
    too busy to. `refusals`: what was said no with, by member. `took_s`: how long it took, seconds.
    """

    observer: str
    pool: str
    members: Mapping[str, Member]
    known: int
    sights: Mapping[str, Mapping[str, Sight]]
    conditions: Mapping[str, Condition]
    answers_as: Mapping[str, str]
    silent: tuple[str, ...]
    busy: tuple[str, ...]
    refusals: Mapping[str, str]
    took_s: float
