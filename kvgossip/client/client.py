"""The other end of the API: every route that a command needs, as a method that waits for its
answer."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from kvgossip.client.conversation import (
    MULTIPLE_CHOICES,
    Conversation,
    Reply,
    content_type_header,
    context_header,
)
from kvgossip.client.failures import NO_NODE, RefusedError, UnreachableError, broken_off

STREAM_TIMEOUT_S = 60.0
"""A stream shows a sign of life every 15 s; after a minute without one it is lost."""
LINES = "application/x-ndjson"


class StreamEvent(NamedTuple):
    """One block of a stream: the event's name and document, and the cursor to come back with after
    it. A sign of life has an empty name."""

    event: str
    cursor: str
    data: Any


class Client(Conversation):
    """One method for each route; every one raises UnreachableError or RefusedError."""

    def get(self, key: str, *, newest: bool = False) -> Reply:
        """The value's bytes; its headers have version and content type. `newest`: of siblings the
        newest one; else they are refused."""
        reply = self._call("GET", _path_of(key) + ("?resolve=lww" if newest else ""))
        if reply.status == MULTIPLE_CHOICES:
            raise RefusedError(
                MULTIPLE_CHOICES,
                f"the key {key} has {len(_document(reply)['siblings'])} values",
                f"`kvgossip get {key} --siblings` shows them, --newest takes the newest one",
            )
        return reply

    def siblings(self, key: str) -> Any:
        """All values of the key, {"key": ..., "siblings": [...], "context": token}; of one that has
        one value that one, in the same form."""
        reply = self._call("GET", _path_of(key))
        if reply.status == MULTIPLE_CHOICES:
            return _document(reply)
        return {
            "key": key,
            "siblings": [
                {
                    **_shown(reply.body),
                    "content_type": reply.headers.get("content-type"),
                    "version": reply.headers.get("kv-version"),
                }
            ],
            "context": reply.headers.get("kv-context"),
        }

    def put(
        self,
        key: str,
        value: bytes,
        content_type: str | None = None,
        ttl: str | None = None,
        context: str | None = None,
        *,
        siblings: bool = False,
    ) -> Any:
        """`context`: what the writer has seen of the key, which this supersedes. `siblings`: keep
        it beside what others write."""
        fields = _terms(ttl, siblings=siblings)
        target = _path_of(key) + (f"?{_query(fields)}" if fields else "")
        headers = context_header(context)
        return _document(self._call("PUT", target, value, content_type, headers))

    def edit(self, key: str, edit: dict[str, Any]) -> Any:
        """Of a key whose writes are merged: {"add": ...}, {"remove": ...}, {"set": ...} and so on,
        as docs/http.md has them."""
        return self._command(_path_of(key), edit)

    def batch(self, operations: list[dict[str, Any]]) -> Any:
        return self._command("/batch", {"operations": operations})

    def delete(self, key: str, context: str | None = None) -> Any:
        headers = context_header(context)
        return _document(self._call("DELETE", _path_of(key), headers=headers))

    def write_and_wait(
        self,
        key: str,
        value: bytes | dict[str, Any] | None,
        content_type: str | None,
        wait: str,
        timeout_s: float,
        on_ack: Callable[[dict[str, Any]], None],
        ttl: str | None = None,
        context: str | None = None,
        *,
        siblings: bool = False,
    ) -> Any:
        """Write, edit where `value` is a dict, or delete where it is None, and wait so long for
        those that `wait` names; `on_ack` gets each holder as it shows."""
        query = {"wait": wait, "timeout": f"{timeout_s:.3f}s"} | _terms(ttl, siblings=siblings)
        target = f"{_path_of(key)}?{_query(query)}"
        headers = {"Accept": LINES, **content_type_header(content_type), **context_header(context)}
        method, last = "DELETE" if value is None else "PUT", None
        if isinstance(value, dict):
            method, value = "POST", json.dumps(value).encode()
        answer = self._answer(method, target, value, headers, timeout_s + self._timeout_s)
        for line in _split(self._pieces(answer), b"\n"):
            last = json.loads(line)
            if "error" in last:
                raise RefusedError(503, last["error"], last["hint"])
            if isinstance(last.get("held_by"), dict):
                on_ack(last["held_by"])
        if last is None or not ("met" in last or "type" in last):
            raise broken_off("the write may stand: read the key, or `kvgossip history` it")
        return last

    def releases(
        self, method: str, prefix: str, query: dict[str, str] | None = None, body: Any = None
    ) -> Any:
        """What GET, PUT or POST of /releases answers."""
        target = f"{_path_of(prefix, '/releases/')}?{_query(query or {})}"
        if body is None:
            return _document(self._call(method, target))
        sent = json.dumps(body).encode()
        return _document(self._call(method, target, sent, "application/json"))

    def history(self, key: str) -> Any:
        return _document(self._call("GET", _path_of(key, "/history/")))

    def history_value(self, key: str, version: str) -> Reply:
        """The value that the key had in this version."""
        return self._call("GET", f"{_path_of(key, '/history/')}?{_query({'version': version})}")

    def story(self, key: str, everywhere: bool) -> Any:
        query = _query({"everywhere": "true" if everywhere else "false"})
        return _document(self._call("GET", f"{_path_of(key, '/story/')}?{query}"))

    def keep_stories(self, prefix: str, share: float, for_s: int) -> Any:
        return self._command("/story", {"prefix": prefix, "share": share, "for_s": for_s})

    def member_value(self, key: str, member: str) -> Reply:
        """The value that this member has under the key."""
        return self._call("GET", f"{_path_of(key, '/differences/')}?{_query({'member': member})}")

    def exchange(self, member: str) -> Any:
        return self._command("/exchange", {"member": member})

    def document(self, path: str, **query: str) -> Any:
        """What GET of this path answers, JSON."""
        return _document(self._call("GET", f"{path}?{_query(query)}" if query else path))

    def page(self, prefix: str = "", limit: int = 100, after: str = "") -> Any:
        """One page of the sorted list: {"entries": [...], "after": cursor or None}."""
        return _document(
            self._call("GET", "/kv?" + _query({"prefix": prefix, "limit": limit, "after": after}))
        )

    def watch(self, query: dict[str, str], since: str | None) -> Iterator[StreamEvent]:
        """The events of one stream of /watch, until it ends. `query` is that of the request,
        `since` a cursor."""
        asked = query if since is None else query | {"since": since}
        answer = self._answer("GET", f"/watch?{_query(asked)}", timeout_s=STREAM_TIMEOUT_S)
        cursor = since or ""
        for block in _split(self._pieces(answer), b"\n\n"):
            event = _event_of(block.decode(), cursor)
            cursor = event.cursor
            yield event

    def rtt(self, frm: str, to: str) -> Any:
        """`frm`: empty for the node itself."""
        return _document(self._call("GET", "/rtt?" + _query({"from": frm, "to": to})))

    def doctor(self) -> Any:
        return _document(self._call("POST", "/doctor"))

    def review(self, parameters: dict[str, str] | None, ignore: list[str]) -> Any:
        """`parameters`: what all members should have; None: what most have."""
        return self._command("/doctor/config", {"parameters": parameters, "ignore": ignore})

    def join(self, addresses: list[str], wan: bool = False, merge: bool = False) -> Any:
        return self._command("/join", {"addresses": addresses, "wan": wan, "merge": merge})

    def leave(self) -> Any:
        return _document(self._call("POST", "/leave"))

    def settle(self) -> Any:
        return _document(self._call("POST", "/settle"))

    def block(self, target: str) -> Any:
        return self._command("/block", {"target": target})

    def unblock(self, target: str) -> Any:
        return self._command("/unblock", {"target": target})

    def force_leave(self, name: str, prune: bool) -> Any:
        return self._command("/force-leave", {"name": name, "prune": prune})

    def keyring(self, action: str = "list", key: str = "") -> Any:
        """The ids of the keys that each node has, after this order."""
        if action == "list":
            return _document(self._call("GET", "/keyring"))
        return self._command("/keyring", {"action": action, "key": key})

    def export(self) -> Iterator[bytes]:
        """The lines of an archive, in pieces of any length."""
        yield from self._pieces(self._answer("GET", "/export"))

    def import_lines(self, lines: bytes, as_new: bool) -> Any:
        return _document(
            self._call(
                "POST",
                f"/import?as_new={'true' if as_new else 'false'}",
                lines,
                "application/x-ndjson",
            )
        )

    def quarantine(self, after: str = "") -> Any:
        """One page: {"values": [...], "after": cursor or None}."""
        return _document(self._call("GET", "/quarantine?" + _query({"after": after})))

    def quarantined(self, number: str) -> Reply:
        return self._call("GET", "/quarantine/value?" + _query({"number": number}))

    def restore_quarantined(self, number: str) -> Any:
        return self._command("/quarantine/restore", {"number": number})

    def confirm_drops(self) -> Any:
        return _document(self._call("POST", "/quarantine/confirm"))

    def discard_quarantined(self, number: str) -> Any:
        return self._command("/quarantine/discard", {"number": number})

    def _command(self, path: str, document: dict[str, Any]) -> Any:
        return _document(
            self._call("POST", path, json.dumps(document).encode(), "application/json")
        )


def _split(pieces: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    """What ends so, without its end."""
    unread = b""
    for piece in pieces:
        *whole, unread = (unread + piece).split(end)
        yield from whole


def _event_of(block: str, cursor: str) -> StreamEvent:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
    try:
        data = json.loads(fields.get("data", "{}"))
    except ValueError:
        raise UnreachableError("the stream is not JSON", NO_NODE) from None
    return StreamEvent(fields.get("event", ""), fields.get("id", cursor), data)


def _query(fields: dict[str, Any]) -> str:
    """Whatever a shell has handed over goes through; the node says what is wrong with it."""
    return urlencode(fields, errors="surrogateescape")


def _terms(ttl: str | None, *, siblings: bool) -> dict[str, str]:
    """What the query of a put says of it."""
    return ({} if ttl is None else {"ttl": ttl}) | ({"type": "siblings"} if siblings else {})


def _path_of(key: str, route: str = "/kv/") -> str:
    return route + quote(key.encode("utf-8", "surrogateescape"), safe="/")


def _shown(value: bytes) -> dict[str, str]:
    """As the API shows a value in JSON."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _document(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except ValueError:
        raise UnreachableError("the answer is not JSON", NO_NODE) from None
