"""Changing: the half of Node that takes writes - of plain keys, of keys whose writes are merged, of
batches and of backups. What it does not do itself it hands to Writes (writes.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from kvgossip.errors import LocalError
from kvgossip.protocol.acks.write_concern import WriteConcern
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.entry import Entry, Version
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.typed import extremum
from kvgossip.protocol.typed.edit import Edit, KeyEdit
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.pending.write_acks import AckedWrite, OnAck
from kvgossip.runtime.reading import Reading
from kvgossip.runtime.resolver import Resolve, Resolver
from kvgossip.runtime.typed_keys import (
    CounterKey,
    ExtremumKey,
    MapKey,
    SetKey,
    Siblings,
    siblings_in,
)
from kvgossip.runtime.writes import Batch, Written

WAIT_TIMEOUT_S = 5.0


class Changing(Reading):
    """Before the node has settled writes are taken as well."""

    # -- data -------------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: bytes | str,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
        after: Version | None = None,
        context: str | None = None,
        siblings: bool = False,
    ) -> Entry:
        """Write; text is stored as UTF-8. Returns the entry with its version, with a data directory
        once it is on the disk. `ttl_s`: it expires so many seconds from now; `flags`: 64 bits for
        the caller's own use. `after`: a version that was read, perhaps on another node: this write
        is newer.

        `siblings`: of a key that is not there, make it one that keeps all values whose writers had
        not seen each other. `context`: as `siblings(key)` gave it: the value takes the place of
        those, and of no others; without one it is put beside what is there.

        Raises BadKeyError, ValueTooLargeError, or LocalError for a bad content type, ttl or flags;
        StorageError when the disk does not take it; OverloadedError while too much waits for peers;
        OtherTypeError, BadContextError and SiblingsError as they say. While too much waits for the
        disk, it waits.
        """
        writes = self._open.writes
        if context is None and not siblings:
            return await writes.put(key, value, content_type, ttl_s, flags, after)
        _refuse_after(after)
        return await writes.put_sibling(key, value, content_type, ttl_s, flags, context)

    async def delete(
        self, key: str, *, after: Version | None = None, context: str | None = None
    ) -> Entry | None:
        """Delete; returns the tombstone, None when there was nothing to delete. `after` and
        `context` as of `put`: what the context has not seen stays. Durable, and raises, as
        `put`."""
        if context is not None:
            _refuse_after(after)
        return await self._open.writes.delete(key, context, after)

    def begin_put(
        self,
        key: str,
        value: bytes,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
        after: Version | None = None,
    ) -> Written:
        """As `put`, without waiting for anything: for those who answer many writes at once. Raises
        as `put`, and OverloadedError also while too much waits for the disk."""
        return self._open.writes.begin_put(key, value, content_type, ttl_s, flags, after)

    def begin_put_sibling(
        self,
        key: str,
        value: bytes,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
        context: str | None = None,
    ) -> Written:
        """As `put` of a key of siblings, without waiting for anything. Raises as `begin_put`."""
        return self._open.writes.begin_put_sibling(key, value, content_type, ttl_s, flags, context)

    def begin_delete(
        self, key: str, *, after: Version | None = None, context: str | None = None
    ) -> Written | None:
        """As `delete`, without waiting for anything. Raises as `begin_put`."""
        if context is not None:
            _refuse_after(after)
        return self._open.writes.begin_delete(key, context, after)

    # -- keys whose writes are merged -------------------------------------------------------------

    def counter(self, key: str) -> CounterKey:
        """A counter: `await node.counter("hits").add(1)`, and `.value`."""
        return CounterKey(self._at_home, key)

    def set(self, key: str) -> SetKey:
        """A set of texts: `.add("a", "b")`, `.remove("a")`, and `.value`, a frozenset."""
        return SetKey(self._at_home, key)

    def map(self, key: str) -> MapKey:
        """A map: `node.map("cfg")["x"] = 1`, `.put("x", 1)`, `.remove("x")`, and `.value`; counters
        and sets in its fields by `.add("hits", 1)` and `.add_elements("tags", "a")`."""
        return MapKey(self._at_home, key)

    def max(self, key: str) -> ExtremumKey:
        """The greatest of all numbers that were put: `.put(3)`, and `.value`."""
        return ExtremumKey(self._at_home, key, extremum.MAX)

    def min(self, key: str) -> ExtremumKey:
        """The least of all numbers that were put."""
        return ExtremumKey(self._at_home, key, extremum.MIN)

    @property
    def _at_home(self) -> Self:
        """This node. Raises LocalError on another thread, as all that it is asked."""
        _ = self._running
        return self

    def siblings(self, key: str) -> Siblings:
        """All values of the key, with their versions, and the context with which a `put` or a
        `delete` takes the place of these. Raises OtherTypeError for a counter and its like.
        Honest."""
        record, now = self.record(key), self._running.clocks()
        return siblings_in(key, record, now.wall_ms)

    async def edit(self, key: str, edit: Edit) -> Entry | None:
        """Change a key whose writes are merged (see protocol/typed/edit.py); None where there was
        nothing to be done. Durable, and raises, as `put`; BadPartError for what the type does not
        take."""
        return await self._open.writes.edit(key, edit)

    def begin_edit(self, key: str, edit: Edit) -> Written | None:
        """As `edit`, without waiting for anything. Raises as `begin_put`."""
        return self._open.writes.begin_edit(key, edit)

    async def edit_and_wait(
        self,
        key: str,
        edit: Edit,
        wait: str | WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        on_ack: OnAck | None = None,
    ) -> AckedWrite | None:
        """As `put_and_wait`; None when there was nothing to be done."""
        return await self._open.writes.edit_and_wait(key, edit, wait, timeout_s, on_ack)

    def resolver(self, prefix: str, resolve: Resolve) -> Resolver:
        """From now on, until the node stops or what is returned is closed: where a key under the
        prefix has several siblings, write what `resolve(values)` makes of them (resolver.py)."""
        return Resolver(self._at_home, prefix, resolve)

    # -- many keys --------------------------------------------------------------------------------

    async def batch(self, writes: Sequence[Writing | KeyEdit]) -> list[Entry | None]:
        """Make these writes as one: with consecutive versions, in one commit, and every node that
        hears of them shows all or none; but what goes to a key whose writes are merged, as a
        KeyEdit does, may be shown there sooner or later than the rest.
        Returns the entries in their order, None for what changes nothing. At most 256 writes and
        `message_bytes_max` bytes, each key once. Durable, and raises, as `put` and `edit`; and
        BadBatchError, then nothing was written.
        """
        return await self._open.writes.batch(writes)

    def begin_batch(self, writes: Sequence[Writing | KeyEdit]) -> Batch:
        """As `batch`, without waiting for anything. Raises as `begin_put` and `batch`."""
        return self._open.writes.begin_batch(writes)

    @property
    def overload(self) -> str | None:
        """Why no write is taken just now; None while they are."""
        return self._open.writes.overload

    def kept(self) -> asyncio.Future[None] | None:
        """Done when all that this node has by now is on the disk, with the exception of `put`.
        None: there is nothing to wait for."""
        return self._open.writes.durable()

    async def restore(
        self, entries: Sequence[tuple[str, bytes]], *, as_new: bool = False
    ) -> list[Outcome]:
        """Merge keys with records of a backup, with their versions; returns what became of each.
        `as_new`: write their values anew instead, whatever was written or deleted since. Durable,
        and raises, as `put`; those before the failure may be there: restore them again."""
        return await self._open.writes.restore(entries, as_new=as_new)

    @property
    def quarantine(self) -> Quarantine:
        """Live values that this node had and the cluster had deleted (see quarantine.py)."""
        return self._running.quarantine

    async def restore_quarantined(self, number: str) -> Entry:
        """Write a value in quarantine anew, and take it out of there. Raises NotFoundError, and as
        `put`."""
        return await self._open.writes.restore_quarantined(number)

    async def discard_quarantined(self, number: str) -> None:
        """Forget a value in quarantine. Raises NotFoundError."""
        await self._open.writes.discard_quarantined(number)

    def confirm_drops(self) -> int:
        """Let this node drop the live values that one member says were deleted, and that wait for
        a second one: how many wait."""
        return self._open.writes.confirm_drops()

    async def put_and_wait(
        self,
        key: str,
        value: bytes | str,
        wait: str | WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        content_type: str | None = None,
        on_ack: OnAck | None = None,
    ) -> AckedWrite:
        """Write, and return when enough members hold it, or after `timeout_s`: the write stands in
        either case.

        `wait`: "2" (this node counts), "majority", "all", "zone:1" or "other-zone:1" (see
        protocol/acks/write_concern.py). `on_ack` is called with each holder as it
        shows. Raises as `put`, CannotMeetError where there are not so many members, and
        OverloadedError where too many wait: then nothing was written.
        """
        return await self._open.writes.put_and_wait(
            key, value, wait, timeout_s, content_type, on_ack
        )

    async def delete_and_wait(
        self,
        key: str,
        wait: str | WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        on_ack: OnAck | None = None,
    ) -> AckedWrite | None:
        """As `put_and_wait`; None when there was nothing to delete."""
        return await self._open.writes.delete_and_wait(key, wait, timeout_s, on_ack)

    def check_wait(self, wait: str | WriteConcern, timeout_s: float) -> WriteConcern:
        """The write concern that `wait` names. Raises as `put_and_wait` where one could not wait
        for it: to be asked before the write."""
        return self._open.writes.check_wait(wait, timeout_s)

    async def held(
        self,
        key: str,
        written: Written,
        need: WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        on_ack: OnAck | None = None,
    ) -> AckedWrite:
        """As `put_and_wait`, of what `begin_put` or `begin_delete` has written in this turn of the
        event loop."""
        return await self._open.writes.held(key, written, need, timeout_s, on_ack)


def _refuse_after(after: Version | None) -> None:
    if after is not None:
        raise LocalError(
            "a version to come after is for plain keys", "give the context alone, or the version"
        )
