"""What clients want to know about a write: /kv/{key} with ?wait= or ?at_least=, and
/history/{key}."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError, hint_of
from kvgossip.api.http.openapi import VERSION, Paths, Schema, fields, operation, parameter
from kvgossip.api.http.request_target import decode_key, parameters, split_target
from kvgossip.api.http.response import Answer, Answers, sendable
from kvgossip.errors import KVGossipError, LocalError
from kvgossip.protocol.acks.write_concern import WriteConcern, parse_write_concern
from kvgossip.protocol.model.entry import Version, parse_version, version_of
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.peer import Peer
from kvgossip.runtime.changes.history import HistoryEntry
from kvgossip.runtime.node import WAIT_TIMEOUT_S
from kvgossip.runtime.pending.write_acks import AckedWrite, WriteAck
from kvgossip.runtime.writes import WAIT_TIMEOUT_MAX_S

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node
    from kvgossip.runtime.writes import Written

LINES = "application/x-ndjson"
TEXT: Schema = {"type": "string"}
WRITE_PARAMETERS = ("wait", "timeout", "ttl")
TIMEOUT = parameter(
    "query", "timeout", TEXT, f"how long to wait: 500ms, 2s, 1m; default {WAIT_TIMEOUT_S:.0f}s"
)
WAIT = (
    parameter(
        "query",
        "wait",
        TEXT,
        "answer when so many hold it: N, majority, all, zone:N or other-zone:N",
    ),
    TIMEOUT,
)
AT_LEAST = (
    parameter("query", "at_least", TEXT, "answer when this version, or a newer one, is here"),
    TIMEOUT,
)
_PEER = fields(name=TEXT, pool={"enum": ["lan", "wan"]})
WAITED = fields(
    key=TEXT,
    version=VERSION,
    met={"type": "boolean"},
    held_by={"type": "array", "items": _PEER},
    lacking={"type": "array", "items": _PEER},
)
PATHS: Paths = {
    "/history/{key}": {
        "get": operation(
            "The versions of a key that this node remembers, newest first; with version, the raw "
            "value of one.",
            fields(
                key=TEXT,
                versions={
                    "type": "array",
                    "items": fields(version=VERSION, deleted={"type": "boolean"}),
                },
            ),
            (404,),
            parameters=(
                parameter("path", "key", TEXT, "as in /kv/{key}"),
                parameter(
                    "query", "version", TEXT, "give the value that the key had in this version"
                ),
            ),
        )
    }
}
GONE_CHECK_S = 0.5
"""How soon a client that has gone away is noticed while nothing is written to it."""
STANDS = "the write stands and will reach the others; GET /converge tells when all nodes are equal"
Result = TypeVar("Result")


class WriteOptions(NamedTuple):
    """Whom a write is to wait for."""

    write_concern: WriteConcern
    timeout_s: float
    in_lines: bool


class Waiting:
    """Waits on behalf of requests, and answers them."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    # -- writes that wait -------------------------------------------------------------------------

    def options_of(self, request: web.BaseRequest) -> WriteOptions | None:
        """What ?wait= and ?timeout= ask for; None: nothing. Raises RequestError for what is no
        wish, before anything is written."""
        query = split_target(request.raw_path)[1]
        if not query:
            return None
        asked = parameters(
            query, WRITE_PARAMETERS if request.method == "PUT" else ("wait", "timeout")
        )
        if "ttl" in asked and len(asked) == 1:
            return None
        if "wait" not in asked:
            raise RequestError(
                400,
                "timeout= goes with wait=",
                "nothing was changed; add wait=all, or leave timeout= out",
            )
        return WriteOptions(
            _need_of(asked["wait"]), _timeout_of(asked), LINES in request.headers.get("Accept", "")
        )

    def check(self, options: WriteOptions) -> None:
        """To be called in the turn of the write, before it. Raises CannotMeetError or
        OverloadedError."""
        self._node.check_wait(options.write_concern, options.timeout_s)

    async def held(
        self, request: web.BaseRequest, key: str, written: Written, options: WriteOptions, head: str
    ) -> web.StreamResponse:
        """The answer to a write, once others hold it or the time is up. `head`: header lines that
        belong to it."""
        if options.in_lines:
            return await self._held_in_lines(request, key, written, options)
        held = await _while_there(
            request,
            self._node.held(key, written, options.write_concern, timeout_s=options.timeout_s),
        )
        return self._answers.json(
            200 if held.met else 202,
            self._document(held, options),
            f"KV-Version: {held.entry.version}\r\n{head}",
        )

    async def _held_in_lines(
        self, request: web.BaseRequest, key: str, written: Written, options: WriteOptions
    ) -> web.StreamResponse:
        """A line of JSON for each holder as soon as it is known, and the answer as the last one."""
        lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        work = self._node.held(
            key,
            written,
            options.write_concern,
            timeout_s=options.timeout_s,
            told=lambda holder: lines.put_nowait({"held_by": _holder(holder)}),
        )
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: lines.put_nowait(None))
        response = web.StreamResponse(
            headers={"Content-Type": LINES, "KV-Version": str(version_of(written.record))}
        )
        try:
            await response.prepare(request)
            while (line := await _while_there(request, lines.get())) is not None:
                await response.write(msgspec.json.encode(line) + b"\n")
            await response.write(msgspec.json.encode(await self._last_line(task, options)) + b"\n")
        finally:
            task.cancel()
        return response

    async def _last_line(
        self, task: asyncio.Future[AckedWrite], options: WriteOptions
    ) -> dict[str, Any]:
        """The status has been sent, so a failure is told in words."""
        try:
            return self._document(await task, options)
        except KVGossipError as error:
            return {"error": str(error), "hint": hint_of(error)}

    def _document(self, held: AckedWrite, options: WriteOptions) -> dict[str, Any]:
        document = {
            "key": held.entry.key,
            "version": str(held.entry.version),
            **({"deleted": True} if held.entry.deleted else {}),
            "wait": str(options.write_concern),
            "met": held.met,
            "among": self._node.waits_among,
            "held_by": [_holder(holder) for holder in held.held_by],
            "lacking": [
                {**_peer(each.peer), "state": each.state.name.lower()} for each in held.lacking
            ],
        }
        return document if held.met else {**document, "hint": STANDS}

    # -- reads that wait --------------------------------------------------------------------------

    async def arrived(self, request: web.BaseRequest, key: str, query: str) -> None:
        """Returns when what ?at_least= asks for is here. Raises StaleError where it has not come
        within ?timeout=."""
        asked = parameters(query, ("at_least", "timeout"))
        if "at_least" not in asked:
            raise RequestError(
                400, "timeout= goes with at_least=", "add at_least=VERSION, or leave timeout= out"
            )
        await _while_there(
            request, self._node.wait_for(key, _version_of(asked["at_least"]), _timeout_of(asked))
        )

    # -- history ----------------------------------------------------------------------------------

    async def history(self, request: web.BaseRequest, encoded_key: str) -> Answer:
        """The versions that this node remembers, newest first, without their values; with
        ?version=, the raw value of that one."""
        key, query = decode_key(encoded_key), split_target(request.raw_path)[1]
        asked = parameters(query, ("version",))
        editions = self._node.history(key)
        if "version" in asked:
            return self._history_entry(editions, _version_of(asked["version"]))
        if not editions:
            return self._answers.problem(
                404,
                "there is no such key, and no history of one",
                "history is what this node has seen itself",
            )
        return self._answers.json(
            200, {"key": key, "versions": [_history_entry(each) for each in editions]}
        )

    def _history_entry(self, editions: list[HistoryEntry], version: Version) -> Answer:
        entry = next((each.entry for each in editions if each.entry.version == version), None)
        if entry is None:
            text = f"version {version} of this key is not remembered here"
            return self._answers.problem(404, text, "GET /history/{key} lists those that are")
        head = f"KV-Version: {version}\r\n"
        if entry.value is None:
            return self._answers.json(
                404, {"error": "this version is a delete", "hint": "", "deleted": True}, head
            )
        return self._answers.octets(
            200, entry.value, f"Content-Type: {sendable(entry.content_type)}\r\n{head}"
        )


