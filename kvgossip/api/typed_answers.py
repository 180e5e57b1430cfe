"""Typed answers: keys whose writes are merged, over HTTP.

KV-Type       siblings, counter, set, map, max or min; unknown: a type of a newer release
KV-Context    what this answer has shown: a PUT or DELETE that gives it back takes the place of
              that, and of nothing else
ETag          the version with a hash of the content: nodes that have not heard the same yet may
              have different contents of one version
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from kvgossip.api.http.response import Answer, Answers, sendable
from kvgossip.api.http.schema import TEXT, VERSION, VERSION_EXAMPLE, many, named, or_null
from kvgossip.protocol.model.entry import HEAD_BYTES, TYPED
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.body import decode, type_in
from kvgossip.protocol.typed.context_token import token_of
from kvgossip.protocol.typed.siblings import Sibling
from kvgossip.protocol.typed.views import tag_of, view_of, viewed_type
from kvgossip.runtime.clocks import read_clocks

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_SIBLING = {
    **named("Sibling", version=VERSION, content_type=or_null(TEXT), writer=or_null(TEXT)),
    "properties": {
        "value": TEXT,
        "base64": TEXT,
        "version": VERSION,
        "content_type": or_null(TEXT),
        "writer": or_null(TEXT),
    },
}
_SEVERAL = named("Siblings", key=TEXT, siblings=many(_SIBLING), context=TEXT)
_SEVERAL_EXAMPLE = {
    "key": "cart/7",
    "siblings": [
        {"value": "tea", "version": VERSION_EXAMPLE, "content_type": None, "writer": "web-1"},
        {"value": "milk", "version": VERSION_EXAMPLE, "content_type": None, "writer": "web-2"},
    ],
    "context": "kwHECHsLqP8Yb0q9xBA",
}
SEVERAL = (_SEVERAL, _SEVERAL_EXAMPLE)
"""What a 300 is in JSON, and an example."""


def version_in(record: bytes) -> str:
    # as Version.__str__ would write it, without building a Version
    return record[1:HEAD_BYTES].hex("-", 8)


def record_lines(record: bytes) -> str:
    """The header lines that say which record this is."""
    lines = f'ETag: "{tag_of(record)}"\r\nKV-Version: {version_in(record)}\r\n'
    type_ = viewed_type(record)
    return lines if type_ is None else f"{lines}KV-Type: {type_}\r\n"


def context_line(key: str, record: bytes) -> str:
    """Empty of a plain record, and of an unknown type."""
    if not record[0] & TYPED or type_in(record) is None:
        return ""
    return f"KV-Context: {token_of(key, decode(record))}\r\n"


def typed_answer(answers: Answers, node: Node, key: str, record: bytes, *, resolve: bool) -> Answer:
    """200 with the value, or 300 with all siblings where there are several. `resolve`: the newest
    of them instead."""
    head = record_lines(record) + context_line(key, record)
    wall_ms = read_clocks().wall_ms
    if type_in(record) == siblings.TYPE and not resolve:
        several = siblings.siblings_of(decode(record), wall_ms)
        if len(several) > 1:
            return answers.json(300, _several(node, key, record, several), head)
    entry = view_of(key, record, wall_ms)
    return answers.value(entry.value, sendable(entry.content_type), head)


def _several(node: Node, key: str, record: bytes, several: list[Sibling]) -> dict[str, Any]:
    return {
        "key": key,
        "siblings": [
            {
                **text_of(each.value),
                "content_type": each.content_type,
                "version": str(each.version),
                "writer": node.writer(each.version),
            }
            for each in several
        ],
        "context": token_of(key, decode(record)),
    }


def text_of(value: bytes) -> dict[str, str]:
    """A value in JSON: as text, or where it is none as base64."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}
