"""Hostile messages: of each kind those that ask for the most work, as a member with the key may
send them. For `benchmarks.inputs`, and for tests."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.write import BATCH_ENTRIES_MAX
from kvgossip.protocol.rumors.batches import key_of
from kvgossip.protocol.store.sketch import SYMBOLS_MAX
from kvgossip.protocol.store.symbols import checksum, places
from kvgossip.protocol.tombstones.fact import Kind, fact_of
from kvgossip.protocol.wire.batching import pack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Concluded,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Merged,
    Push,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import (
    FACTS_OF_A_KIND_MAX,
    Bodies,
    Bundle,
    Examine,
    Feedback,
    Fetch,
    Gossip,
    Join,
    JoinReply,
    Measure,
    Message,
    Nack,
    Notice,
    Pair,
    Ping,
    Prune,
    Rumor,
)
from kvgossip.protocol.wire.unit import encode

ME = "liar"
LIST_BYTES = 1_200_000
"""So long a list fits into the longest frame."""
FETCHED, BATCH_VALUE_BYTES = 64, 900
"""So many batches may be asked for at once, of so long values that each is the longest that is
sent."""
MANY = 4000
"""So many units fit into one frame."""
_STEP = 0xDA942042E4DD58B5
_INVERSE = pow(_STEP, -1, 2**64)
_MASK = 2**64 - 1


class Hostile(NamedTuple):
    """One frame: what it tries, the kind that it is about, its units, and whether it answers an
    exchange that the victim has begun."""

    title: str
    kind: str
    units: list[bytes]
    answers: bool = False


class Victim(NamedTuple):
    """What the liar knows of it: the number of an exchange that he has begun there, some of its
    keys, its sketch as of now, its site and its clock."""

    exchange: int
    keys: Sequence[str]
    sketched: Callable[[], bytes]
    site: int
    wall_ms: int


def _numbers(kind: str, count: int, rng: Random, bits: int = 64) -> bytes:
    return pack(kind, (rng.getrandbits(bits) for _ in range(count)))


def _pairs(count: int, wall_ms: int, rng: Random, size: int = 0) -> tuple[Pair, ...]:
    """Entries of nobody's."""
    return tuple(
        (
            f"h{rng.getrandbits(40):x}",
            make_record(Version(wall_ms << 16, rng.getrandbits(63)), rng.randbytes(size)),
        )
        for _ in range(count)
    )


def facts(count: int, kind: int, wall_ms: int, rng: Random) -> bytes:
    """A context, encoded."""
    first = (wall_ms - 10 * count) << 16
    listed = sorted(
        (fact_of(first + (place << 16), rng.getrandbits(63), kind) for place in range(count)),
        reverse=True,
    )
    return bytes(8) + b"".join(listed)


def fake(name: str, port: int, site: int) -> Member:
    return Member(name, "192.0.2.1", port, MemberState.ALIVE, 1, 0, site, "dc1")


def chain(length: int = SYMBOLS_MAX, rounds: int = 1000, seed: int = 1) -> bytes:
    """Symbols that nothing but zeros is subtracted from, in which each round of peeling finds one
    fingerprint: each is alone in a symbol only when the one before it is gone."""
    rng, found, at = Random(seed), list[tuple[int, list[int]]](), 12
    while at < length - 2 and len(found) < rounds:
        best: tuple[int, list[int]] | None = None
        high, low = (1.5 / (at + 0.5)) ** 2, (1.5 / (at + 1.5)) ** 2
        for _ in range(10 * at):
            state = min(int((low + (high - low) * rng.random()) * 2.0**64), _MASK)
            fingerprint = state * _INVERSE & _MASK
            listed = list(places(fingerprint, length))
            if len(listed) > 2 and listed[1] == at and (best is None or listed[2] < best[1][2]):
                best = fingerprint, listed
            if best is not None and best[1][2] == at + 1:
                break
        if best is None:
            break
        found.append(best)
        at = best[1][2]
    sums = array("Q", (rng.getrandbits(64) | 1 for _ in range(length)))
    checks = array("I", (rng.getrandbits(32) for _ in range(length)))
    wanted = {listed[1]: [0, 0] for _, listed in found}
    for fingerprint, listed in found:
        before = wanted.pop(listed[1])
        sums[listed[1]] = fingerprint ^ before[0]
        checks[listed[1]] = checksum(fingerprint) ^ before[1]
        for place in listed[2:]:
            if place in wanted:
                wanted[place][0] ^= fingerprint
                wanted[place][1] ^= checksum(fingerprint)
    return pack("Q", sums) + pack("I", checks)


