"""/kv: keys and values. The quick path of the API: one look at the record, one piece of bytes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from kvgossip.api.answer import OCTETS, Answer, Answers
from kvgossip.api.body import read_body
from kvgossip.api.errors import RequestError
from kvgossip.api.target import decode_key, parameters
from kvgossip.errors import LocalError, NotSettledError
from kvgossip.protocol.entry import HEAD_BYTES, check_content_type, check_key, content_type_in, entry_of, is_dead, value_offset

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

LIST_LIMIT = 100
LIST_LIMIT_MAX = 1000
# To store a value although its condition was not looked at would break the promise that these headers make to a client.
_CONDITIONS = ("If-Match", "If-None-Match", "If-Unmodified-Since", "Content-Range")


class KeyRoutes:
    """GET, HEAD, PUT and DELETE of /kv/{key}, and GET of /kv."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node = node
        self._answers = answers
        self._value_bytes_max = node.config.value_bytes_max

    async def get(self, request: web.BaseRequest, encoded_key: str) -> Answer:
        """The raw bytes with their content type; `ETag` and `KV-Version` are the version. 304 when If-None-Match names it."""
        key = decode_key(encoded_key)
        record = self._node.record(key)
        if record is None or is_dead(record):
            check_key(key)
            return self._absent(key)
        version = _version_in(record)
        if "If-None-Match" in request.headers and _names(request.headers["If-None-Match"], version):
            return self._answers.octets(304, None, _version_lines(version))
        content_type, value = _content_of(key, record)
        return self._answers.octets(200, value, f"Content-Type: {content_type}\r\n{_version_lines(version)}")

    async def put(self, request: web.BaseRequest, encoded_key: str) -> Answer:
        """Stores the body. The value changes only after the whole body has arrived."""
        key = decode_key(encoded_key)
        _refuse_conditions(request)
        content_type = _content_type_of(request)
        value = await read_body(request, self._value_bytes_max)
        entry = await self._node.put(key, value, content_type=content_type)
        version = str(entry.version)
        return self._answers.json(200, {"key": key, "version": version}, _version_lines(version))

    async def delete(self, request: web.BaseRequest, encoded_key: str) -> Answer:
        """200 with the version of the death certificate; 404 when there was nothing to delete."""
        key = decode_key(encoded_key)
        _refuse_conditions(request)
        check_key(key)
        certificate = await self._node.delete(key)
        if certificate is None:
            if not self._node.settled:
                raise NotSettledError("the node has not caught up yet, so it cannot tell whether this key exists")
            return self._absent(key)
        version = str(certificate.version)
        return self._answers.json(200, {"key": key, "version": version, "deleted": True}, f"KV-Version: {version}\r\n")

    async def list(self, request: web.BaseRequest, query: str) -> Answer:
        """The live keys in order, a page at a time, without their values. `after` of a page asks for the next one, null ends it."""
        asked = parameters(query, ("prefix", "limit", "after"))
        limit = _limit(asked.get("limit", str(LIST_LIMIT)))
        entries = self._node.records(asked.get("prefix", ""), asked.get("after", ""), limit + 1)
        page = [
            {
                "key": key,
                "version": _version_in(record),
                "content_type": content_type_in(record),
                "bytes": len(record) - value_offset(record),
            }
            for key, record in entries[:limit]
        ]
        return self._answers.json(200, {"entries": page, "after": page[-1]["key"] if len(entries) > limit else None})

    def _absent(self, key: str) -> Answer:
        return self._answers.json(404, {"error": "there is no such key", "hint": "keys are exact, GET /kv?prefix= lists them", "key": key})


def _refuse_conditions(request: web.BaseRequest) -> None:
    headers = request.headers
    for name in _CONDITIONS:
        if name in headers:
            raise RequestError(501, f"{name} is not offered for writes", "nothing was changed; leave the header out")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise RequestError(415, "encoded bodies are not taken", "nothing was changed; send the value as it is")


def _content_type_of(request: web.BaseRequest) -> str | None:
    content_type = request.headers.get("Content-Type") or None
    try:
        check_content_type(content_type)
    except LocalError as error:
        raise RequestError(400, str(error), error.hint) from None
    return content_type


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= LIST_LIMIT_MAX):
        raise RequestError(400, f"limit = {text!r} is not a whole number from 1 to {LIST_LIMIT_MAX}", "page with after= for more")
    return int(text)


def _version_in(record: bytes) -> str:
    # As Version.__str__ would write it, without building a Version.
    return record[1:HEAD_BYTES].hex("-", 8)


def _version_lines(version: str) -> str:
    return f'ETag: "{version}"\r\nKV-Version: {version}\r\n'


def _content_of(key: str, record: bytes) -> tuple[str, bytes]:
    """Content type and value of a live record."""
    if value_offset(record) == HEAD_BYTES:
        return OCTETS, record[HEAD_BYTES:]
    entry = entry_of(key, record)
    return _sendable(entry.content_type), entry.value or b""


def _sendable(content_type: str | None) -> str:
    # A peer may have sent anything; what is no header text must not reach the head.
    try:
        check_content_type(content_type)
    except LocalError:
        return OCTETS
    return content_type or OCTETS


def _names(condition: str, version: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or f'"{version}"' in tags
