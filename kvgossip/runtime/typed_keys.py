"""Typed keys: what a program holds to add to a counter, a set or a map, and to read it. Nothing is
kept in them: each read is one of the node's own copy, and each write one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from kvgossip.errors import OtherTypeError
from kvgossip.protocol.model.entry import Entry, entry_of, is_dead, is_typed
from kvgossip.protocol.typed import add_wins_set, counter, edit, extremum, field_map, siblings
from kvgossip.protocol.typed.body import decode, shown_type, type_in
from kvgossip.protocol.typed.context_token import token_of
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.field_map import Scalar
from kvgossip.protocol.typed.siblings import Sibling
from kvgossip.protocol.typed.typed_record import TypedRecord, empty
from kvgossip.runtime.writes import Written


class Siblings(NamedTuple):
    """The values of a key, the newest first. `context` says which these are, to the put or delete
    that takes their place; None where nothing was ever merged under the key."""

    values: tuple[Sibling, ...]
    context: str | None


class KeyPort(Protocol):
    """What a key needs of its node."""

    def record(self, key: str) -> bytes | None: ...

    def begin_edit(self, key: str, edit: Edit) -> Written | None: ...

    async def edit(self, key: str, edit: Edit) -> Entry | None: ...


class TypedKey:
    """A key of one type. Reads raise OtherTypeError where it is another one, and NotSettledError as
    all reads of the node; writes raise as `Node.edit`, and return the entry, with its version."""

    TYPE = ""

    def __init__(self, node: KeyPort, key: str) -> None:
        self._node, self.key = node, key

    def _record(self) -> TypedRecord:
        return typed_in(self._node.record(self.key), self.TYPE)

    async def _edit(self, made: Edit) -> Entry | None:
        return await self._node.edit(self.key, made)


class CounterKey(TypedKey):
    """A number that each writer adds to."""

    TYPE = counter.TYPE

    @property
    def value(self) -> int:
        """The sum of all that was added; 0 where there is none."""
        return counter.total_of(self._record().live)

    async def add(self, amount: int = 1) -> Entry | None:
        """`amount` may be negative. Raises BadPartError for what is no integer of 64 bits."""
        return await self._edit(edit.add(amount))


class SetKey(TypedKey):
    """Texts that are added and removed: of both at once, the addition stays."""

    TYPE = add_wins_set.TYPE

    @property
    def value(self) -> frozenset[str]:
        return add_wins_set.elements_of(self._record())

    def __contains__(self, element: object) -> bool:
        return element in self.value

    async def add(self, *elements: str) -> Entry | None:
        """Raises BadPartError for what is no text of 1 to 1,024 bytes."""
        return await self._edit(edit.add_elements(elements))

    async def remove(self, *elements: str) -> Entry | None:
        """None where none of these is here: then nothing is written."""
        return await self._edit(edit.remove_elements(elements))


class ExtremumKey(TypedKey):
    """The greatest, or the least, of all numbers that anybody has put."""

    def __init__(self, node: KeyPort, key: str, type_: str) -> None:
        super().__init__(node, key)
        self.TYPE = type_

    @property
    def value(self) -> float | None:
        """None where there is none."""
        return extremum.number_of(self._record())

    async def put(self, number: float) -> Entry | None:
        """None where it changes nothing: then nothing is written."""
        return await self._edit(edit.put_number(self.TYPE, number))


class MapKey(TypedKey):
    """Fields that are written each by itself: values, counters and sets.

    `map[field] = value` and `del map[field]` write without waiting for the disk; `put` and `remove`
    wait for it, as all other writes do.
    """

    TYPE = field_map.TYPE

    @property
    def value(self) -> dict[str, Scalar | frozenset[str]]:
        return field_map.fields_of(self._record())

    def __getitem__(self, field: str) -> Scalar | frozenset[str]:
        return self.value[field]

    def __contains__(self, field: object) -> bool:
        return field in self.value

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __setitem__(self, field: str, content: Scalar) -> None:
        self._node.begin_edit(self.key, edit.set_field(field, content))

    def __delitem__(self, field: str) -> None:
        """Raises KeyError where it is not here."""
        if self._node.begin_edit(self.key, edit.remove_field(field)) is None:
            raise KeyError(field)

    async def put(self, field: str, content: Scalar) -> Entry | None:
        """Make it hold this: None, a boolean, a number or a text."""
        return await self._edit(edit.set_field(field, content))

    async def remove(self, *fields: str) -> Entry | None:
        """None where none of these is here: then nothing is written."""
        return await self._edit(edit.remove_fields(fields))

    async def add(self, field: str, amount: int = 1) -> Entry | None:
        """To a counter in this field."""
        return await self._edit(edit.add_to_field(field, amount))

    async def add_elements(self, field: str, *elements: str) -> Entry | None:
        """To a set in this field."""
        return await self._edit(edit.add_elements_to_field(field, elements))

    async def remove_elements(self, field: str, *elements: str) -> Entry | None:
        """From a set in this field; None where none of these is here."""
        return await self._edit(edit.remove_elements_from_field(field, elements))


def typed_in(record: bytes | None, type_: str) -> TypedRecord:
    """That of this type, perhaps empty. Raises OtherTypeError."""
    if record is not None and type_in(record) == type_:
        return decode(record)
    if record is not None and not is_dead(record):
        raise OtherTypeError(
            f"the key holds {shown_type(record)}, and no {type_}", "read it as what it is"
        )
    return empty(type_)


def siblings_in(key: str, record: bytes | None, wall_ms: int) -> Siblings:
    """Of a plain value that one, without a context."""
    if record is None or (not is_typed(record) and is_dead(record)):
        return Siblings((), None)
    if not is_typed(record):
        entry = entry_of(key, record)
        alone = Sibling(
            entry.value or b"", entry.content_type, entry.flags, entry.expires_ms, entry.version
        )
        return Siblings((alone,), None)
    typed = typed_in(record, siblings.TYPE)
    return Siblings(tuple(siblings.siblings_of(typed, wall_ms)), token_of(key, typed))