def minus(symbols: bytes, ours: bytes) -> bytes:
    """What a peer has to send so that a store with the prefix `ours` peels `symbols`."""
    number = int.from_bytes(symbols, "big") ^ int.from_bytes(ours, "big")
    return number.to_bytes(len(symbols), "big")


def symbols_of(count: int, length: int, rng: Random) -> bytes:
    """The prefix of a sketch of so many fingerprints."""
    sums, checks = [0] * length, [0] * length
    for _ in range(count):
        fingerprint = rng.getrandbits(64)
        for place in places(fingerprint, length):
            sums[place] ^= fingerprint
            checks[place] ^= checksum(fingerprint)
    return pack("Q", sums) + pack("I", checks)


def _of_membership(wall_ms: int, rng: Random) -> Iterator[Hostile]:
    ghosts = [encode(fake(f"g{place}", 1 + place % 60_000, place)) for place in range(MANY)]
    ping = Ping(1, ME, "victim", 1, wall_ms, SyncState.SETTLED)
    yield Hostile("thousands of pings", "Ping", [encode(ping)] * MANY)
    yield Hostile("thousands of nacks", "Nack", [encode(Nack(place)) for place in range(MANY)])
    yield Hostile("thousands of members", "Member", ghosts)
    yield Hostile(
        "thousands of lives of one member",
        "Member",
        [
            encode(Member("g1", "192.0.2.1", 1, MemberState.ALIVE, place, 0, place, "dc1"))
            for place in range(1, MANY)
        ],
    )
    join = Join(ME, 9)
    mine = encode(Member(ME, "10.0.0.9", 7481, MemberState.ALIVE, 1, 0, 9, "dc1"))
    yield Hostile("a join with thousands of members", "Join", [encode(join), mine, *ghosts])
    reply = JoinReply(ME, 9, "10.0.0.1", SyncState.SETTLED)
    yield Hostile("a reply with thousands of members", "JoinReply", [encode(reply), *ghosts])
    yield Hostile(
        "thousands of names to forget",
        "Prune",
        [encode(Prune(f"g{place}", 5, place)) for place in range(MANY)],
    )
    names = tuple(f"g{place}" for place in range(64))
    yield Hostile("an examination of 64 members", "Examine", [encode(Examine(1, ME, names))])
    yield Hostile("one unit, thousands of times", "unknown", [b"\x63\0\0\0\0"] * MANY)
    yield Hostile("a unit that is none", "bad", [b"\x01\0\0\0\x01\xc0"] * MANY)


def _of_rumors(keys: Sequence[str], wall_ms: int, rng: Random) -> Iterator[Hostile]:
    gossip = encode(Gossip(1, ME))
    fresh = _pairs(MANY, wall_ms, rng)
    yield Hostile(
        "thousands of rumors", "Rumor", [gossip, *(encode(Rumor(*pair)) for pair in fresh)]
    )
    yield Hostile(
        "thousands of rumors of keys that are here",
        "Rumor",
        [
            gossip,
            *(
                encode(Rumor(key, record))
                for key, (_, record) in zip(rng.choices(keys, k=MANY), fresh, strict=True)
            ),
        ],
    )
    yield Hostile(
        "thousands of notices",
        "Notice",
        [gossip, *(encode(Notice(f"n{place}", wall_ms << 16, 1, 5000)) for place in range(MANY))],
    )
    yield from _of_batches(keys, wall_ms, rng)
    yield Hostile(
        "bodies by the thousand", "Bodies", [encode(Bodies(_pairs(30_000, wall_ms, rng)))]
    )
    yield Hostile(
        "bodies, again and again",
        "Bodies",
        [encode(Bodies(_pairs(300, wall_ms, rng))) for _ in range(80)],
    )
    yield Hostile("a long feedback", "Feedback", [encode(Feedback(1, bytes(LIST_BYTES)))])
    asked = tuple(rng.choices(keys, k=64))
    yield Hostile("64 bodies", "Fetch", [encode(Fetch(asked))])


