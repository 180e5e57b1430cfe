"""Writes: how a caller's write goes to the replica, to the disk, and, where it wants, to others.

A memory-only write neither waits nor starts a task; with a data directory it returns when it is on
the disk (see group_commit.py). The `begin_...` wait for nothing: they are for those who answer many
writes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kvgossip.errors import (
    BadContextError,
    ClockAheadError,
    LocalError,
    OverloadedError,
    StorageError,
)
from kvgossip.protocol.acks.write_concern import WriteConcern, parse_write_concern
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.entry import (
    Entry,
    Version,
    check_flags,
    check_ttl,
    is_dead,
    is_typed,
)
from kvgossip.protocol.model.write import Writing, check_write
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.body import shown_type, type_in
from kvgossip.protocol.typed.context_token import parse_token
from kvgossip.protocol.typed.edit import Edit, KeyEdit
from kvgossip.protocol.typed.views import view_of
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.pending.write_acks import AckedWrite, OnAck

WAIT_TIMEOUT_MAX_S = 600.0
RESTORED_A_TURN = 500
"""So many entries of a backup are merged before others have their turn."""


class Written(NamedTuple):
    """A write that was done: its record (see protocol/model/entry.py), and when it is on the disk.
    None: there is nothing to wait for."""

    record: bytes
    durable: asyncio.Future[None] | None


class Batch(NamedTuple):
    """A batch that was written: the records by key, without those of deletes of nothing; `durable`
    as in Written."""

    records: Mapping[str, bytes]
    durable: asyncio.Future[None] | None


class Writes:
    """All raise as the methods of Node that have their names."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def admit(self) -> None:
        """Wait while too much waits for the disk."""
        commits = self._driver.commits
        if commits is not None:
            await commits.admit()

    def durable(self) -> asyncio.Future[None] | None:
        """Done when all that this node has by now is on the disk, with the exception of a write.
        None: there is nothing to wait for."""
        commits = self._driver.commits
        return None if commits is None else commits.durable()

    @property
    def overload(self) -> str | None:
        """Why no write is taken just now; None while they are."""
        now = self._driver.clocks()
        try:
            self._driver.check_load(now)
            self._driver.replica.clock_guard.check(now)
        except (ClockAheadError, OverloadedError, StorageError) as reason:
            return str(reason)
        return self._driver.replica.capacity.problem() or None

    # -- keys -------------------------------------------------------------------------------------

    def begin_put(
        self,
        key: str,
        value: bytes,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
        after: Version | None = None,
    ) -> Written:
        driver = self._driver
        now = driver.clocks()
        driver.check_load(now)
        record, effects = driver.replica.put(key, value, now, content_type, ttl_s, flags, after)
        driver.do(effects, now)
        assert record is not None
        commits = driver.commits
        return Written(record, commits.durable() if commits is not None else None)

    def begin_put_sibling(
        self,
        key: str,
        value: bytes,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
        context: str | None,
    ) -> Written:
        check_write(key, value, content_type, self._driver.replica.config)
        check_flags(flags)
        check_ttl(ttl_s)
        seen = None if context is None else parse_token(context, key)
        wall_ms = self._driver.clocks().wall_ms
        expires_ms = None if ttl_s is None else wall_ms + int(ttl_s * 1000)
        written = self.begin_edit(
            key,
            edits.put_sibling(
                value, content_type, flags, expires_ms, context=seen, wall_ms=wall_ms
            ),
        )
        assert written is not None, "to put a sibling always writes"
        return written

    def begin_delete(
        self, key: str, context: str | None = None, after: Version | None = None
    ) -> Written | None:
        if context is not None:
            edit = self._delete_of_seen(key, context)
            return None if edit is None else self.begin_edit(key, edit)
        driver = self._driver
        now = driver.clocks()
        driver.check_load(now)
        record, effects = driver.replica.delete(key, now, after)
        driver.do(effects, now)
        return None if record is None else Written(record, self.durable())

    def _delete_of_seen(self, key: str, context: str) -> Edit | None:
        """None where nothing was ever merged under the key here. Raises BadContextError."""
        seen, record = parse_token(context, key), self._driver.replica.store.visible(key)
        if record is None or (not is_typed(record) and is_dead(record)):
            return None
        type_ = type_in(record)
        if type_ is None:
            raise BadContextError(
                f"the key holds {shown_type(record)}, and no context is of that",
                "read the key again, and leave the context out where the answer has none",
            )
        return edits.delete(type_, seen)

    def begin_edit(self, key: str, edit: Edit) -> Written | None:
        driver = self._driver
        now = driver.clocks()
        driver.check_load(now)
        record, effects = driver.replica.edit(key, edit, now)
        driver.do(effects, now)
        return None if record is None else Written(record, self.durable())

    async def put(
        self,
        key: str,
        value: bytes | str,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
        after: Version | None,
    ) -> Entry:
        await self.admit()
        return await _finished(
            key, self.begin_put(key, _octets(value), content_type, ttl_s, flags, after)
        )

    async def put_sibling(
        self,
        key: str,
        value: bytes | str,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
        context: str | None,
    ) -> Entry:
        await self.admit()
        written = self.begin_put_sibling(key, _octets(value), content_type, ttl_s, flags, context)
        return await _finished(key, written)

    async def delete(self, key: str, context: str | None, after: Version | None) -> Entry | None:
        await self.admit()
        written = self.begin_delete(key, context, after)
        return None if written is None else await _finished(key, written)

    async def edit(self, key: str, edit: Edit) -> Entry | None:
        await self.admit()
        written = self.begin_edit(key, edit)
        return None if written is None else await _finished(key, written)

    # -- many keys --------------------------------------------------------------------------------

    def begin_batch(self, writes: Sequence[Writing | KeyEdit]) -> Batch:
        driver = self._driver
        now = driver.clocks()
        driver.check_load(now)
        records, effects = driver.replica.batch(writes, now)
        driver.do(effects, now)
        return Batch(records, self.durable() if records else None)

    async def batch(self, writes: Sequence[Writing | KeyEdit]) -> list[Entry | None]:
        await self.admit()
        batch = self.begin_batch(writes)
        if batch.durable is not None:
            await batch.durable
        records = [batch.records.get(each.key) for each in writes]
        return [
            None if record is None else view_of(each.key, record)
            for each, record in zip(writes, records, strict=True)
        ]

    async def restore(self, entries: Sequence[tuple[str, bytes]], *, as_new: bool) -> list[Outcome]:
        driver, outcomes = self._driver, list[Outcome]()
        for start in range(0, len(entries), RESTORED_A_TURN):
            await self.admit()
            now = driver.clocks()
            effects, made = driver.replica.restore(
                entries[start : start + RESTORED_A_TURN], now, as_new=as_new
            )
            driver.do(effects, now)
            outcomes += made
            await asyncio.sleep(0)
        if driver.commits is not None:
            await driver.commits.durable()
        return outcomes

    # -- the quarantine ---------------------------------------------------------------------------

    async def restore_quarantined(self, number: str) -> Entry:
        suspect = self._driver.quarantine.get(number)
        key = suspect.entry.key
        await self.restore([(key, suspect.record)], as_new=True)
        await self.discard_quarantined(number)
        record = self._driver.replica.store.visible(key)
        return suspect.entry if record is None else view_of(key, record)

    async def discard_quarantined(self, number: str) -> None:
        driver = self._driver
        driver.quarantine.get(number)
        forgotten = driver.quarantine.forget(number)
        if driver.commits is not None:
            driver.commits.remove_quarantined(forgotten)
            await driver.commits.durable()

    def confirm_drops(self) -> int:
        return self._driver.replica.tombstones.drops.fuse.confirm()

    # -- writes that wait for others --------------------------------------------------------------

    def check_wait(self, wait: str | WriteConcern, timeout_s: float) -> WriteConcern:
        write_concern = wait if isinstance(wait, WriteConcern) else parse_write_concern(wait)
        if not 0 <= timeout_s <= WAIT_TIMEOUT_MAX_S:
            raise LocalError(
                f"timeout_s = {timeout_s} is out of bounds",
                f"choose 0 to {WAIT_TIMEOUT_MAX_S:.0f} seconds",
            )
        self._driver.replica.check_wait(write_concern)
        return write_concern

    async def put_and_wait(
        self,
        key: str,
        value: bytes | str,
        wait: str | WriteConcern,
        timeout_s: float,
        content_type: str | None,
        on_ack: OnAck | None,
    ) -> AckedWrite:
        await self.admit()
        write_concern = self.check_wait(wait, timeout_s)
        written = self.begin_put(key, _octets(value), content_type, None, 0)
        return await self.held(key, written, write_concern, timeout_s, on_ack)

    async def delete_and_wait(
        self, key: str, wait: str | WriteConcern, timeout_s: float, on_ack: OnAck | None
    ) -> AckedWrite | None:
        await self.admit()
        write_concern = self.check_wait(wait, timeout_s)
        written = self.begin_delete(key)
        if written is None:
            return None
        return await self.held(key, written, write_concern, timeout_s, on_ack)

    async def edit_and_wait(
        self,
        key: str,
        edit: Edit,
        wait: str | WriteConcern,
        timeout_s: float,
        on_ack: OnAck | None,
    ) -> AckedWrite | None:
        await self.admit()
        write_concern = self.check_wait(wait, timeout_s)
        written = self.begin_edit(key, edit)
        if written is None:
            return None
        return await self.held(key, written, write_concern, timeout_s, on_ack)

    async def held(
        self,
        key: str,
        written: Written,
        write_concern: WriteConcern,
        timeout_s: float,
        on_ack: OnAck | None,
    ) -> AckedWrite:
        callers = self._driver.callers
        ticket, acks = callers.begin_acks(key, write_concern, timeout_s, on_ack)
        try:
            return await acks.outcome(await _finished(key, written))
        finally:
            callers.end_acks(ticket)


def _octets(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def _finished(key: str, written: Written) -> Entry:
    if written.durable is not None:
        await written.durable
    return view_of(key, written.record)
