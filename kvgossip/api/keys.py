"""Keys: everything that can be done with one key, whichever lane its request came by."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from kvgossip.api.access.rights import Access, Caller
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.precondition import Condition
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import OCTET_STREAM, Answer, Answers, sendable
from kvgossip.api.http.room import LONG_BYTES
from kvgossip.errors import LocalError
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    check_content_type,
    entry_of,
    is_dead,
    value_offset,
)
from kvgossip.protocol.model.key import check_key

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


class Keys:
    """Everything that can be done with one key: the same code, whichever lane a request came by
    (see fast.py). All raise KVGossipError. `caller`: who asks; None: everybody may."""

    def __init__(self, node: Node, answers: Answers, access: Access) -> None:
        self._node = node
        self._answers = answers
        self.access = access

    def get(self, encoded_key: str, condition: Condition | None, caller: Caller | None) -> Answer:
        """The raw bytes with their content type; `ETag` and `KV-Version` are the version. 304 when
        If-None-Match names it."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_read(key)
        record = self._node.record(key)
        if record is None or is_dead(record):
            check_key(key)
            return self._absent(key, record)
        version = version_in(record)
        if condition is not None and not condition.holds(version):
            return (
                self._unchanged(version)
                if condition.matches(version)
                else self._failed(key, version)
            )
        content_type, value = _content_of(key, record)
        return self._answers.value(value, content_type, _version_lines(version))

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
    ) -> Reply:
        """Stores the value if the condition holds here and now. `ttl_s`: it expires after so many
        seconds."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_write(key)
        content_type = _checked(content_type)
        if condition is not None:
            check_key(key)
            current = self._version_of(key)
            if not condition.holds(current):
                return Reply(self._failed(key, current), None)
        written = self._node.begin_put(key, value, content_type=content_type, ttl_s=ttl_s)
        version = version_in(written.record)
        head = _version_lines(version) + (CHECKED_HERE if condition is not None else "")
        return Reply(
            self._answers.json(200, {"key": key, "version": version}, head),
            written.durable,
            written,
        )

    def delete(self, encoded_key: str, condition: Condition | None, caller: Caller | None) -> Reply:
        """200 with the version of the tombstone; 404 when there was nothing to delete,
        whatever the condition."""
        key = decode_key(encoded_key)
        if caller is not None:
            caller.must_write(key)
        check_key(key)
        if condition is not None:
            current = self._version_of(key)
            if current is not None and not condition.holds(current):
                return Reply(self._failed(key, current), None)
        written = self._node.begin_delete(key)
        if written is None:
            # raises NotSettledError where it cannot tell whether this key exists
            self._node.record(key)
            return Reply(self._absent(key, None), None)
        version = version_in(written.record)
        head = f"KV-Version: {version}\r\n" + (CHECKED_HERE if condition is not None else "")
        return Reply(
            self._answers.json(200, {"key": key, "version": version, "deleted": True}, head),
            written.durable,
            written,
        )

    def _version_of(self, key: str) -> str | None:
        """The version that a condition is about. Raises NotSettledError where this node cannot know
        it."""
        record = self._node.record(key)
        return None if record is None or is_dead(record) else version_in(record)

    def _absent(self, key: str, tombstone: bytes | None) -> Answer:
        """A key that was deleted has the version of its delete."""
        document = {
            "error": "there is no such key",
            "hint": "keys are exact: GET /kv?prefix=, or `kvgossip list`, lists them",
            "key": key,
        }
        return self._answers.json(
            404,
            document,
            f"KV-Version: {version_in(tombstone)}\r\n" if tombstone is not None else "",
        )

    def _unchanged(self, version: str) -> Answer:
        return self._answers.octets(304, None, _version_lines(version))

    def _failed(self, key: str, version: str | None) -> Answer:
        document = {
            "error": "the condition does not hold on this node",
            "hint": FAILED_HINT,
            "key": key,
            "version": version,
        }
        return self._answers.json(
            412, document, (_version_lines(version) if version else "") + CHECKED_HERE
        )


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


def version_in(record: bytes) -> str:
    # As Version.__str__ would write it, without building a Version.
    return record[1:HEAD_BYTES].hex("-", 8)


def _version_lines(version: str) -> str:
    return f'ETag: "{version}"\r\nKV-Version: {version}\r\n'


def _content_of(key: str, record: bytes) -> tuple[str, bytes]:
    """Content type and value of a live record."""
    if value_offset(record) == HEAD_BYTES:
        return OCTET_STREAM, record[HEAD_BYTES:]
    entry = entry_of(key, record)
    return sendable(entry.content_type), entry.value or b""