def _of_batches(keys: Sequence[str], wall_ms: int, rng: Random) -> Iterator[Hostile]:
    gossip = encode(Gossip(1, ME))

    def bundles(count: int, pairs: Callable[[], tuple[Pair, ...]]) -> list[bytes]:
        return [encode(Bundle(pairs())) for _ in range(count)]

    def here(size: int = 0) -> tuple[Pair, ...]:
        """New versions of keys that are here."""
        chosen = rng.sample(keys, min(BATCH_ENTRIES_MAX, len(keys)))
        fresh = _pairs(len(chosen), wall_ms, rng, size)
        return tuple((key, record) for key, (_, record) in zip(chosen, fresh, strict=True))

    def one_key() -> tuple[Pair, ...]:
        return tuple(("h", record) for _, record in _pairs(BATCH_ENTRIES_MAX, wall_ms, rng))

    def gone() -> tuple[Pair, ...]:
        return tuple(
            (key, make_record(Version(wall_ms << 16, rng.getrandbits(63)), None))
            for key, _ in here()
        )

    def fresh() -> tuple[Pair, ...]:
        return _pairs(BATCH_ENTRIES_MAX, wall_ms, rng)

    yield Hostile("batches", "Bundle", [gossip, *bundles(20, fresh)])
    yield Hostile("batches of keys that are here", "Bundle", [gossip, *bundles(20, here)])
    yield Hostile("batches of one key", "Bundle", [gossip, *bundles(20, one_key)])
    yield Hostile("batches of tombstones", "Bundle", [gossip, *bundles(20, gone)])
    yield Hostile("batches that nobody asked for", "Bundle", bundles(20, here))
    yield Hostile("a batch too many", "Bundle", [encode(Bundle(fresh() * 2))])
    # each is kept, for those who ask for it by its name
    kept: list[str] = []
    for _ in range(FETCHED):
        entries = here(BATCH_VALUE_BYTES)
        kept.append(key_of(entries))
        yield Hostile("a long batch", "Bundle", [encode(Bundle(entries))])
    yield Hostile("64 long batches", "Fetch", [encode(Fetch(tuple(kept)))])


