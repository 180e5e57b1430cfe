"""Exchanges of a replica with a peer, another replica, that begin as they should and end in a lie.

The liar stands between the two, and has the key where there is one. Up to some moment of each
exchange it passes on what the peer says; from then on it says something else in the peer's name,
or beside it: counts that are wrong, fingerprints that nobody offered or that all are the victim's,
buckets that do not exist, symbols of nothing, entries with broken records, contexts of nobody,
another life, another number, messages again, in another order, in one frame, or cut off. So lies
meet each state that an exchange can have, on either side of it: the peer asks, and is asked.

Of some exchanges it leaves out the sketch's answer, so that both descend the tree. Now and then the
peer starts again: as another life, with nothing.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace as with_fields
from random import Random
from typing import Any

from msgspec.structs import replace

from benchmarks.fuzzing.outcome import Outcome
from benchmarks.fuzzing.units import VALUES, altered, mutated, prepared, summed
from benchmarks.fuzzing.victim import HERE, Victim
from kvgossip.config import KEY_BYTES, Address, Config
from kvgossip.errors import LocalError, RemoteError
from kvgossip.protocol.effect import Effect, Resolve, Send
from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.tombstones.context_difference import ContextDifference
from kvgossip.protocol.tombstones.context_difference import encode as encode_context
from kvgossip.protocol.tombstones.fact import Kind, fact_of
from kvgossip.protocol.wire.batching import pack
from kvgossip.protocol.wire.exchange_messages import Decoded, Symbols
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Gossip, Message, Notice, Pair, Pull
from kvgossip.protocol.wire.unit import UNIT_BYTES, encode

RECEIVERS = ("exchange-open", "exchange-sealed")
PEER = Address("10.9.0.1", 7481)
OTHERS = [Address(f"10.9.2.{number}", 7481) for number in range(4)]
FRAME_S = 0.001
KEYS = 400
DEEP = 10
"""Up to so many of the peer's messages of an exchange are passed on before the first lie."""
LIES = (0, 0, 1, 1, 2, 4, 8)
"""Beside a message, from then on."""
PASSED_SHARE = 0.6
"""Of the peer's own messages, from then on."""
LIFE_SHARE = 0.02
"""Of the exchanges begin with another life of the peer."""
TREE_SHARE = 0.3
REMEMBERED = 200

Unit = Message | Member


