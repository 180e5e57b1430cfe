"""Liar: a hostile one that has the key, and sends valid messages with false content.

    stranger   no member: it speaks from an address of its own, over datagrams and links that carry
               nothing back, and may name anybody as the sender
    member     one host of the cluster whose process is the real one: now and then it tells a lie of
               its own, and it twists some of what the process says. So exchanges begin as they
               should, and end in a lie

Laws
- What it writes are ordinary records, true or odd ones, of any site: whoever has a key may write.
  The checks count such a record once a correct node has taken it.
- Everything that it knows is right but what it says: it sees all fingerprints, sites and names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from msgspec.structs import replace

from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.hlc import timestamp_of
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.store.symbols import SYMBOL_BYTES
from kvgossip.protocol.tombstones.context_difference import ContextDifference, decode, encode
from kvgossip.protocol.tombstones.fact import Fact, Kind, fact_of
from kvgossip.protocol.wire.batching import pack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Conclude,
    Decoded,
    Differ,
    Merged,
    Sketch,
    Symbols,
)
from kvgossip.protocol.wire.message import (
    Ack,
    Confirm,
    Feedback,
    Gossip,
    Message,
    Ping,
    Prune,
    Rumor,
)
from kvgossip.sim.host import Life

FINGERPRINTS_MAX = 256
"""Of one lie."""
AHEAD_MS = (-3_600_000, -5_000, 0, 0, 400, 4_000, 3_600_000)
"""How far from now its records and claims lie."""
TWISTED_SHARE = 0.3
"""Of the messages that a hostile member's process sends."""
NUMBERS = 4
"""Numbers of exchanges and packets are small and few, so that some meet."""

Unit = Message | Member


