"""From the target of a request to a key, without ever normalising it.

Keys are any UTF-8 (lessons.md 26: spaces, `%`, `ç`), so the path is taken as the client sent it: a
`/` and a `%2F` both are a slash of the key, `//` stays, `+` is a plus, and a `%` that starts no
escape is a percent sign, as browsers see it. A `.` or `..` segment reaches the key check and is
refused there: a library that resolved it first would answer for another key.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl, quote_from_bytes, unquote_plus, unquote_to_bytes

from kvgossip.api.http.errors import RequestError
from kvgossip.errors import BadKeyError

_ASCII = bytes(range(128))


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request's target, both still encoded. An absolute URL, as proxies send
    it, loses its host."""
    if not target.startswith("/"):
        _, found, rest = target.partition("://")
        target = "/" + rest.partition("/")[2] if found else target
    path, _, query = target.partition("?")
    return path, query


def without_tokens(query: str) -> tuple[str, list[bytes]]:
    """The query without `token=`, as Consul's clients send it with any request; and the tokens."""
    if not query:
        return query, []
    rest, secrets = [], []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == "token":
            secrets.append(unquote_to_bytes(value.replace("+", " ")))
        else:
            rest.append(pair)
    return "&".join(rest), secrets


def authority_of(target: str) -> str:
    """The host in a target that is an absolute URL; else empty."""
    return "" if target.startswith("/") else target.partition("://")[2].partition("/")[0]


def escape_target(data: bytes) -> bytes:
    """The start of a request, its first line in ASCII: curl sends a path as it was typed, and the
    HTTP parser takes ASCII only."""
    line, end, rest = data.partition(b"\r\n")
    return data if line.isascii() else quote_from_bytes(line, _ASCII).encode() + end + rest


def decode_key(encoded: str) -> str:
    """The key behind a percent-encoded path. Raises BadKeyError where that is not UTF-8."""
    try:
        return (
            unquote_to_bytes(encoded).decode()
            if "%" in encoded or not encoded.isascii()
            else encoded
        )
    except UnicodeError:
        raise BadKeyError(
            "the key is not valid UTF-8", "percent-encode the key's UTF-8 bytes, for example %C3%A7"
        ) from None


def parameters(query: str, known: Iterable[str]) -> dict[str, str]:
    """The query's parameters by name. Raises RequestError(400) for an unknown one: to ignore it
    would be to lie about what was done."""
    names = tuple(known)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise RequestError(
            400, "the query is not valid percent-encoded UTF-8, or has too many parameters"
        ) from None
    for name, _ in pairs:
        if name not in names:
            known_ones = f"known here: {', '.join(names)}" if names else "this path takes none"
            raise RequestError(400, f"unknown query parameter {name!r}", known_ones)
    if len(dict(pairs)) < len(pairs):
        raise RequestError(400, "a query parameter is given twice", "give each of them once")
    return dict(pairs)
