"""POST /batch: puts, deletes, edits and gets that happen together, on this node and, but for keys
whose writes are merged, on every one that hears of them (protocol/rumors/batches.py)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from kvgossip.api.access.rights import Right
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Body, Call, Family, Route
from kvgossip.api.http.schema import (
    TEXT,
    VERSION,
    VERSION_EXAMPLE,
    WHOLE,
    many,
    named,
    or_null,
)
from kvgossip.api.keys import Keys, until_kept
from kvgossip.api.routes.kv_edit import VERBS, EditBody, edit_of
from kvgossip.errors import LocalError
from kvgossip.protocol.model.entry import (
    TTL_S_MAX,
    Entry,
    check_content_type,
    check_flags,
    check_ttl,
    version_of,
)
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.write import BATCH_ENTRIES_MAX, Writing
from kvgossip.protocol.typed.edit import KeyEdit

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

HINT = (
    'send {"operations": [{"put": KEY, "value": TEXT}, {"put": KEY, "base64": BYTES}, '
    '{"delete": KEY}, {"get": KEY}, {"edit": KEY, "add": 1}]}'
)
BODY_SHARE = 8
"""A body may have so many bytes for each byte of a batch: escapes, base64, and the names of
fields."""


class Operation(EditBody, forbid_unknown_fields=True):
    """Exactly one of `put`, `delete`, `get` and `edit` names a key. A put has a `value` or
    `base64`, and may have the others down to `flags`; `ttl`: 30s. An edit asks for one of the
    things that POST /kv/{key} takes."""

    put: str | None = None
    delete: str | None = None
    get: str | None = None
    edit: str | None = None
    value: str | None = None
    base64: str | None = None
    content_type: str | None = None
    ttl: str | None = None
    flags: int | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    operations: Annotated[list[Operation], Meta(min_length=1, max_length=2 * BATCH_ENTRIES_MAX)]


_RESULT = {
    **named("BatchResult", version=or_null(VERSION)),
    "properties": {
        "version": or_null(VERSION),
        **dict.fromkeys(("put", "delete", "get", "edit", "base64", "content_type", "type"), TEXT),
        "value": {"description": "a text; of an edit what this node has then, null to who may not"},
        "flags": WHOLE,
    },
}
_EXAMPLE = {
    "operations": [
        {"put": "config/theme", "value": "dark", "content_type": "text/plain"},
        {"delete": "config/old"},
        {"get": "config/size"},
        {"edit": "hits", "add": 1},
    ]
}
_ANSWER = {
    "results": [
        {"put": "config/theme", "version": VERSION_EXAMPLE},
        {"delete": "config/old", "version": None},
        {"get": "config/size", "version": VERSION_EXAMPLE, "value": "10"},
        {"edit": "hits", "version": VERSION_EXAMPLE, "type": "counter", "value": 3},
    ]
}


class BatchRoutes(Family):
    """Batches of one node."""

    def __init__(self, node: Node, keys: Keys, answers: Answers) -> None:
        self._node, self._keys, self._answers = node, keys, answers

    async def batch(self, call: Call) -> Answer:
        """All of it, or nothing: a part that is refused, also for want of a right, refuses the
        whole. Gets answer what was
        there before the writes."""
        command = await call.command(BatchBody)
        operations = [_checked(place, each) for place, each in enumerate(command.operations)]
        for each in operations:
            if each.get is not None:
                call.caller.must_read(each.get)
            else:
                call.caller.must_write(each.put or each.delete or each.edit or "")
        # from here to the writes without a pause: nothing comes in between
        found = {
            each.get: self._node.entry(each.get) for each in operations if each.get is not None
        }
        writes = [
            _writing(place, each) for place, each in enumerate(operations) if each.get is None
        ]
        records: Mapping[str, bytes] = {}
        if writes:
            batch = self._node.begin_batch(writes)
            records = batch.records
            await until_kept(batch.durable)
        return self._answers.json(
            200, {"results": [self._result(call, each, found, records) for each in operations]}
        )

    def _result(
        self,
        call: Call,
        each: Operation,
        found: Mapping[str, Entry | None],
        records: Mapping[str, bytes],
    ) -> dict[str, Any]:
        if each.get is not None:
            entry = found[each.get]
            return (
                {"get": each.get, "version": None}
                if entry is None
                else {"get": each.get, "version": str(entry.version), **_value(entry)}
            )
        if each.edit is not None:
            return {
                "edit": each.edit,
                **self._keys.edited(each.edit, edit_of(each), records.get(each.edit), call.caller),
            }
        key = each.put or each.delete or ""
        record = records.get(key)
        return {
            "put" if each.put is not None else "delete": key,
            "version": None if record is None else str(version_of(record)),
        }

    ROUTES = (
        Route(
            "POST",
            "/batch",
            batch,
            Right.EACH_KEY,
            "Puts, deletes, edits and gets that happen together: all of it, or nothing.",
            named("BatchResults", results=many(_RESULT)),
            (403, 408, 413, 431),
            body=Body(
                BatchBody, HINT, lambda config: BODY_SHARE * config.message_bytes_max, _EXAMPLE
            ),
            example=_ANSWER,
        ),
    )


def _checked(place: int, each: Operation) -> Operation:
    """Raises RequestError for a part that is no operation, and says which one."""
    named = [name for name in ("put", "delete", "get", "edit") if getattr(each, name) is not None]
    if len(named) != 1:
        raise _unfit(place, "it needs one of put, delete, get and edit")
    if each.edit is None and any(getattr(each, name) is not None for name in (*VERBS, "field")):
        raise _unfit(place, "only an edit adds, removes, sets or unsets")
    if named == ["put"]:
        if (each.value is None) == (each.base64 is None):
            raise _unfit(place, "a put needs one of value and base64")
        _decoded(place, each)
    elif any(
        getattr(each, name) is not None
        for name in ("value", "base64", "content_type", "ttl", "flags")
    ):
        raise _unfit(place, f"{named[0]} has none of value, base64, content_type, ttl and flags")
    try:
        check_key(each.put or each.delete or each.get or each.edit or "")
        check_content_type(each.content_type)
        check_flags(each.flags or 0)
        check_ttl(_ttl_s(each))
    except LocalError as error:
        raise _unfit(place, str(error)) from None
    return each


def _unfit(place: int, text: str) -> RequestError:
    return RequestError(
        400, f"operation {place + 1} does not fit: {text}", f"nothing was changed; {HINT}"
    )


def _decoded(place: int, put: Operation) -> bytes:
    if put.value is not None:
        return put.value.encode()
    try:
        return base64.b64decode(put.base64 or "", validate=True)
    except ValueError:
        raise _unfit(place, "its base64 cannot be read") from None


def _writing(place: int, each: Operation) -> Writing | KeyEdit:
    if each.edit is not None:
        try:
            return KeyEdit(each.edit, edit_of(each))
        except RequestError:
            raise _unfit(place, "an edit asks for one thing, as POST /kv/KEY does") from None
    if each.delete is not None:
        return Writing(each.delete, None)
    return Writing(
        each.put or "", _decoded(0, each), each.content_type, _ttl_s(each), each.flags or 0
    )


def _ttl_s(put: Operation) -> float | None:
    return None if put.ttl is None else duration_s("ttl", put.ttl, TTL_S_MAX)


def _value(entry: Entry) -> dict[str, Any]:
    value = entry.value or b""
    try:
        document: dict[str, Any] = {"value": value.decode()}
    except UnicodeDecodeError:
        document = {"base64": base64.b64encode(value).decode()}
    if entry.content_type is not None:
        document["content_type"] = entry.content_type
    if entry.flags:
        document["flags"] = entry.flags
    return document