async def _while_there(request: web.BaseRequest, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives. Raises ConnectionError when the client goes away, and stops the work:
    nobody waits in vain."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=GONE_CHECK_S)
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
        return task.result()
    finally:
        task.cancel()


def _timeout_of(asked: Mapping[str, str]) -> float:
    return (
        duration_s("timeout", asked["timeout"], WAIT_TIMEOUT_MAX_S)
        if "timeout" in asked
        else WAIT_TIMEOUT_S
    )


def _need_of(text: str) -> WriteConcern:
    try:
        return parse_write_concern(text)
    except LocalError as error:
        raise RequestError(400, str(error), f"nothing was changed; {error.hint}") from None


def _version_of(text: str) -> Version:
    try:
        return parse_version(text)
    except LocalError as error:
        raise RequestError(400, str(error), error.hint) from None


def _peer(peer: Peer) -> dict[str, Any]:
    return {"name": peer.name, "pool": peer.pool.value}


def _holder(holder: WriteAck) -> dict[str, Any]:
    return {"name": holder.name, "pool": holder.pool.value, "ms": round(holder.after_s * 1000, 2)}


def _history_entry(edition: HistoryEntry) -> dict[str, Any]:
    entry = edition.entry
    return {
        "version": str(entry.version),
        "present": edition.present,
        "written_ms": milliseconds_of(entry.version.timestamp),
        "by": edition.writer,
        "site": f"{entry.version.site:016x}",
        "deleted": entry.deleted,
        "content_type": entry.content_type,
        "bytes": len(entry.value or b""),
    }
