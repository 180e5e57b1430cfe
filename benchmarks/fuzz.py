"""Hostile frames by the hundred thousand: does a replica ever raise, and does a sealed one ever
change for somebody without its key?

    python -m benchmarks.fuzz [--frames 500000] [--seed 1] [--jobs 2] [--batch 20000] [--json]

Real frames of all kinds of messages, recorded from simulated clusters and made up from the
declarations of the messages, are cut, spliced, flipped, repeated, mixed, or replaced by noise, and
handed to three receivers in turn, as datagrams and over links:

    open        frames are not sealed, so anybody may say anything: nothing may raise
    member      frames are sealed, and the attacker has a key: nothing may raise
    stranger    frames are sealed, and he has none, but has recorded what the receiver has taken:
                nothing may raise, and after every frame data, members, clock, standing and keyring
                are what they were; the only answers are refusals

Each batch has a replica and a generator of its own, so a batch that fails is repeated by its
number. `frames/s` includes making them.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Any

import msgspec

from benchmarks.report import Report, Row, Table, finish
from kvgossip.cli.sim.trials import run_trials
from kvgossip.config import KEY_BYTES, Address, Config
from kvgossip.protocol.effect import Effect, JoinRefused, Log, Send
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import (
    HEADER_BYTES,
    MEMBER_KIND,
    UNIT_BYTES,
    UNITS_AT,
    Framing,
    clear_frame,
    encode,
    frame_bytes_max,
    is_of_pool,
    is_refusal,
    is_sealed,
)
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Message
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.workload import Mix

RECEIVERS = ("open", "member", "stranger")
START = Now(1000.0, 1_700_000_000_000)
SOURCES = [Address(f"10.9.0.{number}", 7481) for number in range(8)]
UNITS_A_KIND = 64
MEMBERS_MAX = 64
FRAME_S = 0.001
NUMBERS = (0, 1, 2, 7, 1000, 2**32, 2**62, 2**64 - 1, -1)
VALUES: tuple[Any, ...] = (
    *NUMBERS,
    "",
    "n1",
    "x" * 200,
    b"",
    b"\x10" * 17,
    bytes(40),
    None,
    True,
    1.5,
    [],
    ["n1"],
    {},
)


@dataclass(slots=True)
class Outcome:
    """What became of some frames: `dropped` by reason, `failures` as batch, receiver, what happened
    and the frame in hexadecimal.
    """

    receiver: str
    frames: int = 0
    taken_s: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)


# -- what real nodes say -------------------------------------------------------------------------


@cache
def recorded_units() -> dict[int, list[bytes]]:
    """Units by their kind, as simulated nodes of two datacenters have sent them."""
    options = Options(
        nodes=(6, 6),
        datacenters=(2, 2),
        intensity=Intensity(loss=0.05, crash_rate=0.01),
        duration_s=6.0,
        mix=Mix(writes=80, large_bytes=3000),
        parameters={"rumor_mode": "push-pull", "rumor_connection_limit": 2},
    )
    simulation, units = Simulation(scenario(1, options)), dict[int, list[bytes]]()
    framings = simulation.cluster.framings

    def tap(effect: Send) -> None:
        framing = next(framing for framing in framings if is_of_pool(effect.data, framing.pool))
        for told in framing.open(effect.data, reliable=effect.reliable).messages:
            of_kind = units.setdefault(MEMBER_KIND if isinstance(told, Member) else told.kind, [])
            if len(of_kind) < UNITS_A_KIND:
                of_kind.append(encode(told))

    simulation.cluster.tap = tap
    simulation.run()
    return units


def _valid(declared: Any, rng: Random) -> Any:
    """A value of this declared type, as MessagePack has it."""
    match declared:
        case msgspec.inspect.IntType(ge=low, le=high):
            fits = [
                number
                for number in NUMBERS
                if number >= (low or 0) and (high is None or number <= high)
            ]
            return rng.choice(fits)
        case msgspec.inspect.StrType(max_length=high):
            return rng.choice(("n0", "n1", "n2", "10.9.0.1", "dc1"))[:high]
        case msgspec.inspect.BytesType(max_length=high):
            return rng.choice(
                (
                    b"",
                    b"\x10" + rng.randbytes(16),
                    rng.randbytes(8 * rng.randrange(1, 6)),
                    rng.randbytes(4),
                )
            )[:high]
        case msgspec.inspect.BoolType():
            return rng.random() < 0.5
        case msgspec.inspect.FloatType():
            return rng.choice((0.0, -1.5, 1e300, float("inf"), float("nan")))
        case msgspec.inspect.EnumType(cls=cls):
            return rng.choice(list(cls)).value
        case msgspec.inspect.VarTupleType(item_type=item):
            return [_valid(item, rng) for _ in range(rng.randrange(3))]
        case msgspec.inspect.TupleType(item_types=items):
            return [_valid(item, rng) for item in items]
        case msgspec.inspect.StructType(fields=fields):
            return [_valid(each.type, rng) for each in fields]
    raise AssertionError(f"what is {declared}?")


@cache
def _declared() -> tuple[tuple[int, Any], ...]:
    """Every kind of unit, with the declaration of its message."""
    kinds = sorted(Message.__subclasses__(), key=lambda kind: kind.kind)
    return (
        *((kind.kind, msgspec.inspect.type_info(kind)) for kind in kinds),
        (MEMBER_KIND, msgspec.inspect.type_info(Member)),
    )


def _unit(kind: int, fields: list[Any]) -> bytes:
    body = msgspec.msgpack.encode(fields)
    return bytes((kind,)) + len(body).to_bytes(4, "big") + body


def made_up_unit(rng: Random) -> bytes:
    """A unit of any kind, as its declaration allows."""
    kind, declared = rng.choice(_declared())
    return _unit(kind, _valid(declared, rng))


def _altered(unit: bytes, rng: Random) -> bytes:
    """A real unit of which some fields are others: of its own, or anything."""
    fields = msgspec.msgpack.decode(unit[UNIT_BYTES:])
    for _ in range(rng.randrange(1, 3)):
        fields[rng.randrange(len(fields))] = (
            rng.choice(VALUES) if rng.random() < 0.5 else rng.choice(fields)
        )
    return _unit(unit[0], fields)


def units_of(rng: Random, pool: list[list[bytes]]) -> list[bytes]:
    """What a frame may hold: real units and made up ones, mixed."""
    units: list[bytes] = []
    for _ in range(1 if rng.random() < 0.5 else rng.randrange(2, 6)):
        draw = rng.random()
        unit = made_up_unit(rng) if draw < 0.3 else rng.choice(rng.choice(pool))
        units.append(_altered(unit, rng) if 0.2 <= draw < 0.6 else unit)
    return units


def _two_units(rng: Random, pool: list[list[bytes]]) -> list[bytes]:
    return [rng.choice(rng.choice(pool)) for _ in range(2)]


def mutated(data: bytes, other: bytes, rng: Random) -> bytes:
    """A frame that was damaged in one of many ways; `other` is another one."""
    draw = rng.randrange(8)
    if draw == 0:
        return data[: rng.randrange(len(data))]
    if draw == 1:
        return rng.randbytes(rng.randrange(120))
    if draw == 2:
        at = rng.randrange(len(data))
        return data[:at] + other[min(at, len(other) - 1) :]
    if draw == 3:
        at = rng.randrange(len(data))
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if draw == 4:
        return data[:HEADER_BYTES] + rng.randbytes(rng.randrange(160))
    changed = bytearray(data)
    # half of the time in the header or just behind it, where everything is decided
    reach = len(changed) if draw == 5 else min(len(changed), HEADER_BYTES + 40)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(reach)] = rng.randrange(256)
    return bytes(changed)


def summed(data: bytes) -> bytes:
    """The same frame with the right checksum, where it has one."""
    return data if is_sealed(data) else clear_frame(data[:HEADER_BYTES], data[UNITS_AT:])


# -- the receivers -------------------------------------------------------------------------------


class Attack:
    """One batch: a replica, who attacks it, and what may not happen."""

    def __init__(self, receiver: str, seed: int, batch: int) -> None:
        self.outcome, self.batch = Outcome(receiver), batch
        self.rng = rng = Random(f"{seed} {batch}")
        self._key, stolen = rng.randbytes(KEY_BYTES), rng.randbytes(KEY_BYTES)
        keyring = () if receiver == "open" else (self._key.hex(),)
        config = Config(
            name="n0",
            digest_levels=2,
            members_max=MEMBERS_MAX,
            keyring=keyring,
            value_bytes_max=10_000,
            rumors_max=64,
        )
        self.replica = Replica(config, address=Address("10.9.0.9", 7481), rng=rng, now=START)
        self.now = START
        self.attacker = Framing(config.cluster, "lan:dc1", frame_bytes_max(config))
        if receiver == "member":
            self.attacker.seal_with(Keyring([self._key]), 1, 1, 10)
        elif receiver == "stranger":
            self.attacker.seal_with(Keyring([stolen]), 1, 1, 10)
        self._plain = Framing(config.cluster, "lan:dc1", frame_bytes_max(config))
        self._pool = list(recorded_units().values())
        self._recorded: list[bytes] = []
        self._settle_in()

    def _settle_in(self) -> None:
        """Members, data, and a join under way; a stranger records what was said meanwhile."""
        friend = Framing(self.attacker.cluster, "lan:dc1", 2**20)
        if self.replica.keyring is not None:
            friend.seal_with(Keyring([self._key]), 2, 2, 10)
        for number in range(1, 6):
            known = Member(
                f"n{number}", f"10.9.0.{number}", 7481, MemberState.ALIVE, number, 0, number, "dc1"
            )
            self._recorded.append(friend.frame([encode(known), *_two_units(self.rng, self._pool)]))
            self.replica.put(f"k{number}", b"value", START)
        for data in self._recorded:
            self.replica.receive(data, SOURCES[1], START)
        self.replica.join([str(SOURCES[0])], START)
        self.replica.resolved(str(SOURCES[0]), [SOURCES[0]], START)

    def frame(self, reliable: bool) -> bytes:
        """The next hostile frame."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.1:
            return (
                rng.choice((self.attacker, self._plain)).refusal("go away")
                if rng.random() < 0.5
                else rng.randbytes(rng.randrange(200))
            )
        if draw < 0.25 and self.outcome.receiver == "stranger":
            recorded = rng.choice(self._recorded)
            return recorded if draw < 0.15 else mutated(recorded, rng.choice(self._recorded), rng)
        framing = self.attacker if draw < 0.9 else self._plain
        if draw < 0.5:
            return framing.frame(units_of(rng, self._pool), reliable=reliable)
        if self.attacker.seals is not None and draw < 0.7:
            # damaged before it is sealed: what only somebody with a key can send
            body = mutated(b"".join(units_of(rng, self._pool)) or b"\0", b"\x05" * 40, rng)
            return self.attacker.frame([body], reliable=reliable)
        data = mutated(
            framing.frame(units_of(rng, self._pool), reliable=reliable),
            rng.choice(self._recorded),
            rng,
        )
        # a liar knows how to make a checksum
        return summed(data) if rng.random() < 0.8 else data

    def state(self) -> tuple[Any, ...]:
        """All that must not change for a stranger."""
        replica, membership = self.replica, self.replica.pools.lan.membership
        seals = self.replica.pools.lan.gate.framing.seals
        known = len(seals._senders) if seals is not None else 0
        keys = replica.keyring.ids if replica.keyring is not None else []
        return (
            replica.store.digest.root,
            dict(membership.members),
            replica.hlc.latest,
            replica.settling.sync_state,
            keys,
            known,
        )

    def run(self, frames: int) -> Outcome:
        stranger = self.outcome.receiver == "stranger"
        before = self.state()
        began_s = time.perf_counter()
        for _ in range(frames):
            reliable = self.rng.random() < 0.5
            data, source = self.frame(reliable), self.rng.choice(SOURCES)
            failure = self._attempt(
                partial(self.replica.receive, data, source, self.now, reliable=reliable)
            )
            if stranger:
                failure = failure or ("" if self.state() == before else "the state has changed")
            else:
                failure = failure or self._let_time_pass()
            if failure:
                self.outcome.failures.append((self.batch, failure, data.hex()))
        self.outcome.frames, self.outcome.taken_s = frames, time.perf_counter() - began_s
        self.outcome.dropped = Counter(
            {
                name: count
                for name, count in self.replica.pools.lan.counters.items()
                if "dropped." in name
            }
        )
        return self.outcome

    def _attempt(self, call: Callable[[], list[Effect]]) -> str:
        try:
            effects = call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if self.outcome.receiver == "stranger":
            for effect in effects:
                if not (
                    isinstance(effect, (Log, JoinRefused))
                    or (isinstance(effect, Send) and is_refusal(effect.data))
                ):
                    return f"an effect for a stranger: {type(effect).__name__}"
        return ""

    def _let_time_pass(self) -> str:
        """Timers fire, so that what frames have set going is met by more of them."""
        self.now = Now(self.now.monotonic_s + FRAME_S, self.now.wall_ms + 1)
        deadline_s = self.replica.deadline()
        return (
            self._attempt(partial(self.replica.tick, self.now))
            if deadline_s is not None and deadline_s <= self.now.monotonic_s
            else ""
        )


