"""POST /kv/{key}: counters, sets, maps, max and min: what is added, removed or set is merged with
what others do at the same time, and the type of a new key follows from what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from kvgossip.api.access.rights import Right
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import Answers
from kvgossip.api.http.route import Body, Call, Family, Route, key_in_path
from kvgossip.api.http.schema import TEXT, VERSION, VERSION_EXAMPLE, named, or_null
from kvgossip.api.keys import Keys
from kvgossip.api.routes.kv import WAITING_FAMILY, WRITE_STATUSES, finished
from kvgossip.api.routes.kv_request import CONDITIONS, KEY, condition_in, refuse_headers
from kvgossip.api.routes.write_concern import WAIT, WAITED, Waiting
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed import extremum
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.typed_record import VALUES_BYTES_MAX

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

HINT = (
    'send one of {"add": 3} (a counter), {"add": ["x"]} and {"remove": ["x"]} (a set), {"set": '
    '{"field": 1}} and {"unset": ["field"]} (a map), {"max": 3} and {"min": 3}; with "field": '
    "NAME, add and remove are those of a counter or a set in a map"
)
ESCAPES = 6
"""A character of a text may have so many bytes in JSON for each one of its own."""


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """One of these, and with `add` and `remove` perhaps the `field` of a map."""

    add: int | list[str] | None = None
    remove: list[str] | None = None
    set: dict[str, bool | int | float | str | None] | None = None
    unset: list[str] | None = None
    max: int | float | None = None
    min: int | float | None = None
    field: str | None = None


VERBS = ("add", "remove", "set", "unset", "max", "min")
_MERGED = {
    **named("Edited", key=TEXT, version=or_null(VERSION), type=TEXT),
    "properties": {
        "key": TEXT,
        "version": or_null(VERSION),
        "type": TEXT,
        "value": {"description": "what this node has now; null to who may not read it"},
    },
}


class EditRoutes(Family):
    """POST of /kv/{key}."""

    def __init__(self, node: Node, keys: Keys, answers: Answers) -> None:
        self._keys, self._waiting = keys, Waiting(node, answers)

    async def edit(self, call: Call) -> web.StreamResponse:
        """What the key holds then, as this node has it. What changes nothing is no write."""
        refuse_headers(call.request)
        condition, options = condition_in(call.request), self._waiting.options_of(call)
        edit = edit_of(await call.command(EditBody))
        if options is not None:
            self._waiting.check(options)
        reply = self._keys.edit(call.key, edit, condition, call.caller)
        return await finished(self._waiting, call, reply, options, condition)

    ROUTES = (
        Route(
            "POST",
            "/kv/{key}",
            edit,
            Right.WRITE,
            "Add to a counter or a set, remove from a set, set and unset fields of a map, put a "
            "number into a max or a min.",
            _MERGED,
            WRITE_STATUSES,
            example={"key": "hits", "version": VERSION_EXAMPLE, "type": "counter", "value": 3},
            parameters=(KEY, *WAIT, *CONDITIONS),
            scope=key_in_path,
            body=Body(EditBody, HINT, lambda config: ESCAPES * VALUES_BYTES_MAX, {"add": 3}),
            accepted=WAITED,
            counted_with_query_as=WAITING_FAMILY,
        ),
    )


def edit_of(body: EditBody) -> Edit:
    """Raises RequestError(400) unless this asks for one thing."""
    asked = [name for name in VERBS if getattr(body, name) is not None]
    if len(asked) != 1 or (body.field is not None and asked[0] not in ("add", "remove")):
        raise RequestError(400, "the body does not ask for one thing", HINT)
    if body.field is not None:
        return _in_field(body, body.field)
    if isinstance(body.add, int):
        return edits.add(body.add)
    if body.add is not None:
        return edits.add_elements(body.add)
    if body.remove is not None:
        return edits.remove_elements(body.remove)
    if body.set is not None:
        return edits.set_fields(body.set)
    if body.unset is not None:
        return edits.remove_fields(body.unset)
    if body.max is not None:
        return edits.put_number(extremum.MAX, body.max)
    assert body.min is not None
    return edits.put_number(extremum.MIN, body.min)


def _in_field(body: EditBody, field: str) -> Edit:
    if isinstance(body.add, int):
        return edits.add_to_field(field, body.add)
    if body.add is not None:
        return edits.add_elements_to_field(field, body.add)
    assert body.remove is not None
    return edits.remove_elements_from_field(field, body.remove)
