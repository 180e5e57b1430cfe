"""How long does one input hold a node at a million keys: of each message kind, honest and hostile?

    python -m benchmarks.inputs [--keys 1000000] [--rounds 3] [--json]

An input is a frame, or a tick: the event loop, and so every client, waits for it. `worst ms` is the
processor time of the longest one, of all that a frame sets going: its own, and those of the ticks
after it; of several rounds the one where that was least, since a garbage collection or a cold cache
is not the frame's doing. `ticks` is how many of these there were. Hostile frames are those of
hostile.py, as a member may send them; honest ones are those of two replicas that find and repair
their differences, and that hear of each other's batches. No kind of message may be without a line.
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.fuzzing.units import made_up_unit, recorded_units
from benchmarks.hostile import ME, Hostile, Victim, hostile_answers, hostile_frames
from benchmarks.report import Report, Row, Table, finish
from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Effect, Send
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.write import BATCH_ENTRIES_MAX, Writing
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.store.sketch import SYMBOLS_MAX
from kvgossip.protocol.wire.exchange_messages import Compare, Sketch
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.message import Ack, Message
from kvgossip.protocol.wire.unit import MEMBER_KIND, encode

LIMIT_MS = 20.0
START = Now(1000.0, 1_700_000_000_000)
PORT = 7481
LIAR = Address("10.0.0.9", PORT)
PORTION = 20_000
TICKS_MAX = 4000
DIFFERENCES = 3000
NAMES = {kind.kind: kind.__name__ for kind in Message.__subclasses__()} | {MEMBER_KIND: "Member"}
"""Of the messages, by their kinds."""
FRAMING = Framing("default", "lan:dc1", frame_bytes_max(Config()))


@dataclass(slots=True)
class Took:
    """What one frame took: `worst_ms` the longest input, `total_ms` all of them."""

    worst_ms: float = 0.0
    total_ms: float = 0.0
    ticks: int = 0

    def add(self, took_ms: float) -> None:
        self.worst_ms, self.total_ms = max(self.worst_ms, took_ms), self.total_ms + took_ms


Worst = dict[tuple[str, str], Took]
"""By the kinds of messages in the frame, and who has sent it."""


class Machine:
    """A replica, its time, and what its inputs took."""

    def __init__(self, name: str, place: int, keys: int, lacking: int = 0) -> None:
        self.address = Address(f"10.0.0.{place}", PORT)
        config = Config(name=name, push_pull_interval_s=3600.0, probe_interval_s=600.0)
        self.replica = Replica(
            config, address=self.address, rng=Random(name), now=START, found=True
        )
        self.replica.cluster_id.take(ClusterId(1, 1))
        self.now, self.effects = START, list[Effect]()
        for first in range(0, keys - lacking, PORTION):
            self.replica.load(
                [
                    (
                        f"config/{number:07d}",
                        make_record(
                            Version((START.wall_ms - 10**6) << 16, 1 + number % 7), b"x" * 100
                        ),
                    )
                    for number in range(first, min(first + PORTION, keys - lacking))
                ]
            )
        self.replica.disk.loaded()
        self.replica.tick(self.now)

    def knows(self, name: str, address: Address, site: int) -> None:
        known = Member(name, address.host, PORT, MemberState.ALIVE, 1, 0, site, "dc1")
        self.replica.receive(FRAMING.frame([encode(known)]), address, self.now)

    def rest(self) -> None:
        """Until the sketch is made, and nothing is left to do."""
        while not self.replica.store.sketch.idle:
            self.let_pass(0.01)
        for _ in range(20):
            self.let_pass(0.5)
        self.effects.clear()

    def let_pass(self, seconds: float) -> None:
        self.now = Now(self.now.monotonic_s + seconds, self.now.wall_ms + math.ceil(1000 * seconds))
        self.effects += self.replica.tick(self.now)

    def sketched(self) -> bytes:
        """The whole sketch, once nothing is left to be folded in."""
        self.rest()
        return self.replica.store.sketch.prefix(SYMBOLS_MAX)

    @property
    def exchange(self) -> int:
        """The number of one that the liar begins here: as a member he knows by which seed this
        machine places its keys."""
        return self.replica.store.digest.numbered(7)

    def timed(self, call: Callable[[], list[Effect]]) -> float:
        began_s = time.thread_time()
        self.effects += call()
        return 1000 * (time.thread_time() - began_s)

    def receive(self, data: bytes, source: Address, *, reliable: bool = True) -> Took:
        """What this frame takes, and all that it sets going at once."""
        return self.worked(lambda: self.replica.receive(data, source, self.now, reliable=reliable))

    def reseeded(self) -> Took:
        """What it takes to hear that the cluster is a part of another one: each key gets another
        place."""

        def hear() -> list[Effect]:
            self.replica.cluster_id.take(ClusterId(2, 2, seed=2))
            return []

        return self.worked(hear)

    def worked(self, call: Callable[[], list[Effect]]) -> Took:
        took = Took()
        took.add(self.timed(call))
        while took.ticks < TICKS_MAX and self._due():
            self.now = Now(self.now.monotonic_s + 0.002, self.now.wall_ms + 2)
            took.add(self.timed(lambda: self.replica.tick(self.now)))
            took.ticks += 1
        return took

    def _due(self) -> bool:
        deadline_s = self.replica.deadline()
        return deadline_s is not None and deadline_s <= self.now.monotonic_s

    def sent(self) -> list[Send]:
        found = [effect for effect in self.effects if isinstance(effect, Send)]
        self.effects.clear()
        return found


def against(machine: Machine, hostile: Hostile) -> Took:
    """A hostile frame over a link of its own."""
    # the victim knows whom it exchanges with: else nothing that he concludes counts
    opening = Compare(machine.exchange, 1, 4, 0, b"", bytes(8), 0, ME)
    machine.receive(FRAMING.frame([encode(opening)], reliable=True), LIAR)
    machine.effects.clear()
    took = machine.receive(FRAMING.frame(hostile.units, reliable=True), LIAR)
    machine.effects.clear()
    machine.replica.unreachable(LIAR, machine.now)
    return took


def begun(machine: Machine) -> int:
    """The number of an exchange that the machine has begun with the liar."""
    machine.let_pass(30.0)
    machine.effects.clear()
    machine.knows(ME, LIAR, 9)
    ack = Ack(1, ME, 12345, machine.now.wall_ms, SyncState.SETTLED)
    machine.receive(FRAMING.frame([encode(ack)]), LIAR)
    for sent in machine.sent():
        for message in FRAMING.open(sent.data, reliable=sent.reliable).messages:
            if isinstance(message, (Sketch, Compare)) and message.request == 1:
                return message.exchange
    raise RuntimeError("no exchange was begun: the benchmark does not fit the code any more")


def hostile_rows(keys: int, rounds: int) -> list[Row]:
    machine = Machine("victim", 1, keys)
    machine.knows(ME, LIAR, 9)
    machine.rest()
    found: dict[tuple[str, str], list[Took]] = {}
    some = [f"config/{number:07d}" for number in range(min(keys, 50_000))]
    for round_ in range(rounds):
        known = machine.exchange, some
        victim = Victim(*known, machine.sketched, machine.replica.site, machine.now.wall_ms)
        for each in hostile_frames(victim, round_):
            found.setdefault((each.kind, each.title), []).append(against(machine, each))
        for each in hostile_answers(victim, lambda: begun(machine), round_):
            took = machine.receive(FRAMING.frame(each.units, reliable=True), LIAR)
            machine.replica.unreachable(LIAR, machine.now)
            found.setdefault((each.kind, each.title), []).append(took)
    return [
        {
            "kind": kind,
            "what it tries": title,
            "worst ms": min(took.worst_ms for took in tried),
            "all ms": min(took.total_ms for took in tried),
            "ticks": tried[-1].ticks,
        }
        for (kind, title), tried in found.items()
    ]


def honest_rows(keys: int, rounds: int) -> list[Row]:
    """A replica that has everything, one that lacks some of it, and one that has nothing."""
    worst: Worst = {}
    left = Machine("left", 1, keys)
    for lacking in (min(DIFFERENCES, keys), keys):
        right = Machine("right", 2, keys, lacking)
        left.knows("right", right.address, right.replica.member.site)
        right.knows("left", left.address, left.replica.member.site)
        for machine in (left, right):
            machine.rest()
        machines = {left.address: left, right.address: right}
        ack = Ack(1, "left", left.replica.store.digest.root, right.now.wall_ms, SyncState.SETTLED)
        _pump(right, machines, [(left, FRAMING.frame([encode(ack)]), False)], worst)
        _batches(left, right, machines, worst)
    for name, how, units in _each_kind():
        took = worst.setdefault((name, how), Took())
        for unit in units[: 8 * rounds]:
            each = left.receive(FRAMING.frame([unit], reliable=True), LIAR)
            took.worst_ms, took.ticks = max(took.worst_ms, each.worst_ms), took.ticks + 1
    worst["another cluster id", "reseeded"] = left.reseeded()
    return [
        {"kind": kind, "how": how, "worst ms": took.worst_ms, "inputs": took.ticks}
        for (kind, how), took in worst.items()
    ]


def _each_kind() -> Iterator[tuple[str, str, list[bytes]]]:
    """Units of each kind of message, as simulated nodes have sent them, or else made up."""
    rng, recorded = Random(1), recorded_units()
    for kind, name in NAMES.items():
        if kind in recorded:
            yield name, "recorded", recorded[kind]
        else:
            yield name, "made up", [made_up_unit(rng, kind) for _ in range(8)]


def _batches(left: Machine, right: Machine, machines: dict[Address, Machine], worst: Worst) -> None:
    """One that fits into a datagram, and one that has to be fetched."""
    for count, size in ((5, 20), (BATCH_ENTRIES_MAX, 900)):
        writes = [Writing(f"config/{number:07d}", bytes(size)) for number in range(count)]
        left.now = right.now = max(left.now, right.now)
        left.effects += left.replica.batch(writes, left.now).effects
        for _ in range(20):
            left.let_pass(0.05)
            frames = [(left, sent.data, sent.reliable) for sent in left.sent()]
            _pump(right, machines, frames, worst)


def _pump(
    first: Machine,
    machines: dict[Address, Machine],
    frames: list[tuple[Machine, bytes, bool]],
    worst: Worst,
) -> None:
    """Deliver until nobody says anything."""
    way = [(frm.address, first, data, reliable) for frm, data, reliable in frames]
    while way:
        source, to, data, reliable = way.pop(0)
        names = "+".join(
            dict.fromkeys(
                type(each).__name__ for each in FRAMING.open(data, reliable=reliable).messages
            )
        )
        took = to.receive(data, source, reliable=reliable)
        known = worst.setdefault((names, "of two replicas"), Took())
        known.worst_ms, known.ticks = max(known.worst_ms, took.worst_ms), known.ticks + 1
        for machine in machines.values():
            for sent in machine.sent():
                if sent.to in machines:
                    way.append((machine.address, machines[sent.to], sent.data, sent.reliable))


def report(keys: int, hostile: Sequence[Row], honest: Sequence[Row]) -> Report:
    rows = sorted(hostile, key=lambda row: -row["worst ms"])
    worst = dict.fromkeys(sorted(NAMES.values()), 0.0)
    for row in [*hostile, *honest]:
        for name in row["kind"].split("+"):
            worst[name] = max(worst.get(name, 0.0), row["worst ms"])
    longest = max(worst.values())
    return Report(
        "inputs",
        [
            Table(f"hostile frames, {keys:,} keys", rows),
            Table(
                f"honest frames, {keys:,} keys", sorted(honest, key=lambda row: -row["worst ms"])
            ),
            Table(
                f"the worst of each kind, {keys:,} keys",
                [{"kind": name, "worst ms": worst[name]} for name in sorted(worst)],
            ),
        ],
        laws={"each kind of message was received": all(worst[name] for name in NAMES.values())},
        targets={f"no input takes more than {LIMIT_MS:g} ms": longest <= LIMIT_MS},
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    gc.disable()
    hostile = hostile_rows(options.keys, options.rounds)
    honest = honest_rows(options.keys, options.rounds)
    finish(report(options.keys, hostile, honest), json=options.json)


if __name__ == "__main__":
    main()
