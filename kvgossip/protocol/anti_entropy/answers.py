"""Answers to the questions of an exchange, as functions of the store alone. They keep nothing, so
the answering side may restart, forget, or be asked twice without harm. Questions that make no sense
raise RemoteError.

No answer is longer than ENTRIES_MAX entries or the room of the peer, but for one that holds a
single larger entry: that bounds how long the event loop is held, and how much waits for a peer. An
answer names the entries that found no room, and the initiator asks for them again; what is too long
for the peer altogether is left out, and noticed (left_out.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.difference import differing_keys, symbols_for
from kvgossip.protocol.model.member import SyncState
from kvgossip.protocol.store.digest import FAN_OUT
from kvgossip.protocol.store.sketch import SYMBOL_BYTES
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.batching import Batch, Room, pack, unpack
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
        if len(theirs) != len(parents) * FAN_OUT or any(
            parent >= FAN_OUT ** (asked.level - 1) for parent in parents
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


def answer_leaves(store: Store, asked: Leaves, room: Room) -> Entries:
    """The entries that the asker lacks in these buckets, as far as there is room, and the
    fingerprints that are wanted of it."""
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
    if any(bucket >= FAN_OUT**asked.level for bucket in buckets):
        raise RemoteError("bad_message", "leaves of a bucket that does not exist")
    answer, wanted, at, answered = Batch(room), array("Q"), 0, 0
    for bucket, count in zip(buckets, counts, strict=True):
        lacking, missing = _difference(store, asked.level, bucket, theirs[at : at + count])
        at += count
        wanted.extend(missing)
        if not all(answer.add(pair) for pair in lacking):
            break
        answered += 1
    return Entries(
        exchange=asked.exchange,
        request=asked.request,
        answered=answered,
        entries=answer.taken,
        wanted=pack("Q", wanted),
        left_out=answer.left_out,
    )


def _difference(
    store: Store, level: int, bucket: int, theirs: array[int]
) -> tuple[Iterator[Pair], list[int]]:
    """(the records they lack, the fingerprints I lack) of one bucket."""
    if not theirs:
        return store.entries_in(level, bucket), []
    mine = dict(
        zip(store.fingerprints_in(level, bucket), store.entries_in(level, bucket), strict=True)
    )
    listed = dict.fromkeys(theirs)
    lacking = (pair for fingerprint, pair in mine.items() if fingerprint not in listed)
    return lacking, [fingerprint for fingerprint in listed if fingerprint not in mine]


def answer_sketch(
    store: Store, asked: Sketch, room: Room, members: int, sync_state: SyncState
) -> Decoded | Symbols:
    """The difference, where the asker's symbols are enough; else our own symbols, as many as it
    should take; else none."""
    if len(asked.symbols) % SYMBOL_BYTES or not asked.symbols:
        raise RemoteError("bad_message", "symbols that are cut off")
    levels = store.digest.levels
    found = store.sketch.decode(asked.symbols) if store.sketch.ready else None
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


def answer_want(store: Store, asked: Want, room: Room) -> Entries:
    """The entries with these fingerprints, as far as there is room; those that have changed
    meanwhile are rumors of their own."""
    fingerprints = unpack("Q", asked.fingerprints)
    here, answer, answered = store.find(fingerprints), Batch(room), 0
    for fingerprint in fingerprints:
        key = here.get(fingerprint)
        if key is not None and not answer.add((key, store[key])):
            break
        answered += 1
    return Entries(
        exchange=asked.exchange,
        request=asked.request,
        answered=answered,
        entries=answer.taken,
        wanted=b"",
        left_out=answer.left_out,
    )
