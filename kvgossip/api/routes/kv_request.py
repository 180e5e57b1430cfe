"""What a request about one key says beside its value: conditions, times to live, and what its
client has seen."""

from __future__ import annotations

from aiohttp import web

from kvgossip.api.http.duration import duration_s
from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.precondition import Condition, condition_of
from kvgossip.api.http.route import Call, Parameter
from kvgossip.api.http.schema import TEXT
from kvgossip.api.keys import Terms
from kvgossip.api.routes.write_concern import version_of_text
from kvgossip.protocol.model.entry import TTL_S_MAX, TTL_S_MIN
from kvgossip.protocol.typed import siblings
from kvgossip.protocol.typed.defaults import NAMES

# To store a value although its condition was not looked at would break the promise that these
# headers make to a client.
_NOT_OFFERED = ("If-Unmodified-Since", "Content-Range")
KEY = Parameter(
    "path",
    "key",
    {"type": "string", "minLength": 1, "maxLength": 1024},
    "any UTF-8 of 1 to 1,024 bytes, percent-encoded",
)
CONDITIONS = (
    Parameter(
        "header",
        "If-Match",
        TEXT,
        'only if the version is one of these on this node: "VERSION", or * for any',
    ),
    Parameter(
        "header",
        "If-None-Match",
        TEXT,
        'only if it is none of these on this node: "VERSION", or * for any',
    ),
)
TYPE = Parameter(
    "query",
    "type",
    {"enum": [siblings.TYPE]},
    "make a key that keeps all values whose writers had not seen each other",
)
TERMS = (
    Parameter(
        "header",
        "KV-Context",
        TEXT,
        "take the place of what the answer with this context has shown, and of nothing else",
    ),
    Parameter(
        "header", "KV-After", TEXT, "a version of a plain key: this write is newer than that"
    ),
)
TTL = (
    Parameter(
        "query", "ttl", TEXT, "how long the value lives: 500ms, 30s, 15m, 12h; default: for ever"
    ),
    Parameter("header", "KV-TTL", TEXT, "the same; give one of them"),
)


def condition_in(request: web.BaseRequest) -> Condition | None:
    headers = request.headers
    if "If-Match" in headers or "If-None-Match" in headers:
        return condition_of(
            *(
                ", ".join(headers.getall(name)) if name in headers else None
                for name in ("If-Match", "If-None-Match")
            )
        )
    return None


def ttl_of(call: Call) -> float | None:
    """How long the value shall live: `?ttl=` or the header KV-TTL, in seconds; None: for ever."""
    in_query, in_header = call.query.get("ttl"), call.request.headers.get("KV-TTL")
    if in_query is not None and in_header is not None:
        raise RequestError(
            400,
            "the time to live is given twice",
            "give either ?ttl= or the header KV-TTL; nothing was changed",
        )
    text = in_header if in_query is None else in_query
    if text is None:
        return None
    ttl_s = duration_s("ttl", text, TTL_S_MAX)
    if ttl_s < TTL_S_MIN:
        raise RequestError(400, "ttl must be at least 1ms", "nothing was changed")
    return ttl_s


def terms_of(call: Call) -> Terms | None:
    """What the client says of what it has seen. None: nothing."""
    headers, type_ = call.request.headers, call.query.get("type")
    context, after = headers.get("KV-Context"), headers.get("KV-After")
    if type_ not in (None, siblings.TYPE):
        raise RequestError(
            400,
            f"a PUT makes no key of type {type_[:100]!r}",
            f"POST makes those of {', '.join(NAMES[2:])}"
            if type_ in NAMES
            else f"nothing was changed; this release knows {', '.join(NAMES)}",
        )
    if after is not None and (context is not None or type_ is not None):
        raise RequestError(
            400,
            "KV-After is for plain keys",
            "nothing was changed; give KV-Context alone, or KV-After",
        )
    if context is None and after is None and type_ is None:
        return None
    version = None if after is None else version_of_text(after)
    return Terms(context, version, type_ is not None)


def refuse_headers(request: web.BaseRequest) -> None:
    """Raises RequestError for headers of a write without which it would be another one."""
    headers = request.headers
    for name in _NOT_OFFERED:
        if name in headers:
            raise RequestError(
                501,
                f"{name} is not offered for writes",
                "nothing was changed; leave the header out",
            )
    if headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError(
            415, "encoded bodies are not taken", "nothing was changed; send the value as it is"
        )
