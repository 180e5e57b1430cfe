"""Writes: the values that clients of this node ask to be stored. Each write is a version of its
own, merged in the same way as an entry that a peer sends (merging.py).

Laws
- A write on a replica that has seen version v has a greater version than v.
- It says in its parent what of other sites its writer had under that key (model/conflicts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.errors import (
    BadContextError,
    BadPartError,
    KVGossipError,
    LocalError,
    OtherTypeError,
    RemoteError,
    ValueTooLargeError,
)
from kvgossip.protocol.data import Data
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.merging import BACKUP, CLIENT, Outcome
from kvgossip.protocol.model.conflicts import parent_of
from kvgossip.protocol.model.entry import (
    PARENT_BYTES,
    TYPED,
    Version,
    check_flags,
    check_ttl,
    is_dead,
    is_typed,
    make_record,
    timestamp_in,
    with_version,
)
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.write import Writing, check_batch, check_write
from kvgossip.protocol.store.capacity import Capacity
from kvgossip.protocol.store.key_types import KeyTypes
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.anew import anew
from kvgossip.protocol.typed.body import BODY_FORMAT, decode, encode, shown_type, type_in
from kvgossip.protocol.typed.defaults import (
    DEFAULTS_PREFIX,
    check_default,
)
from kvgossip.protocol.typed.edit import Edit, KeyEdit
from kvgossip.protocol.typed.typed_record import Seen, TypedRecord, dot_of, empty

BACKUP_AHEAD_MS = 1000
"""How far the versions of a backup may be ahead of the wall clock."""


class Written(NamedTuple):
    """A write, or a delete, and its effects: `record` is None where there was nothing to delete."""

    record: bytes | None
    effects: list[Effect]


class BatchWritten(NamedTuple):
    """A batch, and its effects. `records`: by key, without those of deletes of nothing."""

    records: Mapping[str, bytes]
    effects: list[Effect]


class Restored(NamedTuple):
    """The result of restoring entries of a backup: the effects, and the outcome of each entry."""

    effects: list[Effect]
    outcomes: list[Outcome]


class Writes:
    """All raise as `Replica` says; then nothing has changed. `check_types(number)` raises
    TypesUnknownError where members do not know this format of typed records."""

    def __init__(
        self,
        config: Config,
        data: Data,
        capacity: Capacity,
        check_types: Callable[[int], None],
    ) -> None:
        self._config, self._context, self._hlc = config, data.tombstones.context, data.hlc
        self._store, self._merging, self._clock_guard = data.store, data.merging, data.clock_guard
        self._capacity, self._set_back = capacity, data.set_back
        self._types = KeyTypes(self._store)
        self._check_types = check_types
        data.tombstones.adopt = self._adopt
        #: from now on none is taken
        self._ended = False

    def end(self) -> None:
        """This node is leaving."""
        self._ended = True

    def put(
        self,
        key: str,
        value: bytes,
        now: Now,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
        after: Version | None = None,
    ) -> bytes:
        """The record that was written. `after`: what its client has read, perhaps elsewhere."""
        check_write(key, value, content_type, self._config)
        if flags:
            check_flags(flags)
        if ttl_s is not None:
            check_ttl(ttl_s)
        self._check_may_write(now)
        if self._capacity.bytes_max:
            self._capacity.check(key, value)
        if key[0] == "." and key.startswith(DEFAULTS_PREFIX):
            check_default(value)
        try:
            seen = b"" if after is None else self._see_version(key, after, now)
            record = self._record(now, key, value, content_type, ttl_s, flags, seen)
        except OtherTypeError:
            if after is not None or self._types.type_for(key) != siblings.TYPE:
                raise
            return self._put_sibling(key, value, now, content_type, ttl_s, flags)
        self._merging.take(key, record, now, CLIENT)
        return record

    def _put_sibling(
        self,
        key: str,
        value: bytes,
        now: Now,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
    ) -> bytes:
        record = self.edit(key, _sibling(value, content_type, ttl_s, flags, now), now)
        assert record is not None, "to put a sibling always writes"
        return record

    def delete(self, key: str, now: Now, after: Version | None = None) -> bytes | None:
        """The tombstone; None where there was nothing to delete. `after`: as of `put`."""
        check_key(key)
        old = self._store.record(key)
        if old is None or self._store.is_deleted_or_expired(key, old):
            return None
        type_ = type_in(old)
        if type_ is not None and after is None:
            return self.edit(key, edits.delete(type_), now)
        self._check_may_write(now)
        seen = b"" if after is None else self._see_version(key, after, now)
        record = self._record(now, key, None, None, None, 0, seen)
        self._merging.take(key, record, now, CLIENT)
        return record

    def edit(self, key: str, edit: Edit, now: Now) -> bytes | None:
        """The typed record that was written; None where nothing was to be done."""
        check_key(key)
        self._check_may_write(now)
        record = self._edited(key, edit, now)
        if record is None:
            return None
        self._capacity.check_all([(key, record)])
        self._take_edited(key, record, now)
        return record

    def _edited(self, key: str, edit: Edit, now: Now) -> bytes | None:
        """The record after this edit, which nobody has yet; None where nothing is to be done."""
        self._check_types(BODY_FORMAT)
        here = self._typed(key, edit.type)
        if edit.context:
            self._see(edit.context, now)
        timestamp = self._hlc.tick(now.wall_ms)
        new = edit.apply(here, dot_of(Version(timestamp, self._context.site)))
        return None if new is here else _encoded(new)

    def _take_edited(self, key: str, record: bytes, now: Now) -> None:
        self._context.wrote(timestamp_in(record))
        self._merging.take(key, record, now, CLIENT)

    def _adopt(self, key: str, dots: Sequence[bytes], now: Now) -> None:
        """Take over these subtotals of former lives of this node, which are proved. Where no write
        is taken now it is tried again."""
        type_ = type_in(self._store[key])
        with suppress(KVGossipError):
            if type_ is not None:
                self.edit(key, edits.adopt(type_, dots), now)

    def _typed(self, key: str, type_: str) -> TypedRecord:
        """What is here of this type: perhaps nothing yet. Raises OtherTypeError."""
        old = self._store.record(key)
        if old is None:
            return empty(type_)
        if type_in(old) == type_:
            return decode(old)
        if not self._store.is_deleted_or_expired(key, old):
            raise OtherTypeError(
                f"the key holds {shown_type(old)}, and no {type_}",
                "delete it first, or take another key",
            )
        return empty(type_, parent_of(old, self._context.own))

    def _see_version(self, key: str, version: Version, now: Now) -> bytes:
        """What a client has read of a plain key: from now on writes of this node are newer. The
        parent of the next one, which is newer. Raises BadContextError, and OtherTypeError."""
        record = self._store.record(key)
        if record is not None and record[0] & TYPED:
            self._types.check_plain(key, record)
        dot = dot_of(version)
        self._see({dot[8:]: dot[:8]}, now)
        return b"" if dot[8:] == self._context.own else dot[:PARENT_BYTES]

    def _see(self, context: Seen, now: Now) -> None:
        """What a client has seen, perhaps on another node, and perhaps of what this machine has
        lost. Raises BadContextError where it is farther ahead than clocks are."""
        try:
            self._clock_guard.observe(int.from_bytes(max(context.values()), "big"), now)
        except RemoteError:
            raise BadContextError(
                "the context has seen what is far ahead of this node's clock",
                "set the clocks right, or read the key again, here",
            ) from None
        seen = context.get(self._context.own)
        if seen is not None and not self._context.covers_dot(seen + self._context.own):
            self._set_back.found(int.from_bytes(seen, "big"), "", now)

    def batch(self, parts: Sequence[Writing | KeyEdit], now: Now) -> dict[str, bytes]:
        """The records by key, without those of deletes of nothing, and of edits that change
        nothing. Typed records come first, each by itself, since a peer may take a part of one."""
        given = [each for each in parts if isinstance(each, Writing)]
        asked = [each for each in parts if isinstance(each, KeyEdit)]
        check_batch(given, [each.key for each in asked], self._config)
        for each in given:
            if each.value is not None and each.key.startswith(DEFAULTS_PREFIX):
                check_default(each.value)
        self._check_may_write(now)
        made = [each for each in given if each.value is not None or self._is_live(each.key)]
        also = {each.key: self._edit_for(each, now) for each in made}
        plain = [each for each in made if also[each.key] is None]
        edited = [
            (key, record)
            for key, edit in (*asked, *also.items())
            if edit is not None and (record := self._edited(key, edit, now)) is not None
        ]
        self._capacity.check_all([*edited, *((each.key, each.value or b"") for each in plain)])
        for key, record in edited:
            self._take_edited(key, record, now)
        pairs = tuple((each.key, self._record(now, *each)) for each in plain)
        if len(pairs) == 1:
            self._merging.take(*pairs[0], now, CLIENT)
        elif pairs:
            self._merging.take_batch(pairs, pairs, now, CLIENT)
        return dict([*edited, *pairs])

    def _edit_for(self, write: Writing, now: Now) -> Edit | None:
        """What `put` and `delete` make of a write to a typed key; None of a plain one. Raises
        OtherTypeError."""
        try:
            self._types.parent(write.key, self._context.own, write.value is not None)
        except OtherTypeError:
            type_ = self._types.type_for(write.key)
            if write.value is None and type_ is not None:
                return edits.delete(type_)
            if write.value is None or type_ != siblings.TYPE:
                raise
            return _sibling(write.value, write.content_type, write.ttl_s, write.flags, now)
        return None

    def restore(
        self, entries: Iterable[tuple[str, bytes]], now: Now, *, as_new: bool
    ) -> list[Outcome]:
        """The outcome of each entry."""
        self._check_may_write(now)
        entries = list(entries)
        self._capacity.check_all(entries)
        if any(is_typed(record) for _, record in entries if record):
            self._check_types(BODY_FORMAT)
        if as_new:
            return [self._write_anew(key, record, now) for key, record in entries]
        return [
            Outcome.REFUSED
            if self._is_ahead(record, now)
            else self._merging.merge(key, record, now, BACKUP)
            for key, record in entries
        ]

    def _is_ahead(self, record: bytes, now: Now) -> bool:
        """True for a version of a backup that is not due yet: it would take the clocks of all nodes
        along."""
        timestamp = timestamp_in(record)
        return (
            timestamp > self._hlc.latest
            and milliseconds_of(timestamp) > now.wall_ms + BACKUP_AHEAD_MS
        )

    def _write_anew(self, key: str, record: bytes, now: Now) -> Outcome:
        if is_dead(record):
            return Outcome.KNOWN
        type_ = type_in(record)
        try:
            if type_ is not None:
                edit = Edit(type_, lambda here, dot: anew(here, dot, decode(record)))
                self.edit(key, edit, now)
                return Outcome.NEWS
            parent = self._types.parent(key, self._context.own, False)
        except (BadPartError, OtherTypeError, ValueTooLargeError):
            return Outcome.REFUSED
        version = self._version(now)
        self._merging.take(key, with_version(record, version, parent), now, CLIENT)
        return Outcome.NEWS

    def _record(
        self,
        now: Now,
        key: str,
        value: bytes | None,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
        seen: bytes = b"",
    ) -> bytes:
        """`seen`: as much of a version as a parent has, that the writer had besides what is
        here."""
        parent = self._types.parent(key, self._context.own)
        if seen and seen > parent:
            parent = seen
        version = self._version(now)
        expires_ms = None
        if ttl_s is not None:
            # where the wall clock was set back, the hybrid clock may be far ahead of the time by
            # which entries expire
            latest_ms = now.wall_ms + self._hlc.drift_max_ms
            expires_ms = min(milliseconds_of(version.timestamp), latest_ms) + int(ttl_s * 1000)
        return make_record(version, value, content_type, expires_ms, flags, parent)

    def _version(self, now: Now) -> Version:
        """That of the next write."""
        timestamp = self._hlc.tick(now.wall_ms)
        self._context.wrote(timestamp)
        return Version(timestamp, self._context.site)

    def _is_live(self, key: str) -> bool:
        record = self._store.record(key)
        return record is not None and not self._store.is_deleted_or_expired(key, record)

    def _check_may_write(self, now: Now) -> None:
        if self._ended:
            raise LocalError("this node is leaving", "write to another node")
        self._clock_guard.check(now)


def _sibling(
    value: bytes, content_type: str | None, ttl_s: float | None, flags: int, now: Now
) -> Edit:
    expires_ms = None if ttl_s is None else now.wall_ms + int(ttl_s * 1000)
    return edits.put_sibling(value, content_type, flags, expires_ms, wall_ms=now.wall_ms)


def _encoded(record: TypedRecord) -> bytes:
    try:
        return encode(record)
    except RemoteError as fault:
        raise ValueTooLargeError(
            f"the {record.type} is too long: {fault}", "spread it over several keys"
        ) from None
