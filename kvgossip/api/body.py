"""The body of a request: whole, or not at all."""

from __future__ import annotations

import asyncio

from aiohttp import HttpVersion11, StreamReader, web

from kvgossip.api.errors import RequestError
from kvgossip.errors import ValueTooLargeError

BODY_PAUSE_MAX_S = 30.0
"""A body that does not move for so long is given up: 408."""


async def read_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """The whole body. Raises ValueTooLargeError beyond `bytes_max`, where the length is announced before reading any of it."""
    content = request.content
    if content.is_eof():
        # The usual case: it came in one piece with the head, so there is nothing to wait for.
        whole = content.read_nowait()
        if len(whole) > bytes_max:
            raise _too_large(bytes_max)
        return whole
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11 and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    while not content.at_eof():
        body += await _next_part(content)
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
    return bytes(body)


async def _next_part(content: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(BODY_PAUSE_MAX_S):
            return await content.readany()
    except TimeoutError:
        raise RequestError(408, "the body did not arrive", "nothing was changed") from None


def _too_large(bytes_max: int) -> ValueTooLargeError:
    return ValueTooLargeError(
        f"the body is longer than {bytes_max} bytes", "nothing was changed; store less, or raise value_bytes_max on every node"
    )