def run_batch(seed: int, batch: int, frames: int) -> Outcome:
    """One batch by itself: its receiver follows from its number."""
    return Attack(RECEIVERS[batch % len(RECEIVERS)], seed, batch).run(frames)


def fuzz(frames: int, seed: int, jobs: int, batch_frames: int) -> list[Outcome]:
    """What became of all frames, by receiver."""
    batches = [min(batch_frames, frames - begun) for begun in range(0, frames, batch_frames)]
    total = {name: Outcome(name) for name in RECEIVERS}
    for found in run_trials(
        [partial(run_batch, seed, number, size) for number, size in enumerate(batches)],
        jobs,
        "fuzzing",
    ):
        known = total[found.receiver]
        known.frames += found.frames
        known.taken_s += found.taken_s
        known.dropped.update(found.dropped)
        known.failures += found.failures
    return list(total.values())


def report(found: Sequence[Outcome]) -> Report:
    rows = [
        {"receiver": each.receiver, "frames": each.frames}
        | {"frames/s": each.frames / max(each.taken_s, 1e-9), "failures": len(each.failures)}
        | {
            "dropped, by reason": ", ".join(
                f"{name.partition('dropped.')[2]} {count:,}"
                for name, count in each.dropped.most_common(6)
            )
        }
        for each in found
    ]
    failures: list[Row] = [
        {"receiver": each.receiver, "batch": batch, "failure": failure, "frame": data[:400]}
        for each in found
        for batch, failure, data in each.failures[:10]
    ]
    tables = [Table("hostile frames", rows), *([Table("failures", failures)] if failures else [])]
    laws = {"nothing raises, and nothing changes without the key": not failures}
    return Report("fuzz", tables, laws=laws)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=20_000, help="frames for one replica")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = fuzz(options.frames, options.seed, options.jobs, options.batch)
    finish(report(found), json=options.json)


if __name__ == "__main__":
    main()
