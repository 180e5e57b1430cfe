"""CausalContext: which versions this replica has ever merged (protocol.md section 6). What makes
deletes stay deleted.

    row    site -> timestamp   everything that this site wrote up to then
    dot    one version         of those beyond the rows, which came alone: as a rumor, or by an
                               exchange that was cut
    gap    site -> timestamp   up to then there are versions that should be dots, and for which
                               there was no room

Laws
- The store itself is part of the context: what it holds needs no dot. A version becomes a dot when
  it leaves the store, or was offered and too old for it, and no row covers it. So new keys cost
  nothing here, and what an exchange brings does not either.
- A row advances only by `join`, when an exchange was whole: all that the peer held when it began
  has been merged, or what superseded it. So with a row comes all that its site had seen when it
  wrote what the row covers. A dot says nothing of that kind.
- The own site is always covered: its row is "now". On disk it is kept with every commit, so that
  the next life has it as a past site.
- What is covered stays covered (but for rows beyond the newest ROWS_MAX): joining is commutative,
  associative and idempotent.
- While there is a gap no tombstone is collected, so a dot too many delays, and harms nothing.
  Until a row has passed them, those that are here stay, and none more are taken: under a flood of
  writes to the same keys a dot that comes would be let go before anybody asks, and to keep each for
  a moment would cost three changes of the disk a write.

Deviation from protocol.md and its model, where every version heard by rumor is a dot: dots of what
the store holds follow from the store, on this side and, once the exchange is whole, on the other
side too. They would be most of all dots.

On the disk: a key a row and a gap. Dots come and go by hundreds, so those of one commit share a
key, which is named after the first of them and has the others as its value, and goes when all of
them have gone. One that has come and gone between two commits costs nothing.

What travels: facts, newest first. The asker of an exchange sends `summary`: a digest for each range
of timestamps, the older the wider, so that rows of past sites, which all have alike, cost nothing.
The answer is `difference`: the facts in those ranges that differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from kvgossip.errors import RemoteError
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.entry import HEAD_BYTES, Version
from kvgossip.protocol.wire.message import FACTS_BYTES_MAX, FACTS_OF_A_KIND_MAX

ROWS_MAX = DOTS_MAX = GAPS_MAX = FACTS_OF_A_KIND_MAX
RANGE_FACTS_MIN = 32
RANGES_MAX = 32
PREFIX = b"context/"

_VERSION = Struct(">QQ")
_FACT = Struct(">QQB")
_RANGE = Struct(">QQ")
_MASK = Struct(">Q")


class Kind(IntEnum):
    ROW = 0
    DOT = 1
    GAP = 2


_NAMES = {Kind.ROW: b"row/", Kind.DOT: b"dot/", Kind.GAP: b"gap/"}
_DOTS = PREFIX + _NAMES[Kind.DOT]
_DOT = bytes((Kind.DOT,))
_EVER = b"\xff" * 8
_NEVER = b""

Fact = bytes
"""One row, dot or gap as it travels: timestamp and site, 8 bytes each, and the kind. There are
thousands, and as bytes they compare as their times do, and are hashed and sent as they are."""


def fact_of(timestamp: int, site: int, kind: int) -> Fact:
    return _FACT.pack(timestamp, site, kind)


def fact_timestamp(fact: Fact) -> int:
    return int.from_bytes(fact[:8], "big")


class CausalContext:
    """`rows`, `dots` and `gaps` are read only outside. A dot is its version as records have it (see
    entry.py), so that asking whether a record is covered makes no Version of it: that is asked of
    every entry that is offered. `site` is this life's own.

    `_bounds` has the rows, and one without end for the own site, as bytes. Each dot has, as its
    value, the dot after which its key on the disk is named, `_chunks` how many of those are left;
    while it has no key yet, its value is empty, and it is in `_fresh`. `has_new_dots`: some have
    come since whoever looks at that has set it to False.
    """

    __slots__ = (
        "_bounds",
        "_changed",
        "_chunks",
        "_fresh",
        "dots",
        "gaps",
        "has_new_dots",
        "rows",
        "site",
    )

    def __init__(self, site: int) -> None:
        self.site = site
        self._bounds = {site.to_bytes(8, "big"): _EVER}
        self.rows: dict[int, int] = {}
        self.dots: dict[bytes, bytes] = {}
        self.gaps: dict[int, int] = {}
        self._chunks: dict[bytes, int] = {}
        self._fresh: dict[bytes, None] = {}
        self._changed: dict[bytes, bytes | None] = {}
        self.has_new_dots = False

    # -- questions --------------------------------------------------------------------------------

    def covers(self, version: Version) -> bool:
        """Whether this replica has once merged this version, or had one that superseded it. What
        its store holds it need not tell."""
        return self._covers(encoded(version))

    def covers_record(self, record: bytes) -> bool:
        """`covers` for the version of a record."""
        return self._covers(record[1:HEAD_BYTES])

    def _covers(self, dot: bytes) -> bool:
        return dot[:8] <= self._bounds.get(dot[8:], _NEVER) or dot in self.dots

    def row_covers(self, version: Version) -> bool:
        """Whether it has merged that version together with all that its writer had seen."""
        return version.site == self.site or self.rows.get(version.site, -1) >= version.timestamp

    def facts(self, clock: int) -> list[Fact]:
        """Everything, newest first; the own row stands at `clock`."""
        rows = [fact_of(timestamp, site, Kind.ROW) for site, timestamp in self.rows.items()]
        gaps = [fact_of(timestamp, site, Kind.GAP) for site, timestamp in self.gaps.items()]
        return sorted(
            [fact_of(clock, self.site, Kind.ROW), *rows, *(dot + _DOT for dot in self.dots), *gaps],
            reverse=True,
        )

    # -- changes ----------------------------------------------------------------------------------

    def add(self, version: Version) -> None:
        """This version was merged, and the store does not hold it any more."""
        self._add(encoded(version))

    def add_record(self, record: bytes) -> None:
        """`add` for the version of a record."""
        self._add(record[1:HEAD_BYTES])

    def _add(self, dot: bytes) -> None:
        if self._covers(dot):
            return
        if len(self.dots) < DOTS_MAX:
            self.dots[dot] = b""
            self._fresh[dot] = None
            self.has_new_dots = True
        else:
            timestamp, site = _VERSION.unpack(dot)
            self._open_gap(site, timestamp)

    def join(self, facts: Iterable[Fact]) -> int:
        """Take over what a peer's context says, at the end of a whole exchange; how many rows have
        advanced."""
        told = sorted(facts)
        advanced = sum(self._advance(fact) for fact in told if fact[16] == Kind.ROW)
        if advanced:
            self._prune()
        for fact in told:
            if fact[16] == Kind.DOT:
                self._add(fact[:16])
        for fact in told:
            if fact[16] == Kind.GAP:
                timestamp, site, _ = _FACT.unpack(fact)
                self._open_gap(site, timestamp)
        return advanced

    def _advance(self, fact: Fact) -> bool:
        bound, of_site = fact[:8], fact[8:16]
        if bound <= self._bounds.get(of_site, _NEVER):
            return False
        timestamp, site, _ = _FACT.unpack(fact)
        self.rows[site], self._bounds[of_site] = timestamp, bound
        self._note(Kind.ROW, site, timestamp)
        return True

    def _prune(self) -> None:
        """Dots and gaps that rows have passed say nothing any more; of too many rows the oldest
        go."""
        bounds = self._bounds
        for dot in [dot for dot in self.dots if dot[:8] <= bounds.get(dot[8:], _NEVER)]:
            self._let_go(dot)
        for site in [
            site for site, timestamp in self.gaps.items() if self.rows.get(site, -1) >= timestamp
        ]:
            del self.gaps[site]
            self._note(Kind.GAP, site, None)
        if len(self.rows) > ROWS_MAX:
            for site in sorted(self.rows, key=self.rows.__getitem__)[: len(self.rows) - ROWS_MAX]:
                del self.rows[site], self._bounds[site.to_bytes(8, "big")]
                self._note(Kind.ROW, site, None)

    def _let_go(self, dot: bytes) -> None:
        chunk = self.dots.pop(dot)
        if not chunk:
            del self._fresh[dot]
            return
        self._chunks[chunk] -= 1
        if not self._chunks[chunk]:
            del self._chunks[chunk]
            self._changed[_dot_key(chunk)] = None

    def _open_gap(self, site: int, timestamp: int) -> None:
        if self.gaps.get(site, -1) >= timestamp or self.row_covers(Version(timestamp, site)):
            return
        self.gaps[site] = timestamp
        self._note(Kind.GAP, site, timestamp)
        if len(self.gaps) > GAPS_MAX:
            oldest = min(self.gaps, key=self.gaps.__getitem__)
            del self.gaps[oldest]
            self._note(Kind.GAP, oldest, None)

    # -- the disk ---------------------------------------------------------------------------------

    def _note(self, kind: Kind, site: int, timestamp: int | None) -> None:
        self._changed[_key(kind, site)] = (
            None if timestamp is None else timestamp.to_bytes(8, "big")
        )

    @property
    def has_changed(self) -> bool:
        """Whether `take_changes` has something for the disk."""
        return bool(self._changed)

    def take_changes(self) -> list[Persist]:
        """What has changed since the last call, for the disk, but for dots that have come."""
        changed, self._changed = self._changed, {}
        return [Persist(key, value) for key, value in changed.items()]

    def take_dots(self) -> list[Persist]:
        """The dots that have come since the last call, for the disk."""
        if not self._fresh:
            return []
        first = next(iter(self._fresh))
        if first in self._chunks:
            # it went, and has come again: its key has others still
            self._fresh |= {dot: None for dot, chunk in self.dots.items() if chunk == first}
        fresh, self._fresh = self._fresh, {}
        self._name_chunk(first, fresh)
        return [Persist(_dot_key(first), b"".join(dot for dot in fresh if dot != first))]

    def _name_chunk(self, chunk: bytes, dots: Collection[bytes]) -> None:
        self.dots.update(dict.fromkeys(dots, chunk))
        self._chunks[chunk] = len(dots)

    def own_row(self, clock: int) -> Persist:
        """For every commit: all that this life has written up to `clock` is in it."""
        return Persist(_key(Kind.ROW, self.site), clock.to_bytes(8, "big"))

    def restore(self, saved: Mapping[bytes, bytes]) -> None:
        """What an earlier life left. Nothing of it is news for the disk, but for keys of which
        nothing is needed any more."""
        self.join(_saved_facts(saved))
        self._changed.clear()
        for key in sorted(saved):
            if key.startswith(_DOTS):
                dots = _saved_dots(key, saved[key])
                held = [dot for dot in dots if self._fresh.pop(dot, self) is None]
                if held:
                    self._name_chunk(dots[0], held)
                else:
                    self._changed[key] = None
        self.has_new_dots = False

    def renounce(self, saved: Mapping[bytes, bytes]) -> None:
        """The data that an earlier life had merged is lost, so its context is worth nothing: off
        the disk with it."""
        self._changed |= {key: None for key in sorted(saved) if key.startswith(PREFIX)}


def encoded(version: Version) -> bytes:
    """The version as a record has it."""
    return _VERSION.pack(*version)


def _key(kind: Kind, site: int) -> bytes:
    return PREFIX + _NAMES[kind] + site.to_bytes(8, "big")


def _dot_key(dot: bytes) -> bytes:
    return _DOTS + dot[8:] + dot[:8]


def _saved_facts(saved: Mapping[bytes, bytes]) -> Iterator[Fact]:
    for kind, name in _NAMES.items():
        start = PREFIX + name
        for key in sorted(saved):
            if key.startswith(start) and kind is Kind.DOT:
                yield from (dot + _DOT for dot in _saved_dots(key, saved[key]))
            elif key.startswith(start):
                yield fact_of(
                    int.from_bytes(saved[key], "big"),
                    int.from_bytes(key[len(start) :], "big"),
                    kind,
                )


def _saved_dots(key: bytes, others: bytes) -> list[bytes]:
    """All that share this key."""
    name = key[len(_DOTS) :]
    return [name[8:] + name[:8], *(others[at : at + 16] for at in range(0, len(others), 16))]


# -- what travels --------------------------------------------------------------------------------


class Told(NamedTuple):
    """What a peer said of its context: which of the ranges differ, as bits, and all its facts in
    these."""

    differing: int
    facts: list[Fact]


def summary(facts: list[Fact]) -> bytes:
    """A digest for each range of timestamps, newest range first, each twice as long as the one
    before."""
    ranges: list[bytes] = []
    start, length = 0, RANGE_FACTS_MIN
    while start < len(facts) or not ranges:
        end = min(start + length, len(facts))
        # what lies on one timestamp stays together, and the last range goes down to zero
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
    """The answer to a peer's `summary`; empty where nothing differs. Raises RemoteError for what is
    no summary."""
    if len(asked) % _RANGE.size or len(asked) > RANGES_MAX * _RANGE.size:
        raise RemoteError("bad_context", "a summary that is cut off")
    differing, told, at, high = 0, list[Fact](), 0, _EVER + b"\xff"
    for place, (low, digest) in enumerate(_ranges(asked)):
        if low >= high:
            raise RemoteError("bad_context", "a summary whose ranges overlap")
        start = at
        while at < len(facts) and facts[at] >= low:
            at += 1
        if _digest(facts[start:at]) != digest:
            differing |= 1 << place
            told += facts[start:at]
        high = low
    return encode(Told(differing, told)) if differing else b""


def lacking(facts: list[Fact], asked: bytes, told: Told) -> list[Fact]:
    """Of the facts whose summary was `asked`, those that the peer who answered `told` lacks."""
    lows = [low for low, _ in _ranges(asked)]
    rows = {fact[8:16]: fact[:8] for fact in told.facts if fact[16] == Kind.ROW}
    known = dict.fromkeys(told.facts)
    found: list[Fact] = []
    place = 0
    for fact in facts:
        while fact < lows[place]:
            place += 1
        if (
            told.differing >> place & 1
            and fact not in known
            and rows.get(fact[8:16], _NEVER) < fact[:8]
        ):
            found.append(fact)
    return found


def _ranges(asked: bytes) -> Iterator[tuple[bytes, int]]:
    """Where each range begins, as the first bytes of facts, and its digest."""
    return (
        (asked[at : at + 8], int.from_bytes(asked[at + 8 : at + 16], "big"))
        for at in range(0, len(asked), _RANGE.size)
    )


def encode(told: Told) -> bytes:
    return _MASK.pack(told.differing) + b"".join(told.facts)


def decode(data: bytes) -> Told:
    """What `encode` made; nothing of an empty one. Raises RemoteError for anything else."""
    if not data:
        return Told(0, [])
    if (
        len(data) > FACTS_BYTES_MAX
        or (len(data) - _MASK.size) % _FACT.size
        or len(data) < _MASK.size
    ):
        raise RemoteError("bad_context", "facts that are cut off, or too many")
    facts = [data[at : at + _FACT.size] for at in range(_MASK.size, len(data), _FACT.size)]
    if max(data[_MASK.size + 16 :: _FACT.size], default=0) > Kind.GAP:
        # of facts that say more than this version knows a part must not be taken for the whole
        raise RemoteError("bad_context", "facts of an unknown kind")
    return Told(_MASK.unpack_from(data)[0], facts)


def _digest(facts: list[Fact]) -> int:
    return xxh3_64_intdigest(b"".join(facts))
