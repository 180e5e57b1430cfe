"""ContextDifference: the facts that two replicas send each other of their causal contexts in an
exchange.

A --> B   `summary`: a digest for each range of timestamps, newest first, the older the wider,
          so that entries of past sites, which all have alike, cost nothing
B --> A   `difference`: B's facts in those ranges that differ
A --> B   `lacking`: A's facts there that B lacks, when the exchange was whole
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from kvgossip.errors import RemoteError
from kvgossip.protocol.tombstones.fact import Fact, Kind, fact_timestamp
from kvgossip.protocol.wire.message import FACTS_BYTES_MAX

RANGE_FACTS_MIN = 32
RANGES_MAX = 32

_FACT_BYTES = 17
_RANGE = Struct(">QQ")
_MASK = Struct(">Q")
_EVER = b"\xff" * 8
_NEVER = b""


class ContextDifference(NamedTuple):
    """The answer to a summary: which of the ranges differ, as bits, and all facts of the answering
    side in these."""

    differing: int
    facts: list[Fact]


def summary(facts: list[Fact]) -> bytes:
    """A digest for each range of timestamps, newest range first, each twice as long as the one
    before."""
    ranges: list[bytes] = []
    start, length = 0, RANGE_FACTS_MIN
    while start < len(facts) or not ranges:
        end = min(start + length, len(facts))
        # facts of one timestamp stay together, and the last range goes down to zero
        while 0 < end < len(facts) and facts[end][:8] == facts[end - 1][:8]:
            end += 1
        last = end >= len(facts) or len(ranges) + 1 == RANGES_MAX
        chunk = facts[start:] if last else facts[start:end]
        ranges.append(_RANGE.pack(0 if last else fact_timestamp(chunk[-1]), _digest(chunk)))
        if last:
            break
        start, length = end, 2 * length
    return b"".join(ranges)


def difference(facts: list[Fact], asked: bytes) -> bytes:
    """The answer to a peer's `summary`, encoded; empty where nothing differs. Raises RemoteError
    for what is no summary."""
    if len(asked) % _RANGE.size or len(asked) > RANGES_MAX * _RANGE.size:
        raise RemoteError("bad_context", "a summary that is cut off")
    differing, ours, at, high = 0, list[Fact](), 0, _EVER + b"\xff"
    for place, (low, digest) in enumerate(_ranges(asked)):
        if low >= high:
            raise RemoteError("bad_context", "a summary whose ranges overlap")
        start = at
        while at < len(facts) and facts[at] >= low:
            at += 1
        if _digest(facts[start:at]) != digest:
            differing |= 1 << place
            ours += facts[start:at]
        high = low
    return encode(ContextDifference(differing, ours)) if differing else b""


def lacking(facts: list[Fact], asked: bytes, answer: ContextDifference) -> list[Fact]:
    """Of the facts whose summary was `asked`, those that the peer lacks who gave this answer."""
    lows = [low for low, _ in _ranges(asked)]
    vector = {fact[8:16]: fact[:8] for fact in answer.facts if fact[16] == Kind.VECTOR_ENTRY}
    seen = {fact[8:16]: fact[:8] for fact in answer.facts if fact[16] == Kind.SEEN}
    known = dict.fromkeys(answer.facts)
    found: list[Fact] = []
    place = 0
    for fact in facts:
        while fact < lows[place]:
            place += 1
        if (
            answer.differing >> place & 1
            and fact not in known
            and (seen if fact[16] == Kind.SEEN else vector).get(fact[8:16], _NEVER) < fact[:8]
        ):
            found.append(fact)
    return found


def _ranges(asked: bytes) -> Iterator[tuple[bytes, int]]:
    """The beginning of each range, as the first bytes of facts, and its digest."""
    return (
        (asked[at : at + 8], int.from_bytes(asked[at + 8 : at + 16], "big"))
        for at in range(0, len(asked), _RANGE.size)
    )


def encode(answer: ContextDifference) -> bytes:
    return _MASK.pack(answer.differing) + b"".join(answer.facts)


def decode(data: bytes) -> ContextDifference:
    """The difference that `encode` was given; nothing of an empty one. Raises RemoteError for
    anything else."""
    if not data:
        return ContextDifference(0, [])
    if (
        len(data) > FACTS_BYTES_MAX
        or (len(data) - _MASK.size) % _FACT_BYTES
        or len(data) < _MASK.size
    ):
        raise RemoteError("bad_context", "facts that are cut off, or too many")
    facts = [data[at : at + _FACT_BYTES] for at in range(_MASK.size, len(data), _FACT_BYTES)]
    if max(data[_MASK.size + 16 :: _FACT_BYTES], default=0) > Kind.SEEN:
        # of facts that say more than this version knows a part must not be taken for the whole
        raise RemoteError("bad_context", "facts of an unknown kind")
    return ContextDifference(_MASK.unpack_from(data)[0], facts)


def _digest(facts: list[Fact]) -> int:
    return xxh3_64_intdigest(b"".join(facts))
