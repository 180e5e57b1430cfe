"""Events as text: the blocks of a stream (text/event-stream, WHATWG HTML 9.2) and the JSON
documents of a long poll."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from kvgossip.api.access.rights import Caller, Scope
from kvgossip.api.typed_answers import version_in
from kvgossip.protocol.model.entry import TYPED, content_type_in, is_dead, value_offset
from kvgossip.protocol.typed.views import siblings_in, view_of, viewed_type
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.follower import Event, Kind
from kvgossip.runtime.changes.watchers import Topic

VALUES = ("none", "text", "base64")
RETRY_MS = 1000
_EVENT_LINES = {kind: f"event: {kind}\ndata: ".encode() for kind in Kind}
NEVER = "0"
"""The cursor of a watcher that has seen nothing: a resync, on every node."""


class Form(NamedTuple):
    """The events that a watcher wants, and how. Watchers of one form get the same bytes.

    `values`: one of VALUES. `coalesce_s`: 0: every change. Else changes are gathered for so long,
    and only the last of each key is sent.
    """

    topic: Topic
    values: str = "none"
    coalesce_s: float = 0.0


def may_see(caller: Caller | None, form: Form) -> bool:
    """`caller`: None: everybody may."""
    return caller is None or caller.may_read(Scope(form.topic.text))


def cursor_of(event: Event, feed: Feed) -> str | None:
    """The cursor with which the watcher is to come back once it has this event; None: with the one
    that it had before."""
    return (feed.cursor(event.at) if event.at else NEVER) if event.at is not None else None


def blocks(events: Iterable[Event], form: Form, feed: Feed, *, more: bool) -> bytes:
    """These events, which changed together, as they are sent; `more`: with those that follow."""
    sent = chosen(events, form)
    last = None if more or not sent else sent[-1]
    return b"".join(
        _block(event, form.values, cursor_of(event, feed), more=event is not last) for event in sent
    )


def chosen(events: Iterable[Event], form: Form) -> list[Event]:
    """Those of these events that are sent: all of them, or the last of each key in the order of the
    last ones. No conflict takes the place of another one."""
    if not form.coalesce_s or form.topic.conflicts:
        return list(events)
    last: dict[str, Event] = {}
    for event in events:
        last.pop(event.key, None)
        last[event.key] = event
    return list(last.values())


def _block(event: Event, values: str, cursor: str | None, *, more: bool) -> bytes:
    head = b"" if cursor is None else b"id: %s\n" % cursor.encode()
    fields = document(event, values)
    # a snapshot is whole at its end
    if more and fields and cursor is not None:
        fields["more"] = True
    return b"".join((head, _EVENT_LINES[event.kind], msgspec.json.encode(fields), b"\n\n"))


def notice(kind: str, error: str, hint: str) -> bytes:
    """An event that is about the stream itself."""
    return b"event: %s\ndata: %s\n\n" % (
        kind.encode(),
        msgspec.json.encode({"error": error, "hint": hint}),
    )


def greeting(cursor: str) -> bytes:
    """The begin of a stream: its cursor, and how long a client waits before it reconnects."""
    return f"retry: {RETRY_MS}\nid: {cursor}\n\n".encode()


def waiting() -> bytes:
    """The begin of a stream whose events come once the node has settled."""
    comment = "the node has not settled yet: events come once it has"
    return f"retry: {RETRY_MS}\n: {comment}\n\n".encode()


def beat(cursor: str | None) -> bytes:
    """A sign of life: a comment, and perhaps a newer cursor. A block without data is no event."""
    return b":\n\n" if cursor is None else f":\nid: {cursor}\n\n".encode()


def document(event: Event, values: str) -> dict[str, Any]:
    """Key and version of the change; of a put content type and size as well, and the value where it
    is asked for; of a key whose writes are merged its type, and how many siblings there are. Of a
    conflict the same of `lost` as well.

    `value` is as `values` says; a value that is no UTF-8, where text is asked for, comes as
    `value_base64` instead.
    """
    if not event.record:
        return {}
    fields = {"key": event.key, **_body(event.record, values)}
    if event.kind is Kind.CONFLICT:
        fields["lost"] = _body(event.lost, values)
    return fields


def _body(record: bytes, values: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"version": version_in(record)}
    if is_dead(record):
        return fields
    if record[0] & TYPED:
        entry = view_of("", record)
        value = entry.value or b""
        fields |= {"content_type": entry.content_type, "bytes": len(value)}
        fields |= {"type": viewed_type(record), "siblings": siblings_in(record)}
    else:
        value = record[value_offset(record) :]
        fields |= {"content_type": content_type_in(record), "bytes": len(value)}
    if values == "base64":
        fields["value"] = b64encode(value).decode()
    elif values == "text":
        try:
            fields["value"] = value.decode()
        except UnicodeDecodeError:
            fields["value_base64"] = b64encode(value).decode()
    return fields
