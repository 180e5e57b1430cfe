"""Fact: one piece of a causal context, as it travels and as it lies on the disk
(causal_context.py)."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from enum import IntEnum
from struct import Struct

from kvgossip.protocol.model.entry import Version

PREFIX = b"context/"

VERSION = Struct(">QQ")
FACT = Struct(">QQB")


class Kind(IntEnum):
    """The kinds of facts; the numbers travel. SEEN is not kept on the disk: the next exchange tells
    it again."""

    VECTOR_ENTRY = 0
    DOT = 1
    GAP = 2
    SEEN = 3


_NAMES = {Kind.VECTOR_ENTRY: b"row/", Kind.DOT: b"dot/", Kind.GAP: b"gap/"}
DOTS = PREFIX + _NAMES[Kind.DOT]
DOT = bytes((Kind.DOT,))

Fact = bytes
"""One version vector entry, dot, gap or "seen" as it travels: timestamp and site, 8 bytes each, and
the kind. There are thousands, and as bytes they compare as their times do, and are hashed and sent
as they are."""


def fact_of(timestamp: int, site: int, kind: int) -> Fact:
    return FACT.pack(timestamp, site, kind)


def until(facts: Sequence[Fact], latest: int) -> tuple[list[Fact], int]:
    """As much of each of these facts of a peer as speaks of no later time, and of how many that was
    not all. A tombstone that is here is not later than that, so all that it has killed is covered
    as well."""
    bound = latest.to_bytes(8, "big")
    believed = [fact for fact in facts if fact[:8] <= bound]
    cut = len(facts) - len(believed)
    if cut:
        believed += [
            fact_of(latest, int.from_bytes(fact[8:16], "big"), fact[16])
            for fact in facts
            if fact[:8] > bound and fact[16] != Kind.DOT
        ]
    return believed, cut


def oldest(times: Mapping[int, int], limit: int, present: Container[int]) -> list[int]:
    """Where there are more than `limit`, the sites to let go, but for those that are present. An
    eighth of them at once: to look for the oldest of thousands takes long, and the oldest facts
    that two contexts compare stay alike meanwhile (context_difference.py)."""
    if len(times) <= limit:
        return []
    absent = sorted((site for site in times if site not in present), key=times.__getitem__)
    return absent[: len(times) - limit + limit // 8]


def fact_timestamp(fact: Fact) -> int:
    return int.from_bytes(fact[:8], "big")


def encoded(version: Version) -> bytes:
    """The version as a record has it."""
    return VERSION.pack(*version)


def key_of(kind: Kind, site: int) -> bytes:
    return PREFIX + _NAMES[kind] + site.to_bytes(8, "big")


def dot_key(dot: bytes) -> bytes:
    return DOTS + dot[8:] + dot[:8]


def saved_facts(saved: Mapping[bytes, bytes]) -> Iterator[Fact]:
    for kind, name in _NAMES.items():
        start = PREFIX + name
        for key in sorted(saved):
            if key.startswith(start) and kind is Kind.DOT:
                yield from (dot + DOT for dot in saved_dots(key, saved[key]))
            elif key.startswith(start):
                yield fact_of(
                    int.from_bytes(saved[key], "big"),
                    int.from_bytes(key[len(start) :], "big"),
                    kind,
                )


def saved_dots(key: bytes, others: bytes) -> list[bytes]:
    """All that share this key."""
    name = key[len(DOTS) :]
    return [name[8:] + name[:8], *(others[at : at + 16] for at in range(0, len(others), 16))]
