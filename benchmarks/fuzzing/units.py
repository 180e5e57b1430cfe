"""Units and bytes that a frame may hold: those that real nodes have said, recorded from simulated
clusters; those that the declarations of the messages allow; real ones with other fields; and bytes
that were damaged in one of many ways."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import msgspec

from kvgossip.protocol.effect import Send
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.frame import HEADER_BYTES, UNITS_AT, clear_frame, is_of_pool, is_sealed
from kvgossip.protocol.wire.message import Message
from kvgossip.protocol.wire.unit import MEMBER_KIND, UNIT_BYTES, encode
from kvgossip.sim.faults import Intensity
from kvgossip.sim.scenario import Options, scenario
from kvgossip.sim.simulation import Simulation
from kvgossip.sim.workload import Mix

UNITS_A_KIND = 64
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
        case msgspec.inspect.UnionType(types=types):
            return _valid(rng.choice(types), rng)
        case msgspec.inspect.NoneType():
            return None
        case msgspec.inspect.StructType(fields=fields):
            return [_valid(each.type, rng) for each in fields]
    raise AssertionError(f"what is {declared}?")


@cache
def _declared() -> dict[int, Any]:
    """The declaration of the message of each kind of unit."""
    kinds = sorted(Message.__subclasses__(), key=lambda kind: kind.kind)
    return {
        **{kind.kind: msgspec.inspect.type_info(kind) for kind in kinds},
        MEMBER_KIND: msgspec.inspect.type_info(Member),
    }


def unit_of(kind: int, fields: list[Any]) -> bytes:
    body = msgspec.msgpack.encode(fields)
    return bytes((kind,)) + len(body).to_bytes(4, "big") + body


def made_up_unit(rng: Random, kind: int = 0) -> bytes:
    """A unit of this kind, or of any, as its declaration allows."""
    kind = kind or rng.choice(tuple(_declared()))
    return unit_of(kind, _valid(_declared()[kind], rng))


def altered(unit: bytes, rng: Random) -> bytes:
    """A real unit of which some fields are others: of its own, or anything."""
    fields = msgspec.msgpack.decode(unit[UNIT_BYTES:])
    for _ in range(rng.randrange(1, 3)):
        fields[rng.randrange(len(fields))] = (
            rng.choice(VALUES) if rng.random() < 0.5 else rng.choice(fields)
        )
    return unit_of(unit[0], fields)


def prepared(count: int, rng: Random) -> list[bytes]:
    """So many units: real ones, altered ones, and made up ones. What a batch says is put together
    of these, since making one takes longer than saying it."""
    pool, units = list(recorded_units().values()), list[bytes]()
    for _ in range(count):
        draw = rng.random()
        unit = made_up_unit(rng) if draw < 0.3 else rng.choice(rng.choice(pool))
        units.append(altered(unit, rng) if 0.2 <= draw < 0.6 else unit)
    return units


def few_of(units: list[bytes], rng: Random) -> list[bytes]:
    """What a frame holds: one of them, or some."""
    if rng.random() < 0.5:
        return [rng.choice(units)]
    return [rng.choice(units) for _ in range(rng.randrange(2, 6))]


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