class Deception:
    """One batch against this receiver, which follows from `seed` and `batch`."""

    def __init__(self, receiver: str, seed: int, batch: int) -> None:
        self.outcome, self.data = Outcome(receiver), b""
        self._rng = rng = Random(f"exchanges {seed} {batch}")
        key = rng.randbytes(KEY_BYTES)
        sealed = receiver == RECEIVERS[1]
        self._config = Config(
            name="n0",
            digest_levels=2,
            keyring=(key.hex(),) if sealed else (),
            value_bytes_max=10_000,
            push_pull_interval_s=2.0,
            rumor_settling_s=0.1,
        )
        self.victim = Victim(self._config, rng, found=True)
        self._framing = Framing(self._config.cluster, "lan:dc1", frame_bytes_max(self._config))
        if sealed:
            self._framing.seal_with(Keyring([key]), 99, 1, 10)
        self._units = prepared(500, rng)
        #: frames under way: to whom, from whom, and what
        self._way: deque[tuple[Address, Address, Send]] = deque()
        self._said: deque[tuple[bytes, bool]] = deque(maxlen=REMEMBERED)
        #: how many messages of the peer are still passed on as they are, and whether the tree is
        #: to be descended
        self._honest, self._tree = 0, False
        self._wants = 0
        self._begin_life()

    # -- the course of it -------------------------------------------------------------------------

    def run(self, frames: int) -> None:
        """Raises whatever one of the replicas raises, and BrokenLawError."""
        self._wants = frames
        while self.outcome.inputs < frames:
            if self._rng.random() < LIFE_SHARE:
                self._begin_life()
            self._differ()
            self._exchange()
        counters = self.victim.replica.statistics()
        for name in ("exchanges_started", "exchanges_completed"):
            self.outcome.counts[name] += int(counters.get(name, 0))

    def _begin_life(self) -> None:
        """The peer begins, with nothing, and is taken in."""
        self._way.clear()
        seed, now = self._rng.getrandbits(64), self.victim.now
        config = with_fields(self._config, name="n1")
        self._peer = Replica(config, address=PEER, rng=Random(seed), now=now)
        self._perform(PEER, self._peer.join([str(HERE)], now))
        self._honest, self._tree = 3 * DEEP, False

    def _differ(self) -> None:
        """Either side writes what the other one does not hear of by rumors."""
        rng = self._rng
        for replica in (self.victim.replica, self._peer):
            for _ in range(rng.choice((0, 1, 1, 3, 40))):
                self._write(replica)
        self._honest, self._tree = rng.randrange(DEEP), rng.random() < TREE_SHARE

    def _write(self, replica: Replica) -> None:
        rng, now = self._rng, self.victim.now
        key = f"k{rng.randrange(KEYS)}"
        value = rng.randbytes(rng.choice((1, 20, 20, 300, 3000)))
        ttl_s = rng.choice((None, None, None, 5.0))

        def wrote() -> list[Effect]:
            try:
                if rng.random() < 0.2:
                    return replica.delete(key, now).effects
                return replica.put(key, value, now, ttl_s=ttl_s).effects
            except LocalError:
                # as where its peers' clocks seem to be others
                return []

        if replica is self.victim.replica:
            self._perform(HERE, self.victim.input(wrote))
        else:
            self._perform(PEER, wrote())

    def _exchange(self) -> None:
        """Until nobody says anything any more, and some time after that."""
        until_s = self.victim.now.monotonic_s + self._rng.choice((1.0, 3.0))
        while self._way or self.victim.now.monotonic_s < until_s:
            if self._way:
                self._carry(*self._way.popleft())
            else:
                self._let_pass()
            if self.outcome.inputs >= self._wants:
                return

    def _let_pass(self) -> None:
        victim, peer = self.victim, self._peer
        due_s = min(each.deadline() or math.inf for each in (victim.replica, peer))
        seconds = min(max(due_s - victim.now.monotonic_s, FRAME_S), 1.0)
        self._perform(HERE, victim.let_pass(seconds))
        self._perform(HERE, victim.come_to_rest())
        self._perform(PEER, peer.tick(victim.now))

    def _perform(self, source: Address, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Resolve) and source == PEER:
                found = self._peer.resolved(effect.target, [HERE], self.victim.now)
                self._perform(PEER, found)
            if not isinstance(effect, Send):
                continue
            if effect.to == (PEER if source == HERE else HERE):
                self._way.append((effect.to, source, effect))
            elif effect.reliable and source == HERE and self._rng.random() < 0.3:
                victim = self.victim
                lost = functools.partial(victim.replica.unreachable, effect.to, victim.now)
                self._perform(HERE, victim.input(lost))

    # -- what is carried --------------------------------------------------------------------------

    def _carry(self, to: Address, source: Address, sent: Send) -> None:
        """One frame, and what is said in its place or beside it."""
        try:
            opened = self._framing.open(
                sent.data, reliable=sent.reliable, replays=True, any_id=True
            )
        except RemoteError:
            # a refusal, or a frame of another id: nothing to twist
            return self._deliver(to, source, sent.data, sent.reliable)
        messages = opened.messages
        if any(isinstance(each, (Gossip, Pull)) for each in messages) and self._rng.random() < 0.9:
            # rumors would leave nothing to an exchange
            return None
        if self._tree:
            messages = [_no_symbols(each) for each in messages]
        if to == PEER:
            data = sent.data if messages == opened.messages else self._frame(messages, True)
            return self._deliver(to, source, data, sent.reliable)
        return self._lie(messages, sent)

    def _lie(self, messages: Sequence[Unit], sent: Send) -> None:
        """To the victim, in the peer's name."""
        rng = self._rng
        self._said.append((sent.data, sent.reliable))
        if self._honest > 0 or not sent.reliable:
            self._honest -= sent.reliable
            return self._deliver(HERE, PEER, self._frame(messages, sent.reliable), sent.reliable)
        lies = rng.choice(LIES)
        before = rng.randrange(lies + 1)
        for number in range(lies + 1):
            if number == before and rng.random() < PASSED_SHARE:
                self._deliver(HERE, PEER, self._frame(messages, True), True)
            elif number != before:
                reliable = rng.random() < 0.95
                source = PEER if rng.random() < 0.9 else rng.choice(OTHERS)
                self._deliver(HERE, source, self._twisted(messages, reliable), reliable)
        return None

    def _deliver(self, to: Address, source: Address, data: bytes, reliable: bool) -> None:
        victim = self.victim
        if to == PEER:
            effects = self._peer.receive(data, source, victim.now, reliable=reliable)
            return self._perform(PEER, effects)
        self.outcome.inputs += 1
        self.data = data
        self._perform(HERE, victim.receive(data, source, reliable=reliable))
        self._perform(HERE, victim.let_pass(FRAME_S))
        return None

    def _frame(self, units: Iterable[Unit], reliable: bool) -> bytes:
        return self._framing.frame(map(encode, units), reliable=reliable)

    # -- lies -------------------------------------------------------------------------------------

    def _twisted(self, messages: Sequence[Unit], reliable: bool) -> bytes:
        """A frame that says something else than these messages."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.1 or not messages:
            return self._again(*rng.choice(self._said))
        units = [self._false(each) if draw < 0.75 else encode(each) for each in messages]
        if draw >= 0.75:
            units = self._otherwise(units)
        data = self._framing.frame(units, reliable=reliable)
        if draw >= 0.95:
            data = summed(mutated(data, self._said[-1][0], rng))
        return data

    def _again(self, data: bytes, reliable: bool) -> bytes:
        """What was said before: the very bytes, or the same words under a seal of now."""
        if self._rng.random() < 0.5:
            return data
        try:
            opened = self._framing.open(data, reliable=reliable, replays=True, any_id=True)
        except RemoteError:
            return data
        return self._frame(opened.messages, reliable)

    def _otherwise(self, units: list[bytes]) -> list[bytes]:
        """The same units in another way: twice, turned round, with others among them, with fields
        of any kind, or longer than they are said to be."""
        rng = self._rng
        at = rng.randrange(len(units))
        draw = rng.randrange(5)
        if draw == 0:
            return units * rng.randrange(2, 6)
        if draw == 1:
            return [*reversed(units), rng.choice(self._units)]
        if draw == 2:
            units[at] = altered(units[at], rng)
        elif draw == 3:
            units.insert(at, rng.choice(self._units))
        else:
            body = mutated(units[at][UNIT_BYTES:] or b"\0", rng.choice(self._units), rng)
            units[at] = units[at][:1] + len(body).to_bytes(4, "big") + body
        return units

    def _false(self, message: Unit) -> bytes:
        """The same message with some fields that are false, of the kind that they should be."""
        rng, names = self._rng, message.__struct_fields__
        self.outcome.counts[type(message).__name__] += 1
        if isinstance(message, Member):
            return altered(encode(message), rng)
        count = 1 if rng.random() < 0.7 else rng.randrange(1, len(names) + 1)
        false = {
            field: self._value(field, getattr(message, field)) for field in rng.sample(names, count)
        }
        return encode(replace(message, **false))

    def _value(self, name: str, true: Any) -> Any:
        """Something false in the place of this field."""
        rng = self._rng
        if rng.random() < 0.03:
            return rng.choice(VALUES)
        match name:
            case "fingerprints" | "wanted" | "offered" | "collected":
                return self._fingerprints(true)
            case "parents" | "buckets" | "differing" | "counts":
                return self._numbers(true)
            case "entries":
                return tuple(self._entries(true))
            case "left_out":
                return tuple(self._notices())
            case "context":
                return self._context(true)
            case "symbols" | "parities":
                return self._symbols(true)
            case "site":
                return rng.choice((0, 1, self.victim.replica.site, rng.getrandbits(64)))
            case "sender":
                return rng.choice(("", "n0", "n1", "n2", "friend"))
        if isinstance(true, bool):
            return not true
        if isinstance(true, int):
            others = (0, 1, 2, 4, true + 1, abs(true - 1), 2 * true, 2**32, 2**63)
            return rng.choice(others) & (2**64 - 1)
        return rng.choice((true, true, *VALUES))

    def _fingerprints(self, true: bytes) -> bytes:
        """Those of the victim, of nobody, or some of the true ones; or no list at all."""
        rng, store = self._rng, self.victim.replica.store
        draw = rng.randrange(6)
        if draw == 0:
            keys = [f"k{rng.randrange(KEYS)}" for _ in range(rng.randrange(1, 100))]
            held = [(key, record) for key in keys if (record := store.record(key)) is not None]
            return pack("Q", store.digest.fingerprints(held))
        if draw == 1:
            return rng.randbytes(8 * rng.choice((1, 3, 300, 5000)))
        return _cut(true, 8, rng)

    def _numbers(self, true: bytes) -> bytes:
        """Buckets, or counts, that do not exist, are said twice, or are too many."""
        rng = self._rng
        draw = rng.randrange(6)
        if draw == 0:
            return pack("I", [rng.choice((0, 15, 16, 255, 256, 65_535, 2**32 - 1))])
        if draw == 1:
            return pack("I", [rng.randrange(512) for _ in range(rng.choice((2, 100, 3000)))])
        if draw == 2:
            return pack("I", range(rng.choice((16, 256, 4096))))
        return _cut(true, 4, rng)

    def _entries(self, true: Sequence[Pair]) -> list[Pair]:
        rng, entries = self._rng, list(true)
        draw = rng.randrange(6)
        if draw == 0:
            return entries[: rng.randrange(len(entries) + 1)]
        if draw == 1:
            return entries * 2
        key = rng.choice((f"k{rng.randrange(KEYS)}", "h", "a/\0b", "/x", "é" * 500))
        return [*entries, (key, self._record())]

    def _record(self) -> bytes:
        """Of any time and any life, or none."""
        rng = self._rng
        if rng.random() < 0.3:
            return rng.randbytes(rng.randrange(40))
        wall_ms = self.victim.now.wall_ms + rng.choice((-5000, 0, 0, 4000, 60_000))
        site = rng.choice((1, self.victim.replica.site, self._peer.site))
        value = None if rng.random() < 0.3 else rng.randbytes(rng.randrange(40))
        record = make_record(Version((wall_ms << 16) + rng.randrange(16), site), value)
        return mutated(record, bytes(40), rng) if rng.random() < 0.3 else record

    def _notices(self) -> list[Notice]:
        rng = self._rng
        return [
            Notice(f"k{rng.randrange(KEYS)}", self.victim.now.wall_ms << 16, 1, 2**30)
            for _ in range(rng.choice((0, 1, 50)))
        ]

    def _context(self, true: bytes) -> bytes:
        """Facts of nobody, of the victim's own life, or of the time to come; or noise."""
        rng = self._rng
        if rng.random() < 0.3:
            return _cut(true, 17, rng)
        sites = (self.victim.replica.site, self._peer.site, rng.getrandbits(64))
        facts = {
            fact_of(
                (self.victim.now.wall_ms + rng.choice((-5000, 0, 4000, 60_000))) << 16,
                rng.choice(sites),
                rng.choice(tuple(Kind)),
            )
            for _ in range(rng.choice((0, 1, 3, 200)))
        }
        return encode_context(ContextDifference(rng.randrange(4), sorted(facts, reverse=True)))

    def _symbols(self, true: bytes) -> bytes:
        rng = self._rng
        if rng.random() < 0.3:
            return rng.randbytes(rng.choice((12, 12 * 16, 12 * 200, 12 * 4096, 256)))
        return _cut(true, 12, rng)


def _no_symbols(message: Unit) -> Unit:
    """The answer to a sketch that has both sides descend the tree."""
    if not isinstance(message, Decoded):
        return message
    return Symbols(
        message.exchange,
        message.request,
        message.levels,
        b"",
        message.members,
        message.sync_state,
        message.site,
        message.context,
    )


def _cut(data: bytes, size: int, rng: Random) -> bytes:
    """A list of numbers of this size, shorter, longer, doubled, changed or cut off."""
    draw = rng.randrange(5)
    if draw == 0:
        return data[: size * rng.randrange(len(data) // size + 1)]
    if draw == 1:
        return data + rng.randbytes(size * rng.randrange(1, 4))
    if draw == 2:
        return data * 2
    if draw == 3 and data:
        return mutated(data, bytes(size), rng)
    return data[: max(len(data) - 1, 0)]