class Liar:
    """`lives`: the correct nodes that run now. `true_ms`: the true time. `wrote(key, record)`
    hears of each record that it makes up."""

    def __init__(
        self,
        lives: Callable[[], Sequence[Life]],
        true_ms: Callable[[], int],
        wrote: Callable[[str, bytes], None],
        rng: Random,
    ) -> None:
        self._lives, self._true_ms, self._wrote, self._rng = lives, true_ms, wrote, rng

    # -- what it says of its own ------------------------------------------------------------------

    def lie(self, target: Life, names: Sequence[str]) -> tuple[list[Unit], bool]:
        """Messages for this node, of a sender that calls itself by one of these names; and whether
        they need a link."""
        kinds = (self._rumor, self._news, self._news, self._exchange, self._probe, self._answer)
        return self._rng.choice(kinds)(target, self._rng.choice(names))

    def _rumor(self, target: Life, name: str) -> tuple[list[Unit], bool]:
        gossip = Gossip(sequence=self._number(), sender=name, direct=self._rng.random() < 0.5)
        return [gossip, self._record(target)], False

    def _record(self, target: Life) -> Rumor:
        """Under a key that is in use; of its own site, or of anybody's, the target's too."""
        keys = sorted(target.witness.records)
        key = self._rng.choice(keys) if keys else "lie"
        site = self._rng.choice((1, self._site(target)))
        value = None if self._rng.random() < 0.2 else self._rng.randbytes(8)
        record = make_record(Version(self._time(), site), value)
        self._wrote(key, record)
        return Rumor(key, record)

    def _news(self, target: Life, name: str) -> tuple[list[Unit], bool]:
        """Of a member of its pool, perhaps of the target itself: it is suspect, dead or gone, in
        this life or a later one."""
        members = target.witness.members
        member = members[self._rng.choice(sorted(members))]
        return [self.obituary(member, name)], False

    def obituary(self, member: Member, name: str) -> Unit:
        """Word of a member: see `_news`."""
        if self._rng.random() < 0.1:
            return Prune.of(member)
        return replace(
            member,
            state=self._rng.choice((MemberState.SUSPECT, MemberState.DEAD, MemberState.LEFT)),
            incarnation=member.incarnation + self._rng.randrange(4),
            generation=member.generation + self._rng.choice((0, 0, 1, 60_000)),
            accuser=name,
        )

    def _exchange(self, target: Life, name: str) -> tuple[list[Unit], bool]:
        """One that nobody has begun, or that it begins itself, and ends at once."""
        exchange = self._exchange_with(target)
        if self._rng.random() < 0.5:
            return [self._opening(target, exchange, name)], True
        return [
            Conclude(
                exchange=exchange,
                request=9,
                site=target.replica.site,
                context=encode(ContextDifference(0, self._facts(target))),
                collected=self._fingerprints(target),
            )
        ], True

    def _opening(self, target: Life, exchange: int, name: str) -> Unit:
        if self._rng.random() < 0.5:
            return Compare(exchange, 1, 4, 0, b"", self._rng.randbytes(8), 0, name)
        return Sketch(exchange, 1, 4, b"\0" * 64, self._rng.randbytes(4 * SYMBOL_BYTES), 0, name)

    def _probe(self, target: Life, name: str) -> tuple[list[Unit], bool]:
        replica = target.replica
        root = self._rng.choice((replica.store.digest.root, self._rng.getrandbits(63)))
        if self._rng.random() < 0.5:
            ping = Ping(
                self._number(), name, replica.config.name, root, self._true_ms(), SyncState.SETTLED
            )
            return [replace(ping, held=self._time())], False
        ack = Ack(self._number(), name, root, self._true_ms(), SyncState.SETTLED)
        return [replace(ack, held=self._time(), future_ms=self._rng.choice((0, 60_000)))], False

    def _answer(self, target: Life, name: str) -> tuple[list[Unit], bool]:
        """To a question that was not asked of it."""
        number = self._number()
        answers: tuple[tuple[Unit, bool], ...] = (
            (Feedback(number, b"\xff" * 4, b"\xff" * 4), False),
            (Confirm(number, name, target.replica.site), False),
            (Merged(self._exchange_with(target), 2, collected=self._fingerprints(target)), True),
        )
        unit, reliable = self._rng.choice(answers)
        return [unit], reliable

    # -- what it makes of the words of an honest process ------------------------------------------

    def twists(self) -> bool:
        """True if the next frame is to be twisted."""
        return self._rng.random() < TWISTED_SHARE

    def twisted(self, target: Life, message: Unit) -> Unit:
        """A lie in the place of this message to the target."""
        if isinstance(message, Conclude):
            return replace(
                message,
                context=self._more(target, message.context),
                collected=self._fingerprints(target),
            )
        if isinstance(message, Merged):
            return replace(message, collected=self._fingerprints(target), refused=0)
        if isinstance(message, Feedback):
            return replace(message, collected=b"\xff" * len(message.known))
        if isinstance(message, (Decoded, Symbols, Differ)):
            return replace(message, context=self._more(target, message.context))
        if isinstance(message, (Ping, Ack)):
            return replace(message, held=self._time(), root=target.replica.store.digest.root)
        if isinstance(message, Rumor) and self._rng.random() < 0.2:
            return self._record(target)
        return message

    def _more(self, target: Life, context: bytes) -> bytes:
        said = decode(context)
        facts = [*said.facts, *self._facts(target)]
        return encode(ContextDifference(said.differing or 1, sorted(facts, reverse=True)))

    # -- what it knows, and makes up --------------------------------------------------------------

    def _facts(self, target: Life) -> list[Fact]:
        """Of sites that are there, or of one that nobody ever was."""
        rng = self._rng
        return [
            fact_of(
                self._time(),
                rng.getrandbits(64) if rng.random() < 0.2 else self._site(target),
                rng.choice(tuple(Kind)),
            )
            for _ in range(rng.randint(1, 3))
        ]

    def _fingerprints(self, target: Life) -> bytes:
        """Of all that the target has."""
        prints = target.replica.store.digest.fingerprints(target.witness.records.items())
        return pack("Q", prints[:FINGERPRINTS_MAX])

    def _site(self, target: Life) -> int:
        if self._rng.random() < 0.3:
            return target.replica.site
        return self._rng.choice(self._lives()).replica.site

    def _time(self) -> int:
        ahead_ms = self._rng.choice(AHEAD_MS)
        return timestamp_of(self._true_ms() + ahead_ms) + self._rng.randrange(16)

    def _exchange_with(self, target: Life) -> int:
        """The number of an exchange that the target takes for one about its keys."""
        return target.replica.store.digest.numbered(self._number())

    def _number(self) -> int:
        return self._rng.randrange(NUMBERS)
