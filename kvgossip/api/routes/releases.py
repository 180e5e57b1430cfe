"""/releases/{key}: releases of the values under a prefix, which is the key, for every language.

The node that is asked makes the step from what it has, as a cache inside a process does (releases/
step.py); nobody coordinates. Who waits and goes back is the client.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kvgossip.api.access.rights import Right, Scope
from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Body, Call, Family, Parameter, Route
from kvgossip.api.http.schema import OBJECT, TEXT, WHOLE, many, named, or_null, struct
from kvgossip.api.keys import until_kept
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.write import Writing
from kvgossip.releases.document import (
    BYTES_MAX,
    CONTENT_TYPE,
    SentRelease,
    name_at,
    sent_document,
)
from kvgossip.releases.names import (
    document_key,
    documents_under,
    pointer_key,
)
from kvgossip.releases.outcome import MemberState, states_of
from kvgossip.releases.pointer import (
    FORMAT,
    Pointer,
    read_pointer,
)
from kvgossip.releases.step import Author, Step, Steps
from kvgossip.releases.target import parse_target

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

NAMES_MAX = 1000
SURVEY_TIMEOUT_S, SURVEY_TIMEOUT_MAX_S = 1.0, 60.0
HINT = 'send {"values": {NAME: JSON, ...}, "base64": {NAME: BYTES, ...}}, names without the prefix'
STEPS = ("promote", "rollback", "withdraw")
_PREFIX = Parameter("path", "key", TEXT, "the prefix, as a key in /kv/{key}")
_POINTER = {
    "prefix": TEXT,
    "release": TEXT,
    "before": many(TEXT),
    "canary": or_null(named("CanaryOf", release=TEXT, to=TEXT)),
    "by": TEXT,
    "at_ms": WHOLE,
}
_MADE = named("ReleaseMade", **_POINTER, made=TEXT, hits=many(TEXT))
_LOOKED = named(
    "Releases",
    **_POINTER,
    releases=many(TEXT),
    members=many({**struct(MemberState), "title": "ReleaseState"}),
)
_POINTER_EXAMPLE = {
    "prefix": "shop/", "release": "2026-11-29.3", "before": ["2026-11-28.1"], "canary": None,
    "by": "web-1", "at_ms": 1796000000000,
}  # fmt: skip
_MADE_EXAMPLE = {**_POINTER_EXAMPLE, "made": "2026-11-29.3", "hits": ["web-1", "web-2"]}
_STATE_EXAMPLE = {"node": "web-1", "release": "2026-11-29.3", "state": "applied", "why": ""}


def prefix_in_path(call: Call) -> Scope:
    """All keys under the prefix."""
    return Scope(decode_key(call.key), is_prefix=True)


class ReleaseRoutes(Family):
    """GET, PUT and POST /releases/{key}."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def look(self, call: Call) -> Answer:
        """Which release is for all and which for whom, and what each member made of it; with
        ?name=, the document of one."""
        prefix = _prefix_of(call)
        if "name" in call.query:
            return self._document(prefix, call.query["name"])
        timeout_s = (
            duration_s("timeout", call.query["timeout"], SURVEY_TIMEOUT_MAX_S)
            if "timeout" in call.query
            else SURVEY_TIMEOUT_S
        )
        pointer, start = self._pointer(prefix), documents_under(prefix)
        names = [key[len(start) :] for key, _ in self._node.records(start, limit=NAMES_MAX)]
        survey = await self._node.applied.survey(prefix, timeout_s)
        document = {
            "prefix": prefix,
            **_pointer_fields(pointer),
            "releases": names,
            "members": states_of(survey, pointer.wanted),
        }
        return self._answers.json(200, document)

    async def make(self, call: Call) -> Answer:
        """Makes a release, for all or for those in ?to=."""
        prefix = _prefix_of(call)
        sent = await call.command(SentRelease)
        author = self._author()
        name = call.query.get("name") or sent.name or name_at(author.at_ms)
        document = sent_document(prefix, name, sent, by=author.by, at_ms=author.at_ms)
        to = parse_target(call.query["to"]) if "to" in call.query else None
        steps = await self._steps(prefix, author)
        step = steps.release(document, to)
        if step.document is not None:
            # made anew when the document stands: others may have written the pointer meanwhile
            await self._write(step.document)
            step = steps.release(document, to)
        return await self._made(prefix, step)

    async def step(self, call: Call) -> Answer:
        """Promotes the canary, goes back, or takes a release back."""
        prefix = _prefix_of(call)
        if len(call.query) != 1:
            raise RequestError(
                400, "one thing can be done at a time", f"use one of {', '.join(STEPS)}"
            )
        ((what, name),) = call.query.items()
        steps = await self._steps(prefix, self._author())
        make = {"promote": steps.promote, "rollback": steps.rollback, "withdraw": steps.withdraw}
        return await self._made(prefix, make[what](name))

    async def _made(self, prefix: str, step: Step) -> Answer:
        await self._write(step.pointer)
        pointer = self._pointer(prefix)
        document = {
            "prefix": prefix,
            "made": step.release,
            **_pointer_fields(pointer),
            "hits": step.hits,
        }
        return self._answers.json(200, document)

    def _document(self, prefix: str, name: str) -> Answer:
        entry = self._node.entry(document_key(prefix, name))
        if entry is None:
            return self._answers.problem(
                404,
                f"there is no release {name!r} under {prefix!r}",
                "GET /releases/PREFIX lists those that there are",
            )
        return self._answers.value(entry.value, CONTENT_TYPE, f"KV-Version: {entry.version}\r\n")

    async def _steps(self, prefix: str, author: Author) -> Steps:
        survey = await self._node.applied.survey(prefix, SURVEY_TIMEOUT_S)
        return Steps(prefix, self._node.get, survey, author)

    def _author(self) -> Author:
        return Author(self._node.name, time.time_ns() // 1_000_000)

    def _pointer(self, prefix: str) -> Pointer:
        octets = self._node.get(pointer_key(prefix))
        return Pointer(format=FORMAT) if octets is None else read_pointer(octets)

    async def _write(self, writing: Writing) -> None:
        written = self._node.begin_put(
            writing.key, writing.value or b"", content_type=writing.content_type
        )
        await until_kept(written.durable)

    ROUTES = (
        Route(
            "GET",
            "/releases/{key}",
            look,
            Right.READ,
            "Which release is for all, which for whom, and who applied or refused it; with name, "
            "the document of one.",
            {"type": "object", "anyOf": [_LOOKED, OBJECT]},
            (404,),
            example={
                **_POINTER_EXAMPLE,
                "releases": ["2026-11-29.3"],
                "members": [_STATE_EXAMPLE],
            },
            scope=prefix_in_path,
            parameters=(
                _PREFIX,
                Parameter("query", "name", TEXT, "give the document of this release"),
                Parameter("query", "timeout", TEXT, "how long to wait for members: 500ms, 2s"),
            ),
        ),
        Route(
            "PUT",
            "/releases/{key}",
            make,
            Right.WRITE,
            "Make a whole set of values the release of all members, or of some.",
            _MADE,
            (408, 409, 413, 507),
            scope=prefix_in_path,
            body=Body(
                SentRelease, HINT, lambda config: 2 * BYTES_MAX, {"values": {"theme": "dark"}}
            ),
            example=_MADE_EXAMPLE,
            parameters=(
                _PREFIX,
                Parameter("query", "name", TEXT, "its name; by the time, where it is left out"),
                Parameter(
                    "query", "to", TEXT, "a canary for these: zone=paris,share=0.1,member=web-1"
                ),
            ),
        ),
        Route(
            "POST",
            "/releases/{key}",
            step,
            Right.WRITE,
            "Promote a canary, or go back.",
            _MADE,
            (404, 409, 507),
            example=_MADE_EXAMPLE,
            scope=prefix_in_path,
            parameters=(
                _PREFIX,
                Parameter("query", "promote", TEXT, "the canary of this name is for all"),
                Parameter("query", "rollback", TEXT, "the release to go back to; empty: the last"),
                Parameter("query", "withdraw", TEXT, "the newest release, to be taken back"),
            ),
        ),
    )


def _prefix_of(call: Call) -> str:
    prefix = decode_key(call.key)
    check_key(pointer_key(prefix))
    return prefix


def _pointer_fields(pointer: Pointer) -> dict[str, Any]:
    canary = pointer.canary
    return {
        "release": pointer.release,
        "before": pointer.before,
        "canary": None if canary is None else {"release": canary.release, "to": str(canary.to)},
        "by": pointer.by,
        "at_ms": pointer.at_ms,
    }
