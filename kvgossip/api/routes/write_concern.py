"""Waiting for a write: /kv/{key} with ?wait=, until others hold it, or with ?at_least=, until it
is here."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError, hint_of
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answers
from kvgossip.api.http.route import Call, Parameter
from kvgossip.api.http.schema import POOL, TEXT, VERSION, YES_OR_NO, many, named
from kvgossip.errors import KVGossipError, LocalError
from kvgossip.protocol.acks.write_concern import WriteConcern, parse_write_concern
from kvgossip.protocol.model.entry import Version, parse_version, version_of
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.peer import Peer
from kvgossip.runtime.changing import WAIT_TIMEOUT_S
from kvgossip.runtime.pending.write_acks import AckedWrite, WriteAck
from kvgossip.runtime.writes import WAIT_TIMEOUT_MAX_S

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node
    from kvgossip.runtime.writes import Written

LINES = "application/x-ndjson"
TIMEOUT = Parameter(
    "query", "timeout", TEXT, f"how long to wait: 500ms, 2s, 1m; default {WAIT_TIMEOUT_S:.0f}s"
)
WAIT = (
    Parameter(
        "query",
        "wait",
        TEXT,
        "answer when so many hold it: N, majority, all, zone:N or other-zone:N",
    ),
    TIMEOUT,
)
AT_LEAST = (
    Parameter("query", "at_least", TEXT, "answer when this version, or a newer one, is here"),
    TIMEOUT,
)
_PEER = named("Holder", name=TEXT, pool=POOL)
WAITED = named(
    "Waited",
    key=TEXT,
    version=VERSION,
    met=YES_OR_NO,
    held_by=many(_PEER),
    lacking=many(_PEER),
)
GONE_CHECK_S = 0.5
"""How soon a client that has gone away is noticed while nothing is written to it."""
STANDS = "the write stands and will reach the others; GET /converge tells when all nodes are equal"
Result = TypeVar("Result")


class WriteOptions(NamedTuple):
    """The members that a write is to wait for."""

    write_concern: WriteConcern
    timeout_s: float
    in_lines: bool


class Waiting:
    """Waits on behalf of requests, and answers them."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    # -- writes that wait -------------------------------------------------------------------------

    def options_of(self, call: Call) -> WriteOptions | None:
        """The options ?wait= and ?timeout=; None: there are none. Raises RequestError if they
        cannot be understood, before anything is written."""
        query = call.query
        if "wait" in query:
            in_lines = LINES in call.request.headers.get("Accept", "")
            return WriteOptions(_write_concern_of(query["wait"]), _timeout_of(query), in_lines)
        if "timeout" in query:
            raise RequestError(
                400,
                "timeout= goes with wait=",
                "nothing was changed; add wait=all, or leave timeout= out",
            )
        return None

    def check(self, options: WriteOptions) -> None:
        """To be called in the turn of the write, before it. Raises CannotMeetError or
        OverloadedError."""
        self._node.check_wait(options.write_concern, options.timeout_s)

    async def held(
        self, call: Call, written: Written, options: WriteOptions, head: str
    ) -> web.StreamResponse:
        """The answer to a write, once others hold it or the time is up. `head`: header lines that
        belong to it."""
        if options.in_lines:
            return await self._held_in_lines(call, written, options)
        held = await _while_there(
            call.request,
            self._node.held(
                decode_key(call.key), written, options.write_concern, timeout_s=options.timeout_s
            ),
        )
        return self._answers.json(
            200 if held.met else 202,
            self._document(held, options),
            f"KV-Version: {held.entry.version}\r\n{head}",
        )

    async def _held_in_lines(
        self, call: Call, written: Written, options: WriteOptions
    ) -> web.StreamResponse:
        """A line of JSON for each holder as soon as it is known, and the answer as the last one."""
        lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        work = self._node.held(
            decode_key(call.key),
            written,
            options.write_concern,
            timeout_s=options.timeout_s,
            on_ack=lambda ack: lines.put_nowait({"held_by": _ack(ack)}),
        )
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: lines.put_nowait(None))
        response = web.StreamResponse(
            headers={"Content-Type": LINES, "KV-Version": str(version_of(written.record))}
        )
        try:
            await response.prepare(call.request)
            while (line := await _while_there(call.request, lines.get())) is not None:
                await response.write(msgspec.json.encode(line) + b"\n")
            await response.write(msgspec.json.encode(await self._last_line(task, options)) + b"\n")
        finally:
            task.cancel()
        return response

    async def _last_line(
        self, task: asyncio.Future[AckedWrite], options: WriteOptions
    ) -> dict[str, Any]:
        """The status has been sent, so a failure is a line with words."""
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
            "held_by": [_ack(ack) for ack in held.held_by],
            "lacking": [{**_peer(each.peer), "state": _state(each.state)} for each in held.lacking],
        }
        return document if held.met else {**document, "hint": STANDS}

    # -- reads that wait --------------------------------------------------------------------------

    async def arrived(self, call: Call) -> None:
        """Returns when what ?at_least= asks for is here. Raises StaleError where it has not come
        within ?timeout=."""
        if "at_least" not in call.query:
            raise RequestError(
                400, "timeout= goes with at_least=", "add at_least=VERSION, or leave timeout= out"
            )
        version, timeout_s = version_of_text(call.query["at_least"]), _timeout_of(call.query)
        await _while_there(
            call.request, self._node.wait_for(decode_key(call.key), version, timeout_s)
        )


async def _while_there(request: web.BaseRequest, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work. Raises ConnectionError when the client goes away, and stops the work:
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


def _timeout_of(query: Mapping[str, str]) -> float:
    return (
        duration_s("timeout", query["timeout"], WAIT_TIMEOUT_MAX_S)
        if "timeout" in query
        else WAIT_TIMEOUT_S
    )


def _write_concern_of(text: str) -> WriteConcern:
    try:
        return parse_write_concern(text)
    except LocalError as error:
        raise RequestError(400, str(error), f"nothing was changed; {error.hint}") from None


def version_of_text(text: str) -> Version:
    """Raises RequestError(400) for what is no version."""
    try:
        return parse_version(text)
    except LocalError as error:
        raise RequestError(400, str(error), error.hint) from None


def _peer(peer: Peer) -> dict[str, Any]:
    return {"name": peer.name, "pool": peer.pool.value}


def _state(state: MemberState | None) -> str:
    return "unknown" if state is None else state.name.lower()


def _ack(ack: WriteAck) -> dict[str, Any]:
    return {"name": ack.name, "pool": ack.pool.value, "ms": round(ack.after_s * 1000, 2)}
