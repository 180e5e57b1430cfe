"""TypedRecord: what a key holds whose writes are merged instead of one of them being lost. One
skeleton for all types, and one join: what the types differ in is what their writes supersede, and
what people see.

    version   the greatest dot that was ever written here; it never goes back
    values    each a dot, the 16 bytes of the version of the write that brought it, with a payload
              behind it. A bare dot is a delete, or the removal of a part, that others may not know
    seen      site -> timestamp: whatever that site had written up to then, and is not among the
              values, is superseded
    others    the fields of the record's meta that this node does not know

A dot and a payload are one string of bytes: so values are compared, sorted and looked up as they
are, and a payload is read only by who wants to know what it means.

Laws
- `join` is commutative, associative and idempotent, over any records of one type. For each value
  there are four states, each above those before it: not heard of; held; held, and passed by `seen`;
  superseded. `seen`, `version` and `others` grow by themselves. The join takes the greater one of
  each.
- No join asks the store's causal context, which speaks of all keys at once. So rumors, batches,
  exchanges and backups carry a record as any other one.
- What a write supersedes is what its writer had: a value that it had not seen lives.
- No dot is greater than the version, and no pair of `seen` reaches it: so a record cannot supersede
  what is written later, and the version of a join is the greater one of the two.
- A join refuses nothing for its size: two records that are not too long may make one that is. What
  is bounded is a write (VALUES_BYTES_MAX), and, far above it, what is taken of a peer (body.py).

`seen` grows with every life that writes here. A pair goes by proof (`prune`), and so does a bare
dot, once no pair is left; fingerprints are over all but `seen` (body.py), so that it makes no
difference between nodes who has pruned already.

Why deletes are dots of their own and not pairs alone: of a record without values nothing could be
refused that was collected before, or all of it must be, also the delete that somebody else made at
the same time, which nobody here knows. (A record may hold nothing but `seen` all the same: where
its last value was taken out on another's word, and the pairs are not proved yet.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from kvgossip.errors import BadContextError, ValueTooLargeError
from kvgossip.protocol.model.entry import Version
from kvgossip.protocol.model.ordered_set import OrderedSet

DOT_BYTES = 16
VALUES_BYTES_MAX = 65_536
"""A write that makes a record longer, and longer than this, is refused."""
PAIR_BYTES = 16
NO_VERSION = bytes(DOT_BYTES)
"""Before every dot: that of a record that holds nothing yet."""

Seen = Mapping[bytes, bytes]
"""By site, a timestamp; 8 bytes each, so that they compare as numbers do."""


class TypedRecord(NamedTuple):
    """`values` are sorted. `others`: MessagePack of a map, empty where there are none."""

    type: str
    version: bytes
    values: OrderedSet[bytes]
    seen: Seen
    others: bytes = b""

    @property
    def deleted(self) -> bool:
        """True if nothing is left to be read."""
        return all(len(value) == DOT_BYTES for value in self.values)

    @property
    def live(self) -> list[bytes]:
        """The values that are no deletes, the oldest first."""
        return [value for value in self.values if len(value) > DOT_BYTES]


def empty(type_: str, parent: bytes = b"") -> TypedRecord:
    """That of a key that nobody has written to. `parent`: see conflicts.py, where something else
    was here."""
    others = msgspec.msgpack.encode({"p": parent}) if parent else b""
    return TypedRecord(type_, NO_VERSION, OrderedSet(), {}, others)


def dot_of(version: Version) -> bytes:
    """16 bytes, as records have it."""
    return version.timestamp.to_bytes(8, "big") + version.site.to_bytes(8, "big")


def version_of_dot(value: bytes) -> Version:
    """That of a dot, or of the value whose dot it is."""
    return Version(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:16], "big"))


def covers(seen: Seen, value: bytes) -> bool:
    """True if the dot of this value is not later than what was seen of its site."""
    return seen.get(value[8:16], b"") >= value[:8]


def dots_of(record: TypedRecord) -> list[bytes]:
    """Of all its values."""
    return [value[:DOT_BYTES] for value in record.values]


def pairs_of(record: TypedRecord) -> list[bytes]:
    """What was seen, each as the dot of the latest write that it speaks of."""
    return [t + site for site, t in record.seen.items()]


def context_of(record: TypedRecord) -> dict[bytes, bytes]:
    """All that a reader of this record has seen: what its next write supersedes."""
    return _advanced(record.seen, record.values)


# -- the join -------------------------------------------------------------------------------------


def join(one: TypedRecord, other: TypedRecord) -> TypedRecord:
    """What both together say. They are of one type."""
    if one.type != other.type:
        raise ValueError(f"a {one.type} and a {other.type} have no join")
    mine, theirs = one.values, other.values
    values = mine
    if mine != theirs:
        kept = [value for value in mine if value in theirs or not covers(other.seen, value)]
        came = [value for value in theirs if value not in mine and not covers(one.seen, value)]
        values = OrderedSet(sorted(kept + came) if came else kept)
    newest = max(one, other, key=lambda record: (record.version, record.others))
    return TypedRecord(
        one.type, newest.version, values, _greatest(one.seen, other.seen), newest.others
    )


def without(
    record: TypedRecord, mine: TypedRecord | None, covered: Callable[[bytes], bool]
) -> tuple[TypedRecord, list[bytes]]:
    """An offered record without what was here and is gone, and the values that are refused for it:
    those that are not in `mine`, what this store holds under the key, and whose dot the store's
    context covers. To be asked before the join."""
    held = OrderedSet[bytes]() if mine is None else mine.values
    refused = [value for value in record.values if value not in held and covered(value[:DOT_BYTES])]
    if not refused:
        return record, refused
    gone = OrderedSet(refused)
    kept = OrderedSet(value for value in record.values if value not in gone)
    return record._replace(values=kept), refused


def prune(
    record: TypedRecord, proved: Callable[[bytes], bool]
) -> tuple[TypedRecord | None, list[bytes]]:
    """The record without the pairs, and then the deletes, that nobody needs any more; and the dots
    of those deletes. None where nothing is left: the record is to be collected.

    `proved(dot)`: a version vector entry of this node covers it, and every counting member has
    confirmed that it holds all that had arrived here when this did.
    """
    seen = {site: t for site, t in record.seen.items() if not proved(t + site)}
    gone = [
        value for value in record.values if not seen and len(value) == DOT_BYTES and proved(value)
    ]
    if len(seen) == len(record.seen) and not gone:
        return (record if record.values or seen else None), gone
    dropped = OrderedSet(gone)
    values = OrderedSet(value for value in record.values if value not in dropped)
    return (record._replace(values=values, seen=seen) if values or seen else None), gone


# -- writes ---------------------------------------------------------------------------------------


def write(
    record: TypedRecord,
    dot: bytes,
    payloads: Iterable[bytes],
    superseded: Iterable[bytes],
    context: Seen | None = None,
) -> TypedRecord:
    """The record after a write of this dot, which brings these payloads (b"": a delete) instead of
    those of its values. `context`: what the writer has seen besides, perhaps on other nodes.

    The dot is greater than the record's version, as that of a new write always is. Raises
    BadContextError for a context that has seen what is yet to come, and ValueTooLargeError.
    """
    if dot <= record.version:
        raise ValueError("a write is later than what it writes to")
    if context and max(t + site for site, t in context.items()) >= dot:
        raise BadContextError(
            "the context has seen what nobody has written yet",
            "read the key again, and write with the context of that answer",
        )
    gone = OrderedSet(superseded)
    values = [value for value in record.values if value not in gone]
    values += [dot + payload for payload in payloads]
    seen: Seen = _advanced(record.seen, gone)
    if context:
        seen = _greatest(seen, context)
    new = TypedRecord(record.type, dot, OrderedSet(sorted(values)), seen, record.others)
    _check_size(record, new)
    return new


def delete(record: TypedRecord, dot: bytes, context: Seen | None = None) -> TypedRecord:
    """The record without what its writer has seen: all of it where no context says otherwise."""
    superseded = record.values if context is None else _covered(record, context)
    return write(record, dot, [b""], superseded, context)


def removal(record: TypedRecord, dot: bytes, parts: Iterable[bytes]) -> TypedRecord:
    """The record without these of its values, and without the deletes that are known here."""
    deletes = (value for value in record.values if len(value) == DOT_BYTES)
    return write(record, dot, [b""], [*parts, *deletes])


def _covered(record: TypedRecord, context: Seen) -> list[bytes]:
    return [value for value in record.values if covers(context, value)]


def _advanced(seen: Seen, values: Iterable[bytes]) -> dict[bytes, bytes]:
    """What is seen with these values."""
    new = dict(seen)
    for value in values:
        site, t = value[8:DOT_BYTES], value[:8]
        if new.get(site, b"") < t:
            new[site] = t
    return new


def _greatest(one: Seen, other: Seen) -> Seen:
    if not other or one == other:
        return one
    new = dict(one)
    for site, t in other.items():
        if new.get(site, b"") < t:
            new[site] = t
    return new


def _check_size(old: TypedRecord, new: TypedRecord) -> None:
    size = bytes_of(new)
    if size > VALUES_BYTES_MAX and size > bytes_of(old):
        raise ValueTooLargeError(
            f"the {new.type} would have {size} bytes",
            f"{VALUES_BYTES_MAX} are taken in one key: spread it over several",
        )


def bytes_of(record: TypedRecord) -> int:
    """About how long it is as bytes."""
    return sum(map(len, record.values)) + PAIR_BYTES * len(record.seen)
