"""Answers to the questions of an exchange, as functions of the store alone. They keep nothing, so
the answering side may restart, forget, or be asked twice without harm. Questions that make no sense
raise RemoteError.

No answer is longer than ENTRIES_MAX entries or the room of the peer, but for one that holds a
single larger entry: that bounds how long the event loop is held, and how much waits for a peer. An
answer names the entries that found no room, and the initiator asks for them again; what is too long
for the peer altogether is left out, and noticed (left_out.py).

A question that is short may still ask for much work: for all buckets, or for thousands of
fingerprints. So what costs much is done in steps of some milliseconds (backlog.py): a bucket is
listed lazily, part by part, and ends where the answer is full; and no more is answered at once than
LOOKS_MAX and WANTED_MAX say. Of a sketch no more symbols are peeled than SKETCHED_MAX: an honest
one asks with 16.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator

from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.difference import differing_keys, symbols_for
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store.digest import FAN_OUT
from kvgossip.protocol.store.sketch import shortened
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.store.symbols import SYMBOL_BYTES
from kvgossip.protocol.wire.batching import Batch, Room, chunks, pack, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.message import Pair

LOOKS_A_STEP, LOOKS_A_PART, LOOKS_MAX = 8192, 32, 65_536
"""How many entries are looked at; to find each part of a bucket costs as much as some of them."""
WANTED_A_STEP, WANTED_MAX = 256, 2048
SKETCHED_MAX = 256
_NOT_LISTED = object()


def answer_compare(store: Store, asked: Compare, members: int, sync_state: SyncState) -> Differ:
    """The buckets that differ here. `members`: the digest of this node's member table."""
    digest, parents, theirs = (
        store.digest,
        unpack("I", asked.parents),
        unpack("Q", asked.fingerprints),
    )
    differing: list[int] = []
    if asked.level == 0:
        differing = [] if theirs.tolist() == [digest.root] else [0]
    else:
        existing = FAN_OUT ** (asked.level - 1)
        if (
            len(theirs) != len(parents) * FAN_OUT
            or len(parents) > existing
            or max(parents, default=0) >= existing
        ):
            raise RemoteError("bad_message", "a comparison of buckets that do not exist")
        if asked.level > digest.levels:
            # a deeper tree than ours: all of it may differ, and the asker goes on at our deepest
            # level
            return Differ(
                exchange=asked.exchange,
                request=asked.request,
                levels=digest.levels,
                differing=pack("I", (p * FAN_OUT for p in parents)),
                members=members,
                sync_state=sync_state,
            )
        ours = digest.sums(asked.level)
        for place, parent in enumerate(parents):
            first, at = parent * FAN_OUT, place * FAN_OUT
            if ours[first : first + FAN_OUT] != theirs[at : at + FAN_OUT]:
                differing += [
                    first + child
                    for child in range(FAN_OUT)
                    if ours[first + child] != theirs[at + child]
                ]
    return Differ(
        exchange=asked.exchange,
        request=asked.request,
        levels=digest.levels,
        differing=pack("I", differing),
        members=members,
        sync_state=sync_state,
    )


def answer_leaves(store: Store, asked: Leaves, room: Room) -> Generator[None, None, Entries]:
    """The entries that the asker lacks in these buckets, as far as there is room, and the
    fingerprints that are wanted of it, in steps."""
    buckets, counts, theirs = (
        unpack("I", asked.buckets),
        unpack("I", asked.counts),
        unpack("Q", asked.fingerprints),
    )
    if (
        asked.level > store.digest.levels
        or len(buckets) != len(counts)
        or sum(counts) != len(theirs)
    ):
        raise RemoteError("bad_message", "leaves that do not add up")
    if max(buckets, default=0) >= FAN_OUT**asked.level:
        raise RemoteError("bad_message", "leaves of a bucket that does not exist")
    answer, wanted, at, answered, looked = Batch(room), array("Q"), 0, 0, 0
    for bucket, count in zip(buckets, counts, strict=True):
        listed = OrderedSet[int]()
        for first in range(at, at + count, LOOKS_A_STEP):
            listed |= dict.fromkeys(theirs[first : min(first + LOOKS_A_STEP, at + count)])
            if count > LOOKS_A_STEP:
                yield
        at += count
        is_whole = True
        for part in store.parts_of(asked.level, bucket):
            is_whole = all(answer.add(pair) for pair in _lacking(store, part, listed))
            before, looked = looked, looked + len(part) + LOOKS_A_PART
            if not is_whole:
                break
            if looked // LOOKS_A_STEP > before // LOOKS_A_STEP:
                yield
        if not is_whole:
            # what is wanted in it is said when it is asked for again
            break
        wanted.extend(listed)
        answered += 1
        if looked >= LOOKS_MAX:
            break
    return Entries(
        exchange=asked.exchange,
        request=asked.request,
        answered=answered,
        entries=answer.taken,
        wanted=pack("Q", wanted),
        left_out=answer.left_out,
    )


def _lacking(store: Store, part: list[Pair], listed: OrderedSet[int]) -> Iterator[Pair]:
    """Those of these entries that are not listed; the others are taken off the list."""
    if not listed:
        return iter(part)
    fingerprints = store.digest.fingerprints(part)
    return (
        pair
        for fingerprint, pair in zip(fingerprints, part, strict=True)
        if listed.pop(fingerprint, _NOT_LISTED) is _NOT_LISTED
    )


def answer_sketch(
    store: Store, asked: Sketch, room: Room, members: int, sync_state: SyncState
) -> Decoded | Symbols:
    """The difference, where the asker's symbols are enough; else our own symbols, as many as it
    should take; else none."""
    if len(asked.symbols) % SYMBOL_BYTES or not asked.symbols:
        raise RemoteError("bad_message", "symbols that are cut off")
    levels = store.digest.levels
    symbols = shortened(asked.symbols, SKETCHED_MAX)
    found = store.sketch.decode(symbols) if store.sketch.ready else None
    if found is None:
        wanted = (
            symbols_for(differing_keys(store.digest, asked.parities)) if store.sketch.ready else 0
        )
        return Symbols(
            exchange=asked.exchange,
            request=asked.request,
            levels=levels,
            symbols=store.sketch.prefix(wanted) if wanted else b"",
            members=members,
            sync_state=sync_state,
        )
    here, answer, offered = store.find(found), Batch(room), array("Q")
    for fingerprint, key in here.items():
        if not answer.add((key, store[key])):
            offered.append(fingerprint)
    missing = pack("Q", (fingerprint for fingerprint in found if fingerprint not in here))
    return Decoded(
        exchange=asked.exchange,
        request=asked.request,
        levels=levels,
        entries=answer.taken,
        offered=pack("Q", offered),
        wanted=missing,
        members=members,
        sync_state=sync_state,
        left_out=answer.left_out,
    )


def answer_want(store: Store, asked: Want, room: Room) -> Generator[None, None, Entries]:
    """The entries with these fingerprints, as far as there is room, in steps; those that have
    changed meanwhile are rumors of their own."""
    fingerprints = unpack("Q", asked.fingerprints)[:WANTED_MAX]
    answer, answered = Batch(room), 0
    for chunk in chunks(fingerprints, WANTED_A_STEP):
        if answered:
            yield
        here = store.find(chunk)
        for fingerprint in chunk:
            key = here.get(fingerprint)
            if key is not None and not answer.add((key, store[key])):
                break
            answered += 1
        else:
            continue
        break
    return Entries(
        exchange=asked.exchange,
        request=asked.request,
        answered=answered,
        entries=answer.taken,
        wanted=b"",
        left_out=answer.left_out,
    )
