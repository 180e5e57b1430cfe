"""Survey: the members that differ from this node right now, and by how many keys.

    A ==Measure==> each member ==Measured==> A

The question carries the root, a prefix of the sketch and the parities of the digest. So the
answering side can tell a small difference exactly, a larger one as an estimate, and of a very large
one that it is at least so large (see Precision). A survey repairs nothing. Who places keys by
another seed, which the number names, cannot tell, and does not answer.

A survey of releases asks what the processes of each member made of those under a prefix:

    A ==AskApplied==> each member ==AppliedHere==> A

A survey of overviews asks what each member says of itself, and of setups also how it is set up:

    A ==AskOverview==> each member ==Overview==> A

A survey of stories asks what happened to a key on each member (model/story.py):

    A ==AskStory==> each member ==StoryHere==> A

One limit of "exactly": a key that only one side has and another one that only the other side has,
in one of 65,536 positions, count as one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum, auto
from random import Random

from kvgossip.errors import OverloadedError, RemoteError
from kvgossip.protocol.anti_entropy.difference import estimated_keys, parities
from kvgossip.protocol.effect import (
    AppliedReported,
    OverviewReported,
    StoryReported,
    Surveyed,
)
from kvgossip.protocol.model.entry import HEAD_BYTES, is_dead
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.model.story import Story, Watch
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.digest import POSITION_BITS, DigestTree
from kvgossip.protocol.store.sketch import SYMBOLS_MAX, shortened
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.store.symbols import SYMBOL_BYTES
from kvgossip.protocol.wire.message import Measure, Measured, Precision
from kvgossip.protocol.wire.overview_messages import AskOverview, Overview
from kvgossip.protocol.wire.release_messages import AppliedHere, AskApplied
from kvgossip.protocol.wire.story_messages import AskStory, StoryHere

SYMBOLS = 512
SURVEYS_MAX = 64
NUMBER_BITS = 32


class Topic(Enum):
    """What a survey asks of the members."""

    #: by how many keys they differ
    DATA = auto()
    #: what their processes made of the releases under a prefix
    APPLIED = auto()
    #: what they say of themselves
    OVERVIEW = auto()
    #: the same, and how they are set up
    SETUP = auto()
    #: what happened to a key there
    STORY = auto()


def question(
    store: Store, number: int, sender: str, topic: Topic = Topic.DATA, subject: str | Watch = ""
) -> Measure | AskApplied | AskOverview | AskStory:
    """The message that asks; `subject` as in Replica.survey."""
    if isinstance(subject, Watch):
        return AskStory(number, sender, watch=subject)
    if topic is Topic.STORY:
        return AskStory(number, sender, subject)
    if topic in (Topic.OVERVIEW, Topic.SETUP):
        return AskOverview(number, sender, setup=topic is Topic.SETUP)
    if topic is Topic.APPLIED:
        return AskApplied(number, sender, subject)
    symbols = store.sketch.prefix(SYMBOLS) if store.sketch.ready else b""
    return Measure(
        number=number,
        sender=sender,
        root=store.digest.root,
        parities=parities(store.digest),
        symbols=symbols,
    )


def measure(store: Store, asked: Measure) -> tuple[int, Precision]:
    """By how many keys this store differs from the asker's. Raises RemoteError when the question
    makes no sense here."""
    if not store.digest.has_numbered(asked.number):
        raise RemoteError("other_positions")
    if len(asked.symbols) % SYMBOL_BYTES or len(asked.symbols) > SYMBOLS_MAX * SYMBOL_BYTES:
        raise RemoteError("bad_message", "symbols that are cut off")
    if asked.root == store.digest.root:
        return 0, Precision.EXACT
    symbols = shortened(asked.symbols, SYMBOLS)
    found = store.sketch.decode(symbols) if symbols and store.sketch.ready else None
    if found is not None:
        return differing_keys_in(found, store.find(found)), Precision.EXACT
    keys, is_all = estimated_keys(store.digest, asked.parities)
    return max(1, round(keys)), Precision.ESTIMATE if is_all else Precision.AT_LEAST


def differing_keys_in(fingerprints: Iterable[int], here: Collection[int]) -> int:
    """How many keys have these fingerprints, of which those of `here` are of this side: a key that
    both have in different versions shows as two in one position, one of them ours."""
    ours: dict[int, int] = {}
    theirs: dict[int, int] = {}
    for fingerprint in fingerprints:
        counts = ours if fingerprint in here else theirs
        position = fingerprint >> (64 - POSITION_BITS)
        counts[position] = counts.get(position, 0) + 1
    return sum(
        max(ours.get(position, 0), theirs.get(position, 0))
        for position in dict.fromkeys([*ours, *theirs])
    )


def story_here(
    number: int, sender: str, key: str, story: Story, store: Store, now: Now
) -> StoryHere:
    """What this node has of the story of a key."""
    record = store.record(key)
    return StoryHere(
        number=number,
        sender=sender,
        watch=story.watch(now),
        covers=story.covers(key),
        since_ms=story.since_ms,
        until_ms=max(story.until_ms(now), 0),
        holds=b"" if record is None else record[1:HEAD_BYTES],
        deleted=record is not None and is_dead(record),
        expired=store.is_expired(key),
        steps=tuple(story.of(key)),
    )


class Surveys:
    """The surveys under way at a replica; the driver ends them."""

    def __init__(self, outbox: Outbox, rng: Random) -> None:
        self._outbox, self._rng = outbox, rng
        #: by the number of the question on the wire
        self._tickets: dict[int, int] = {}

    def begin(self, ticket: int, digest: DigestTree) -> int:
        """The number of its question on the wire, which is about this tree. Raises OverloadedError
        where too many are under way."""
        if len(self._tickets) >= SURVEYS_MAX:
            raise OverloadedError(f"{SURVEYS_MAX} surveys are under way already", "try again")
        number = digest.numbered(self._rng.getrandbits(NUMBER_BITS))
        self._tickets[number] = ticket
        return number

    def end(self, ticket: int) -> None:
        self._tickets = {
            number: other for number, other in self._tickets.items() if other != ticket
        }

    def answered(self, answer: Measured, peer: Peer) -> None:
        ticket = self._tickets.get(answer.number)
        if ticket is not None:
            self._outbox.emit(Surveyed(ticket, peer, answer.root, answer.keys, answer.precision))

    def applied(self, answer: AppliedHere, peer: Peer) -> None:
        ticket = self._tickets.get(answer.number)
        if ticket is not None:
            self._outbox.emit(AppliedReported(ticket, peer, answer.applied))

    def overview(self, answer: Overview, peer: Peer) -> None:
        ticket = self._tickets.get(answer.number)
        if ticket is not None:
            self._outbox.emit(OverviewReported(ticket, peer, answer))

    def story(self, answer: StoryHere, peer: Peer) -> None:
        ticket = self._tickets.get(answer.number)
        if ticket is not None:
            self._outbox.emit(StoryReported(ticket, peer, answer))