def _of_exchanges(victim: Victim, rng: Random) -> Iterator[Hostile]:
    at, wall_ms, site = victim.exchange, victim.wall_ms, victim.site

    def hostile(title: str, *messages: Message) -> Hostile:
        return Hostile(title, type(messages[0]).__name__, [encode(each) for each in messages])

    def sketch(title: str, symbols: bytes) -> Hostile:
        asked = Sketch(at, 1, 4, bytes(256), symbols, 0, ME)
        return hostile(title, asked)

    yield sketch("a chain of symbols", minus(chain(), victim.sketched()))
    yield sketch("the most symbols of noise", rng.randbytes(12 * SYMBOLS_MAX))
    yield sketch(
        "4,096 symbols that give 2,800", minus(symbols_of(2800, 4096, rng), victim.sketched())
    )
    yield sketch("16 symbols", rng.randbytes(12 * 16))
    yield sketch("too many symbols", rng.randbytes(LIST_BYTES))
    facts_max = 4 * FACTS_OF_A_KIND_MAX
    long = bytes(32 * 16)
    yield hostile("a long summary", Compare(at, 1, 4, 0, b"", pack("Q", [5]), 0, ME, long))
    parents = [place % 4096 for place in range(8000)]
    yield hostile(
        "more parents than there are",
        Compare(at, 2, 4, 4, pack("I", parents), rng.randbytes(8 * 16 * len(parents)), 0, ME),
    )
    yield hostile(
        "all parents",
        Compare(at, 2, 4, 4, pack("I", range(4096)), rng.randbytes(8 * 16 * 4096), 0, ME),
    )
    buckets = list(range(65_536))
    rng.shuffle(buckets)
    yield hostile(
        "leaves of all buckets",
        Leaves(
            at,
            2,
            4,
            pack("I", buckets),
            pack("I", [1] * 65_536),
            _numbers("Q", 65_536, rng),
        ),
    )
    yield hostile(
        "leaves of one bucket, again and again",
        Leaves(
            at,
            2,
            4,
            pack("I", [1] * 65_536),
            pack("I", [1] * 65_536),
            _numbers("Q", 65_536, rng),
        ),
    )
    yield hostile(
        "a sixteenth of everything",
        Leaves(at, 2, 1, pack("I", [3]), pack("I", [1]), _numbers("Q", 1, rng)),
    )
    yield hostile(
        "a sixteenth of everything, with many fingerprints",
        Leaves(at, 2, 1, pack("I", [3]), pack("I", [140_000]), _numbers("Q", 140_000, rng)),
    )
    yield hostile("everything", Leaves(at, 2, 1, pack("I", range(16)), pack("I", [0] * 16), b""))
    yield hostile("fingerprints by the thousand", Want(at, 2, _numbers("Q", LIST_BYTES // 8, rng)))
    yield hostile("entries by the thousand", Push(at, 2, _pairs(30_000, wall_ms, rng)))
    yield hostile("a full message of small entries", Push(at, 2, _pairs(300, wall_ms, rng)))
    notices = tuple(Notice(f"l{place}", wall_ms << 16, 1, 2**30) for place in range(20_000))
    yield hostile("notices by the thousand", Push(at, 2, (), notices))
    for kind in Kind:
        yield hostile(
            f"a context of {facts_max:,} {kind.name.lower()} facts",
            Conclude(at, 3, site, facts(facts_max, kind, wall_ms, rng), b""),
        )
    yield hostile(
        "fingerprints that were collected",
        Conclude(at, 3, site, b"", _numbers("Q", LIST_BYTES // 8, rng)),
    )
    yield hostile(
        "a survey with the most symbols",
        Measure(at, ME, 5, bytes(256), minus(chain(seed=2), victim.sketched())),
    )
    yield hostile(
        "a survey that differs",
        Measure(at, ME, 5, bytes(256), minus(symbols_of(2800, 4096, rng), victim.sketched())),
    )


def _of_answers(victim: Victim, begin: Callable[[], int], rng: Random) -> Iterator[Hostile]:
    """Answers to the first question of an exchange that the victim has begun: `begin` lets it, and
    says its number."""
    wall_ms = victim.wall_ms

    def hostile(title: str, message: Message) -> Hostile:
        return Hostile(title, type(message).__name__, [encode(message)], answers=True)

    settled = SyncState.SETTLED
    facts_max = 4 * FACTS_OF_A_KIND_MAX
    yield hostile(
        "wanted by the thousand",
        Decoded(begin(), 1, 4, (), b"", _numbers("Q", LIST_BYTES // 8, rng), 0, settled),
    )
    yield hostile(
        "offered by the thousand",
        Decoded(begin(), 1, 4, (), _numbers("Q", LIST_BYTES // 8, rng), b"", 0, settled),
    )
    yield hostile(
        "entries by the thousand",
        Decoded(begin(), 1, 4, _pairs(30_000, wall_ms, rng), b"", b"", 0, settled),
    )
    for kind in Kind:
        yield hostile(
            f"a context of {facts_max:,} {kind.name.lower()} facts",
            Decoded(
                begin(), 1, 4, (), b"", b"", 0, settled, 5, facts(facts_max, kind, wall_ms, rng)
            ),
        )
    sketch = victim.sketched()
    yield hostile("a chain of symbols", Symbols(begin(), 1, 4, minus(chain(), sketch), 0, settled))
    sketch = victim.sketched()
    yield hostile(
        "4,096 symbols that give 2,800",
        Symbols(begin(), 1, 4, minus(symbols_of(2800, 4096, rng), sketch), 0, settled),
    )
    yield hostile("no symbols", Symbols(begin(), 1, 4, b"", 0, settled))
    yield hostile(
        "buckets by the thousand",
        Differ(
            begin(), 1, 4, pack("I", (place % 4096 for place in range(LIST_BYTES // 4))), 0, settled
        ),
    )
    yield hostile(
        "entries that were not asked for", Entries(begin(), 1, 1, _pairs(30_000, wall_ms, rng), b"")
    )
    yield hostile(
        "merged, and all collected", Merged(begin(), 1, 1, 0, _numbers("Q", LIST_BYTES // 8, rng))
    )
    yield hostile("the end", Concluded(begin(), 1, 1))


def hostile_frames(victim: Victim, seed: int = 1) -> Iterator[Hostile]:
    """All but answers."""
    rng = Random(seed)
    yield from _of_membership(victim.wall_ms, rng)
    yield from _of_rumors(victim.keys, victim.wall_ms, rng)
    yield from _of_exchanges(victim, rng)


def hostile_answers(victim: Victim, begin: Callable[[], int], seed: int = 1) -> Iterator[Hostile]:
    """Answers to the first question of an exchange: `begin` lets the victim begin one, and says its
    number."""
    return _of_answers(victim, begin, Random(seed))
