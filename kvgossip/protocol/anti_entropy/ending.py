"""Ending: what is learned and dropped at the end of an exchange, in steps of some milliseconds: it
may be a month's. Both sides use it.

Laws
- Each fact of a context is true by itself, so it may be learned before the others. But gaps come
  first: while there is one, nothing is collected.
- If the latest fact cannot be believed, none is: it is in the first portion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvgossip.protocol.anti_entropy.initiator import Exchange
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.tombstones.fact import Fact, Kind
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import chunks

FACTS_A_STEP = 1024
DROPPED_A_STEP = 512


def portions_of(facts: Sequence[Fact]) -> Iterator[Sequence[Fact]]:
    """These facts, in portions; one that is empty where there are none."""
    if len(facts) <= FACTS_A_STEP:
        yield facts
        return
    in_order = sorted(facts, key=lambda fact: fact[16] != Kind.GAP)
    yield [max(facts), *in_order[: FACTS_A_STEP - 1]]
    yield from chunks(in_order[FACTS_A_STEP - 1 :], FACTS_A_STEP)


def ending(exchange: Exchange, tombstones: Tombstones, now: Now) -> Iterator[None]:
    """The end of an exchange that this node began: it takes over the context of its peer, and takes
    out what that has collected."""
    for place, facts in enumerate(portions_of(exchange.context.learned)):
        if place:
            yield
        if not tombstones.learn(facts, exchange.peer, now):
            break
    for place, collected in enumerate(chunks(exchange.collected_by_peer, DROPPED_A_STEP)):
        if place:
            yield
        exchange.brought += tombstones.drops.in_exchange(
            collected, exchange.peer, exchange.expired_by_peer_ms, now
        )
    for parts in chunks(exchange.parts_by_peer, DROPPED_A_STEP):
        yield
        exchange.brought += tombstones.typed_drops.in_exchange(
            parts, exchange.peer, exchange.expired_by_peer_ms, now
        )
