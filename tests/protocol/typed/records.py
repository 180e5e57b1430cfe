"""Typed records for tests, made by chance from a seed: any valid ones, and those that writes and
joins lead to, with a ledger of what was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import msgspec

from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.typed import add_wins_set, counter, extremum, field_map, siblings
from kvgossip.protocol.typed.field_map import Scalar
from kvgossip.protocol.typed.typed_record import (
    TypedRecord,
    context_of,
    delete,
    dot_of,
    empty,
    join,
)

TYPES = ("siblings", "counter", "set", "map", "max", "min")
SITES = (1, 2, 3)
WORDS = ("a", "b", "é")

pack = msgspec.msgpack.Encoder().encode


def dot(timestamp: int, site: int) -> bytes:
    return dot_of(Version(timestamp, site))


def pair(timestamp: int, site: int) -> dict[bytes, bytes]:
    """What has seen this much of a site."""
    return {site.to_bytes(8, "big"): timestamp.to_bytes(8, "big")}


def _scalar(rng: Random) -> Scalar:
    return rng.choice((None, True, -2, 7, 0.5, *WORDS))


def _field(rng: Random) -> bytes:
    kind = rng.randrange(3)
    content = (_scalar(rng), rng.randint(-3, 3), rng.choice(WORDS))[kind]
    return pack((rng.choice(WORDS), kind, content))


PAYLOADS: Mapping[str, Callable[[Random], bytes]] = {
    "siblings": lambda rng: pack(
        (
            rng.choice((b"", b"x")),
            rng.choice((None, "text/plain")),
            rng.randrange(2),
            rng.choice((None, None, 1, 3)),
        )
    ),
    "counter": lambda rng: pack(rng.randint(-3, 3)),
    "set": lambda rng: pack(rng.choice(WORDS)),
    "map": _field,
    "max": lambda rng: pack(rng.choice((-1, 2, 2.5, 3))),
    "min": lambda rng: pack(rng.choice((-1, 2, 2.5, 3))),
}


def any_record(type_: str, rng: Random) -> TypedRecord:
    """A valid one, whether writes lead to it or not."""
    values = OrderedSet[bytes]()
    for _ in range(rng.randint(1, 5)):
        payload = b"" if rng.random() < 0.3 else PAYLOADS[type_](rng)
        values.add(dot(rng.randint(1, 4), rng.choice(SITES)) + payload)
    seen: dict[bytes, bytes] = {}
    for site in SITES:
        if rng.random() < 0.6:
            seen |= pair(rng.randint(1, 4), site)
    others = rng.choice((b"", pack({"p": b"parent"}), pack({"t": "x", "z": [1, {"y": 2}]})))
    version = dot(rng.randint(5, 6), rng.choice(SITES))
    return TypedRecord(type_, version, OrderedSet(sorted(values)), seen, others)


def written(record: TypedRecord, at: bytes, rng: Random) -> TypedRecord:
    """After any write."""
    if rng.random() < 0.12:
        return delete(record, at)
    words = rng.sample(WORDS, rng.randint(1, 2))
    match record.type:
        case "siblings":
            context = context_of(record) if rng.random() < 0.5 else None
            return siblings.put(record, at, words[0].encode(), context=context)
        case "counter":
            return counter.add(record, at, rng.randint(-3, 3))
        case "set":
            act = add_wins_set.remove if rng.random() < 0.3 else add_wins_set.add
            return act(record, at, words)
        case "map":
            return _map_written(record, at, words, rng)
        case _:
            return extremum.put(record, at, rng.randint(-3, 3))


def _map_written(record: TypedRecord, at: bytes, words: list[str], rng: Random) -> TypedRecord:
    """Each kind has fields of its own, so that no write is refused."""
    match rng.randrange(5):
        case 0:
            return field_map.remove_field(record, at, rng.choice("rns") + words[0])
        case 1:
            return field_map.set_field(record, at, f"r{words[0]}", _scalar(rng))
        case 2:
            return field_map.add_to_counter(record, at, f"n{words[0]}", rng.randint(-3, 3))
        case 3:
            return field_map.add_elements(record, at, f"s{words[0]}", words)
        case _:
            return field_map.remove_elements(record, at, f"s{words[0]}", words)


def reached(type_: str, rng: Random) -> list[TypedRecord]:
    """What three nodes have, each of which has something, after writes and joins of some."""
    nodes = [written_first(type_, dot(clock, site), rng) for clock, site in enumerate(SITES, 1)]
    for clock in range(4, rng.randint(5, 16)):
        at = rng.randrange(len(SITES))
        if rng.random() < 0.5:
            nodes[at] = written(nodes[at], dot(clock, SITES[at]), rng)
        else:
            nodes[at] = join(nodes[at], rng.choice(nodes))
    return nodes


def written_first(type_: str, at: bytes, rng: Random) -> TypedRecord:
    record = empty(type_)
    while record.version != at:
        record = written(record, at, rng)
    return record
