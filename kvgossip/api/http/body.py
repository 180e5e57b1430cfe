"""The body of a request: whole, or not at all."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import HttpVersion11, web

from kvgossip.api.http.errors import RequestError
from kvgossip.errors import ValueTooLargeError

COMMAND_BYTES_MAX = 64 * 1024
BODY_BYTES_PER_S_MIN = 16 * 1024
"""A body may take `http_body_timeout_s`, and longer by its length at this rate: a body that comes
slower is given up, steady as it may be."""

Command = TypeVar("Command", bound=msgspec.Struct)


def body_patience_s(length: int, timeout_s: float) -> float:
    """How long a body of this length may take."""
    return timeout_s + length / BODY_BYTES_PER_S_MIN


def late_body() -> RequestError:
    return RequestError(408, "the body did not arrive in time", "nothing was changed")


async def read_body(request: web.BaseRequest, bytes_max: int, timeout_s: float) -> bytes:
    """The whole body. Raises ValueTooLargeError beyond `bytes_max`, where the length is announced
    before reading any of it."""
    content = request.content
    if content.is_eof():
        # The usual case: it came together with the head, so there is nothing to wait for.
        whole = content.read_nowait()
        if len(whole) > bytes_max:
            raise _too_large(bytes_max)
        return whole
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    if (
        request.headers.get("Expect", "").lower() == "100-continue"
        and request.version >= HttpVersion11
        and request.transport
    ):
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = request.content_length
    try:
        async with asyncio.timeout(
            body_patience_s(bytes_max if length is None else length, timeout_s)
        ):
            return await _whole(request, bytes_max)
    except TimeoutError:
        raise late_body() from None


async def _whole(request: web.BaseRequest, bytes_max: int) -> bytes:
    content, body = request.content, bytearray()
    while not content.at_eof():
        if request.transport is None:
            # before this request had its turn: aiohttp would call that a RuntimeError
            raise ConnectionResetError("the client has gone, and its body never came")
        body += await content.readany()
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
    return bytes(body)


def _too_large(bytes_max: int) -> ValueTooLargeError:
    return ValueTooLargeError(
        f"the body is longer than {bytes_max} bytes",
        "nothing was changed; store less, or raise value_bytes_max on every node",
    )


def parse_command(body: bytes, kind: type[Command], hint: str) -> Command:
    """The structure that this JSON holds. Raises RequestError(400) with `hint` where it holds
    another."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body does not fit: {error}", hint) from None
