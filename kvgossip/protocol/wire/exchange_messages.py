"""The messages of anti-entropy, which the two sides of an exchange send each other (initiator.py,
responder.py).

All go over a TCP link. Kinds 15 to 24, and 30 to 32.

    A ==Sketch==> B ==Decoded|Symbols==> A    few differences: all of them, at once
    A ==Want==> B ==Entries==> A              the entries that A lacks, by the symbols
    A ==Compare==> B ==Differ==> A            many differences: level by level
    A ==Leaves==> B ==Entries==> A            what A lacks, and which of A's B wants
    A ==Push==> B ==Merged==> A               what B wanted
    A ==Conclude==> B ==Concluded==> A        what each of them had ever merged (causal_context.py)
    A ==any question==> B ==OtherPositions==> A    where B places keys by another seed

`exchange`: 32 random bits, then the 32 of the tag of the seed by which its initiator places keys
(store/digest.py).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kvgossip.errors import RemoteError
from kvgossip.protocol.model.member import Count, SyncState
from kvgossip.protocol.wire.message import Levels, Message, Notice, Pair


class Compare(Message, frozen=True):
    """My fingerprints on one level: 16 children for each of `parents` (32-bit numbers), or, on
    level 0, the root alone.

    `fingerprints`: 64-bit numbers. `levels`: how deep my tree is. `members`: a digest of my member
    table. All numbers big-endian. `context`: a summary of my context, in the first message of an
    exchange.
    """

    kind = 15
    question = True
    needs_link = True
    exchange: Count
    request: Count
    levels: Levels
    level: Annotated[int, Meta(ge=0, le=4)]
    parents: bytes
    fingerprints: bytes
    members: Count
    sender: Annotated[str, Meta(max_length=128)] = ""
    context: bytes = b""


class Differ(Message, frozen=True):
    """The compared buckets that differ here (32-bit numbers).

    In the first answer of an exchange, `site` is my life, and `context` what my context says where
    yours differs.
    """

    kind = 16
    exchange: Count
    request: Count
    levels: Levels
    differing: bytes
    members: Count
    sync_state: SyncState
    site: Count = 0
    context: bytes = b""


class Leaves(Message, frozen=True):
    """I have this in these buckets: for each of `buckets` a number of entries in `counts` (both
    32-bit), then all their fingerprints."""

    kind = 17
    question = True
    needs_link = True
    exchange: Count
    request: Count
    level: Levels
    buckets: bytes
    counts: bytes
    fingerprints: bytes


class Entries(Message, frozen=True):
    """The entries that you lack in the first `answered` of the buckets (of the fingerprints, where
    it answers Want), perhaps some of the next one.

    `wanted`: fingerprints that I lack. `left_out`: you lack these too, and they are too long for
    you.
    """

    kind = 18
    exchange: Count
    request: Count
    answered: Count
    entries: tuple[Pair, ...]
    wanted: bytes
    left_out: tuple[Notice, ...] = ()


class Push(Message, frozen=True):
    """The entries that you wanted. `left_out` as in Entries."""

    kind = 19
    question = True
    needs_link = True
    exchange: Count
    request: Count
    entries: tuple[Pair, ...]
    left_out: tuple[Notice, ...] = ()


class Merged(Message, frozen=True):
    """I have what you pushed; `news` of these entries were news to me, `refused` I cannot accept.

    `collected`: fingerprints of those that I once held, and have collected since; for an expiry, if
    at all, of up to `expired_ms`, milliseconds since 1970. `parts`: the same of values of typed
    entries: the fingerprint of the entry, and the dot, 24 bytes each.
    """

    kind = 20
    exchange: Count
    request: Count
    news: Count = 0
    refused: Count = 0
    collected: bytes = b""
    expired_ms: Count = 0
    parts: bytes = b""


class Sketch(Message, frozen=True):
    """The first symbols of my sketch. `parities`: two bits for each group of buckets of my tree,
    from which to guess how much differs."""

    kind = 21
    question = True
    needs_link = True
    exchange: Count
    request: Count
    levels: Levels
    parities: bytes
    symbols: bytes
    members: Count
    sender: Annotated[str, Meta(max_length=128)] = ""
    context: bytes = b""


class Decoded(Message, frozen=True):
    """The whole difference: the entries that you lack, `offered` fingerprints of those that found
    no room, `wanted` ones I lack. `left_out` as in Entries."""

    kind = 22
    exchange: Count
    request: Count
    levels: Levels
    entries: tuple[Pair, ...]
    offered: bytes
    wanted: bytes
    members: Count
    sync_state: SyncState
    site: Count = 0
    context: bytes = b""
    left_out: tuple[Notice, ...] = ()


class Symbols(Message, frozen=True):
    """Your symbols were too few: here are mine, as many as it should take. Without any: descend the
    tree."""

    kind = 23
    exchange: Count
    request: Count
    levels: Levels
    symbols: bytes
    members: Count
    sync_state: SyncState
    site: Count = 0
    context: bytes = b""


class Want(Message, frozen=True):
    """Send me the entries with these fingerprints; Entries answers."""

    kind = 24
    question = True
    needs_link = True
    exchange: Count
    request: Count
    fingerprints: bytes


class Conclude(Message, frozen=True):
    """All is said. `context`: facts that you lack, of mine when the exchange began; empty where you
    did not get all that I held then.

    `collected`: fingerprints of entries of yours that I have collected; `expired_ms` and `parts` as
    in Merged. Meant for the life `site` alone.
    """

    kind = 30
    question = True
    needs_link = True
    exchange: Count
    request: Count
    site: Count
    context: bytes
    collected: bytes
    expired_ms: Count = 0
    parts: bytes = b""


class Concluded(Message, frozen=True):
    """The life `site` has taken that over, and `dropped` so many of its entries."""

    kind = 31
    exchange: Count
    request: Count
    site: Count
    dropped: Count = 0


PART_BYTES = 24


def parts_of(named: bytes) -> list[bytes]:
    """`parts` of Merged or Conclude, one by one. Raises RemoteError."""
    if len(named) % PART_BYTES:
        raise RemoteError("bad_message", "parts that are cut off")
    return [named[at : at + PART_BYTES] for at in range(0, len(named), PART_BYTES)]


class OtherPositions(Message, frozen=True):
    """I place keys by another seed than you did in this exchange: it ends. One of us has not heard
    yet of which cluster id we are."""

    kind = 32
    exchange: Count
