"""Status: what a cache says of itself, and of what it does not apply."""

from __future__ import annotations

from typing import Literal, NamedTuple

from kvgossip.cache.source import SourceState
from kvgossip.errors import NotSettledError

NO_STATE = SourceState("member", "", "", "", settled=False, exchanged_ms=None, from_disk=False)


class Refusal(NamedTuple):
    """What is not applied, and why. `key`: without the prefix of the cache; that of a bound model
    where no single field is to blame. `version`: of the record, where it is one."""

    key: str
    reason: str
    version: str = ""


class Status(NamedTuple):
    """`settled`: what is here is the truth of the cluster. `stale`: nobody of the cluster was heard
    for longer than `stale_after_s`; the data is served all the same. `age_s`: for how long; None:
    never yet. `source`: where the data is from. `role` and `node`: whether this process is the
    member, or follows it, and its name. `release`: the one that is applied, empty for loose keys;
    `pending`: the one that is pointed to and not here yet. `refused`: what is not applied, and why;
    `ignored`: loose keys that the release puts aside. `problem`: why there is nothing newer, in
    words; empty where all is well. `refusals_total`, `became_stale_total`: how many refusals this
    process was told of, and how often the cache has become stale here."""

    settled: bool
    stale: bool
    age_s: float | None
    source: Literal["peers", "disk", "defaults"]
    role: Literal["member", "follower"]
    node: str
    release: str
    pending: str
    refused: tuple[Refusal, ...]
    ignored: tuple[str, ...]
    problem: str
    refusals_total: int
    became_stale_total: int


def not_settled(prefix: str, timeout_s: float | None, problem: str) -> NotSettledError:
    """The error of who waited; `problem`: why there is nothing newer."""
    return NotSettledError(
        f"the cache of {prefix!r} has not settled within {timeout_s} s"
        f"{': ' if problem else ''}{problem}",
        "it goes on by itself; until then there is what the disk has, and defaults",
    )
