"""Keys: everything that can be done with one key, whichever lane its request came by."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from kvgossip.api.access.rights import Access, Caller, Scope
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.precondition import Condition
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import OCTET_STREAM, Answer, Answers, sendable
from kvgossip.api.http.room import LONG_BYTES
from kvgossip.api.typed_answers import context_line, record_lines, typed_answer, version_in
from kvgossip.errors import LocalError
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    TYPED,
    Version,
    check_content_type,
    entry_of,
    is_dead,
    value_offset,
)
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.typed.body import decode
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.forms import json_of
from kvgossip.protocol.typed.views import tag_of

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node
    from kvgossip.runtime.writes import Written

CHECKED_HERE = "KV-Condition-Scope: node\r\n"
"""Goes with every write that had a condition: this node checked it, alone, against what it has
heard. It is no lock of the cluster."""


FAILED_HINT = (
    "nothing was changed; read the key again, and write with the version that you then see"
)


class Reply(NamedTuple):
    """An answer, and the future that it must wait for: None, or one that is done when the write
    that the answer reports is on the disk, or has failed to get there.

    `written`: that write; None where nothing was written.
    """

    answer: Answer
    durable: asyncio.Future[None] | None
    written: Written | None = None


class Terms(NamedTuple):
    """What the client of a put or a delete says of what it has seen: the `context` of an answer, or
    a version of a plain key. `siblings`: it wants a key of siblings."""

    context: str | None = None
    after: Version | None = None
    siblings: bool = False


NO_TERMS = Terms()


class Keys:
    """Everything that can be done with one key: the same code, whichever lane a request came by
    (see fast.py). All raise KVGossipError. `caller`: who asks; None: everybody may."""

    def __init__(self, node: Node, answers: Answers, access: Access) -> None:
        self._node = node
        self._answers = answers
        self.access = access

    def get(
        self,
        encoded_key: str,
        condition: Condition | None,
        caller: Caller | None,
        *,
        resolve: bool = False,
    ) -> Answer:
        """The raw bytes with their content type; `ETag` and `KV-Version` are the version. 304 when
        If-None-Match names it. Of a key whose writes are merged: see typed_answers.py. `resolve`:
        of siblings the newest alone."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_read(key)
        record = self._node.record(key)
        if record is None or is_dead(record):
            check_key(key)
            return self._absent(key, record)
        if condition is not None:
            tag = tag_of(record)
            if not condition.holds(tag):
                return (
                    self._unchanged(record) if condition.matches(tag) else self._failed(key, record)
                )
        if record[0] & TYPED:
            return typed_answer(self._answers, self._node, key, record, resolve=resolve)
        content_type, value = _content_of(key, record)
        return self._answers.value(value, content_type, _version_lines(version_in(record)))

    def is_long(self, encoded_key: str, caller: Caller | None) -> bool:
        """True if the answer of `get` may be a long one."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_read(key)
        record = self._node.record(key)
        return record is not None and len(record) > LONG_BYTES

    def put(
        self,
        encoded_key: str,
        value: bytes,
        content_type: str | None,
        condition: Condition | None,
        caller: Caller | None,
        ttl_s: float | None = None,
        terms: Terms | None = None,
    ) -> Reply:
        """Stores the value if the condition holds here and now. `ttl_s`: it expires after so many
        seconds. `terms`: what its client has seen; None: it does not say."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_write(key)
        content_type = _checked(content_type)
        if condition is not None:
            check_key(key)
            current = self._live(key)
            if not condition.holds(_tag(current)):
                return Reply(self._failed(key, current), None)
        if terms is None:
            written = self._node.begin_put(key, value, content_type=content_type, ttl_s=ttl_s)
        elif terms.siblings or terms.context is not None:
            written = self._node.begin_put_sibling(
                key, value, content_type=content_type, ttl_s=ttl_s, context=terms.context
            )
        else:
            written = self._node.begin_put(
                key, value, content_type=content_type, ttl_s=ttl_s, after=terms.after
            )
        record = written.record
        version = version_in(record)
        head = record_lines(record) if record[0] & TYPED else _version_lines(version)
        if condition is not None:
            head += CHECKED_HERE
        return Reply(
            self._answers.json(200, {"key": key, "version": version}, head),
            written.durable,
            written,
        )

    def delete(
        self,
        encoded_key: str,
        condition: Condition | None,
        caller: Caller | None,
        terms: Terms = NO_TERMS,
    ) -> Reply:
        """200 with the version of the tombstone; 404 when there was nothing to delete,
        whatever the condition. `deleted` is false where something stays that the client's context
        has not seen."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_write(key)
        check_key(key)
        if condition is not None:
            current = self._live(key)
            if current is not None and not condition.holds(_tag(current)):
                return Reply(self._failed(key, current), None)
        written = self._node.begin_delete(key, context=terms.context, after=terms.after)
        if written is None:
            # raises NotSettledError where it cannot tell whether this key exists
            self._node.record(key)
            return Reply(self._absent(key, None), None)
        version, deleted = version_in(written.record), is_dead(written.record)
        head = f"KV-Version: {version}\r\n" + (CHECKED_HERE if condition is not None else "")
        return Reply(
            self._answers.json(200, {"key": key, "version": version, "deleted": deleted}, head),
            written.durable,
            written,
        )

    def edit(
        self, encoded_key: str, edit: Edit, condition: Condition | None, caller: Caller
    ) -> Reply:
        """Does this to a key whose writes are merged. The answer has what the key then holds, for
        those who may read it. An edit that changes nothing is no write, and its version that of
        what is here."""
        key = decode_key(encoded_key)
        check_key(key)
        if condition is not None:
            current = self._live(key)
            if not condition.holds(_tag(current)):
                return Reply(self._failed(key, current), None)
        written = self._node.begin_edit(key, edit)
        record = self._live(key) if written is None else written.record
        document = {"key": key, **_shown(key, record, edit.type, caller)}
        head = "" if record is None else record_lines(record)
        head += CHECKED_HERE if condition is not None else ""
        durable = self._node.kept() if written is None else written.durable
        return Reply(self._answers.json(200, document, head), durable, written)

    def edited(self, key: str, edit: Edit, record: bytes | None, caller: Caller) -> dict[str, Any]:
        """What this key of a batch holds after its edit, which made this record, if any."""
        return _shown(key, self._live(key) if record is None else record, edit.type, caller)

    def _live(self, key: str) -> bytes | None:
        """What a condition is about. Raises NotSettledError where this node cannot know it."""
        record = self._node.record(key)
        return None if record is None or is_dead(record) else record

    def _absent(self, key: str, tombstone: bytes | None) -> Answer:
        """A key that was deleted has the version of its delete."""
        document = {
            "error": "there is no such key",
            "hint": "keys are exact: GET /kv?prefix=, or `kvgossip list`, lists them",
            "key": key,
        }
        head = ""
        if tombstone is not None:
            head = f"KV-Version: {version_in(tombstone)}\r\n{context_line(key, tombstone)}"
        return self._answers.json(404, document, head)

    def _unchanged(self, record: bytes) -> Answer:
        return self._answers.octets(304, None, record_lines(record))

    def _failed(self, key: str, record: bytes | None) -> Answer:
        document = {
            "error": "the condition does not hold on this node",
            "hint": FAILED_HINT,
            "key": key,
            "version": None if record is None else version_in(record),
        }
        head = "" if record is None else record_lines(record)
        return self._answers.json(412, document, head + CHECKED_HERE)


def _shown(key: str, record: bytes | None, type_: str, caller: Caller) -> dict[str, Any]:
    may_read = caller.may_read(Scope(key))
    return {
        "version": None if record is None else version_in(record),
        "type": type_,
        "value": None if record is None or not may_read else json_of(decode(record)),
    }


def _tag(record: bytes | None) -> str | None:
    return None if record is None else tag_of(record)


def failure_of(durable: asyncio.Future[None]) -> Exception | None:
    """Why a write that has ended is not on the disk; None: it is."""
    if durable.cancelled():
        return LocalError(
            "the node stopped before the write was on its disk",
            "write again; it may be there, or not",
        )
    error = durable.exception()
    return (
        LocalError(f"the write failed: {error!r}")
        if error is not None and not isinstance(error, Exception)
        else error
    )


async def until_kept(durable: asyncio.Future[None] | None) -> None:
    """Until a write is on the disk; None: at once. Raises what `failure_of` returns."""
    if durable is not None:
        await asyncio.wait((durable,))
        if (error := failure_of(durable)) is not None:
            raise error


def _checked(content_type: str | None) -> str | None:
    if not content_type:
        return None
    try:
        check_content_type(content_type)
    except LocalError as error:
        raise RequestError(400, str(error), error.hint) from None
    return content_type


def _version_lines(version: str) -> str:
    return f'ETag: "{version}"\r\nKV-Version: {version}\r\n'


def _content_of(key: str, record: bytes) -> tuple[str, bytes]:
    """Content type and value of a live record."""
    if value_offset(record) == HEAD_BYTES:
        return OCTET_STREAM, record[HEAD_BYTES:]
    entry = entry_of(key, record)
    return sendable(entry.content_type), entry.value or b""
