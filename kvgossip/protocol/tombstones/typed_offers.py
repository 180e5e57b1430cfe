"""TypedOffers: which values of a typed record that is offered may be merged, and what of it the
causal context has to know (typed/typed_record.py has the join itself).

Laws
- A value is refused that was here and has gone: the context covers its dot, and the record here
  neither has it nor supersedes it. What that one supersedes the join drops anyhow, and it tells the
  peer so. No record is refused for its version: others may have joined with it.
- So is a delete, or nodes of which one has pruned it would give it to each other for ever. Who has
  offered it takes it out, as it does a value, once it may (typed_drops.py).
- Whatever is refused, the pairs that came with it are kept: what they supersede may come later.
  They go with what is refused only where nothing is here, and entries of the own version vector
  cover all of them (or none ever will): then the context refuses whatever they would have
  superseded.
- What a join drops of either side is covered by the context from then on.
- A dot, or a pair, of this life that it has not written shows that this machine was set back.
"""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.protocol.model.entry import HEAD_BYTES, Version
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.drops import Drops, Verdict
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.typed.body import decode, do_join, encode, versions_in
from kvgossip.protocol.typed.typed_record import (
    DOT_BYTES,
    TypedRecord,
    covers,
    dots_of,
    pairs_of,
    version_of_dot,
    without,
)


class Offer(NamedTuple):
    """`rest`: what may be merged, None where that is nothing. `gone`: the dots that were refused
    since they were collected here; `doubted`: those that were dropped on another's word.
    `all_gone`: no value is left."""

    rest: bytes | None
    gone: list[bytes]
    doubted: list[bytes]
    all_gone: bool = False


class TypedOffers:
    """Of one replica."""

    def __init__(self, store: Store, tombstones: Tombstones) -> None:
        self._store, self._context = store, tombstones.context
        self._drops: Drops = tombstones.drops
        self._knows_about = tombstones.collecting.knows_about

    def lost(self, record: bytes) -> int | None:
        """A time at which this life wrote something of this record, and does not know."""
        context, typed = self._context, decode(record)
        lost = [
            dot[:8]
            for dot in (*dots_of(typed), *pairs_of(typed))
            if dot[8:] == context.own and not context.covers_dot(dot)
        ]
        return int.from_bytes(min(lost), "big") if lost else None

    def sort_out(self, key: str, record: bytes, now: Now) -> Offer:
        """What of this record, of a known type, may be merged here."""
        here = self._store.record(key)
        mine = decode(here) if here is not None and do_join(here, record) else None
        if here is not None and mine is None and here[1:HEAD_BYTES] > record[1:HEAD_BYTES]:
            return Offer(record, [], [])  # it is superseded, as a whole
        offered = decode(record)
        doubted: list[bytes] = []
        verdicts: dict[bytes, bool] = {}

        def covered(dot: bytes) -> bool:
            if dot not in verdicts:  # values that were written together share it
                verdicts[dot] = self._is_gone(dot, mine, doubted, now)
            return verdicts[dot]

        rest, refused = without(offered, mine, covered)
        if not refused:
            return Offer(record, [], [])
        gone = [each[:DOT_BYTES] for each in refused if each[:DOT_BYTES] not in doubted]
        known = all(
            self._knows_about(version_of_dot(pair), now.wall_ms) for pair in pairs_of(offered)
        )
        if not rest.values and mine is None and known:
            return Offer(None, gone, doubted, all_gone=True)
        return Offer(encode(rest), gone, doubted, all_gone=not rest.values)

    def _is_gone(
        self, dot: bytes, mine: TypedRecord | None, doubted: list[bytes], now: Now
    ) -> bool:
        if mine is not None and covers(mine.seen, dot):
            return False
        if self._drops.hearsay:
            verdict = self._drops.judge_version(dot, now)
            if verdict is Verdict.REFUSE:
                doubted.append(dot)
            if verdict is not Verdict.NONE:
                return verdict is Verdict.REFUSE
        return self._context.covers_dot(dot)

    def merged(self, key: str, rest: bytes) -> None:
        """To be called when that was merged, be it news or not."""
        mine = self._store.record(key)
        held = OrderedSet[Version]() if mine is None else OrderedSet(versions_in(mine))
        for version in versions_in(rest):
            if version not in held:
                self._context.add(version)
