"""What hypothesis may choose from: keys, records, members, and every wire message, built from the
message's own declaration."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.wire.message import Message

NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,8}[a-z0-9]", fullmatch=True)
SMALL = st.integers(0, 5)
KINDS: list[type[Message]] = sorted(Message.__subclasses__(), key=lambda kind: kind.kind)

records: st.SearchStrategy[bytes] = st.builds(
    lambda timestamp, site, value, content_type: make_record(
        Version(timestamp, site), value, content_type
    ),
    st.integers(1, 5),
    st.integers(1, 3),
    st.none() | st.binary(max_size=3),
    st.none() | st.just("text/plain"),
)
keys: st.SearchStrategy[str] = st.text(min_size=1, max_size=12).filter(
    lambda key: key[0] != "/" and "." not in key
)
few_keys: st.SearchStrategy[str] = st.sampled_from(["a", "b", "ba", "c", "é", "\U0001f600"])

members: st.SearchStrategy[Member] = st.builds(
    Member,
    name=st.sampled_from(["b", "c", "d"]),
    host=st.sampled_from(["10.0.0.2", "10.0.0.3"]),
    port=st.just(7481),
    state=st.sampled_from(MemberState),
    generation=SMALL,
    incarnation=SMALL,
    site=SMALL,
    datacenter=st.just("dc1"),
    http=st.just(""),
    accuser=st.sampled_from(["", "x", "y"]),
)


later: st.SearchStrategy[tuple[bytes, ...]] = st.lists(
    (SMALL | NAMES).map(msgspec.msgpack.encode), max_size=2
).map(tuple)
"""Fields of a member that a newer release has added."""


def _of_field(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """What a field of this declared type may hold."""
    match kind:
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(low or 0, 2**62 if high is None else high)
        case msgspec.inspect.StrType(pattern=pattern) if pattern and "A-Fa-f" in pattern:
            return st.sampled_from(["", "10.0.0.9", "fd00::9"])
        case msgspec.inspect.StrType(pattern=pattern) if pattern is not None:
            return NAMES
        case msgspec.inspect.StrType(min_length=low, max_length=high):
            return st.text(
                st.characters(codec="utf-8"), min_size=low or 0, max_size=min(high or 20, 20)
            )
        case msgspec.inspect.BytesType(min_length=low, max_length=high) if high is not None:
            return st.binary(min_size=low or 0, max_size=high)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=64) | st.integers(1, 4).map(lambda count: bytes(8 * count))
        case msgspec.inspect.FloatType(gt=low, le=high) if low is not None:
            return st.floats(low, high, exclude_min=True)
        case msgspec.inspect.FloatType(ge=low, le=high) if low is not None:
            return st.floats(low, high)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.EnumType(cls=cls):
            return st.sampled_from(cls)
        case msgspec.inspect.VarTupleType(item_type=item, min_length=low):
            return st.lists(_of_field(item), min_size=low or 0, max_size=4).map(tuple)
        case msgspec.inspect.UnionType(types=kinds):
            return st.one_of(*map(_of_field, kinds))
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.StructType(cls=cls):
            return of_kind(cls)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(_of_field, items))
    raise AssertionError(f"no strategy for {kind}")


def of_kind(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any message of this kind."""
    declared = msgspec.inspect.type_info(kind)
    assert isinstance(declared, msgspec.inspect.StructType)
    fields = {field.name: _of_field(field.type) for field in declared.fields}
    return st.builds(kind, **(fields | {"later": later} if kind is Member else fields))


messages: st.SearchStrategy[Message | Member] = st.one_of(*map(of_kind, KINDS), of_kind(Member))
