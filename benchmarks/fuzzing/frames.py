"""Single frames of anybody, as datagrams and over links, to one of three receivers:

    open        frames are not sealed, so anybody may say anything
    member      frames are sealed, and the attacker has a key
    stranger    frames are sealed, and he has none, but has recorded what the receiver has taken:
                after every frame data, members, clock, standing and keyring are what they were; the
                only answers are refusals

Real frames, altered and made up ones (units.py) are cut, spliced, flipped, repeated, mixed, or
replaced by noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from benchmarks.fuzzing.outcome import Outcome
from benchmarks.fuzzing.units import few_of, mutated, prepared, recorded_units, summed
from benchmarks.fuzzing.victim import HERE, START, Victim
from kvgossip.config import KEY_BYTES, Address, Config
from kvgossip.protocol.effect import Effect, JoinRefused, Log, Send
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max, is_refusal
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.unit import encode
from kvgossip.sim.checks.violation import require

RECEIVERS = ("open", "member", "stranger")
SOURCES = [Address(f"10.9.0.{number}", 7481) for number in range(8)]
POOL = "lan:dc1"
MEMBERS_MAX = 64
UNITS = 3000
"""Of a batch."""
RESTS = 64
"""After so many frames the clock stands still until nothing is due."""
FRAME_S = 0.001


class Attack:
    """One batch against this receiver, which follows from `seed` and `batch`."""

    def __init__(self, receiver: str, seed: int, batch: int) -> None:
        self.outcome = Outcome(receiver)
        self._rng = rng = Random(f"{seed} {batch}")
        key, stolen = rng.randbytes(KEY_BYTES), rng.randbytes(KEY_BYTES)
        config = Config(
            name="n0",
            digest_levels=2,
            members_max=MEMBERS_MAX,
            keyring=() if receiver == "open" else (key.hex(),),
            value_bytes_max=10_000,
            rumors_max=64,
        )
        self.victim = Victim(config, rng)
        self.data = b""
        self._attacker, self._plain, self._friend = (
            Framing(config.cluster, POOL, frame_bytes_max(config)) for _ in range(3)
        )
        if receiver != "open":
            self._friend.seal_with(Keyring([key]), 2, 2, 10)
            self._attacker.seal_with(Keyring([key if receiver == "member" else stolen]), 1, 1, 10)
        self._units = prepared(UNITS, rng)
        self._recorded: list[bytes] = []

    def _settle_in(self) -> None:
        """Members, data, and a join under way; a stranger records what was said meanwhile."""
        victim, rng = self.victim, self._rng
        real = list(recorded_units().values())
        for number in range(1, 6):
            known = Member(
                f"n{number}", f"10.9.0.{number}", 7481, MemberState.ALIVE, number, 0, number, "dc1"
            )
            units = [encode(known), *(rng.choice(rng.choice(real)) for _ in range(2))]
            self._recorded.append(self._friend.frame(units))
            self._write(f"k{number}")
        for data in self._recorded:
            victim.receive(data, SOURCES[1], reliable=False)
        replica = victim.replica
        victim.input(lambda: replica.join([str(SOURCES[0])], START))
        victim.input(lambda: replica.resolved(str(SOURCES[0]), [SOURCES[0]], START))

    def _write(self, key: str) -> None:
        self.victim.input(lambda: list(self.victim.replica.put(key, b"value", START).effects))

    def frame(self, reliable: bool) -> bytes:
        """The next hostile frame."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.1:
            if rng.random() < 0.5:
                return rng.randbytes(rng.randrange(200))
            return rng.choice((self._attacker, self._plain)).refusal("go away")
        if draw < 0.25 and self.outcome.receiver == "stranger":
            recorded = rng.choice(self._recorded)
            return recorded if draw < 0.15 else mutated(recorded, rng.choice(self._recorded), rng)
        framing, units = self._attacker if draw < 0.9 else self._plain, few_of(self._units, rng)
        if draw < 0.5:
            return framing.frame(units, reliable=reliable)
        if self._attacker.seals is not None and draw < 0.7:
            # damaged before it is sealed: what only somebody with a key can send
            body = mutated(b"".join(units), b"\x05" * 40, rng)
            return self._attacker.frame([body], reliable=reliable)
        data = framing.frame(units, reliable=reliable)
        data = mutated(data, rng.choice(self._recorded), rng)
        # a liar knows how to make a checksum
        return summed(data) if rng.random() < 0.8 else data

    def state(self) -> tuple[Any, ...]:
        """All that must not change for a stranger."""
        replica, membership = self.victim.replica, self.victim.replica.pools.lan.membership
        seals = replica.pools.lan.gate.framing.seals
        return (
            replica.store.digest.root,
            dict(membership.members),
            replica.hlc.latest,
            replica.settling.sync_state,
            replica.keyring.ids if replica.keyring is not None else [],
            len(seals._senders) if seals is not None else 0,
        )

    def run(self, frames: int) -> None:
        """Raises whatever the replica raises, and BrokenLawError."""
        self._settle_in()
        victim, rng = self.victim, self._rng
        stranger = self.outcome.receiver == "stranger"
        before = self.state() if stranger else ()
        for number in range(frames):
            self.outcome.inputs = number + 1
            reliable = rng.random() < 0.5
            self.data = self.frame(reliable)
            effects = victim.receive(self.data, rng.choice(SOURCES), reliable=reliable)
            if stranger:
                _refuses(effects)
                require(self.state() == before, "a stranger has changed the state")
            else:
                # timers fire, so that what frames have set going is met by more of them
                victim.let_pass(FRAME_S)
                if not number % RESTS:
                    victim.come_to_rest()
        self.outcome.counts.update(
            {
                name.partition("dropped.")[2]: count
                for name, count in victim.replica.pools.lan.counters.items()
                if "dropped." in name
            }
        )


def _refuses(effects: Sequence[Effect]) -> None:
    """A stranger gets refusals, and lines of the log."""
    for effect in effects:
        refusal = isinstance(effect, Send) and is_refusal(effect.data) and effect.to != HERE
        if not (refusal or isinstance(effect, (Log, JoinRefused))):
            require(False, f"an effect for a stranger: {type(effect).__name__}")
