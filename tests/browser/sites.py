"""Two sites of tests: the page of a stranger, and a node without doors.

The second shows that the tricks work where nothing hinders them: it has the paths of a node, tells
browsers that every page may see it, and notes what it is told to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

OF_NO_ORIGIN = "/no-origin"
"""The path of a page whose requests have `Origin: null`."""
EVERYBODY = {
    "Access-Control-Allow-Methods": "PUT, DELETE, POST",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Credentials": "true",
}


class Doorless:
    """A node of which every page may read and write everything. `done` is what it was told to do,
    as method and path."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, str]] = {}
        self.done: set[tuple[str, str]] = set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = EVERYBODY | {"Access-Control-Allow-Origin": request.headers.get("Origin", "*")}
        if request.headers.get("Upgrade", "") == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            return socket
        if request.method == "OPTIONS":
            return web.Response(headers=headers)
        if request.method != "GET":
            self.done.add((request.method, request.path_qs))
            return web.Response(text="done", headers=headers)
        if "text/event-stream" in request.headers.get("Accept", ""):
            headers["Content-Type"] = "text/event-stream"
            return web.Response(body=b"data: 1\n\n", headers=headers)
        body, content_type = self.values.get(request.path, (b"something", "text/plain"))
        headers["Content-Type"] = content_type
        # as one has it that hides what is there, and not what is not
        if request.path == "/kv/absent":
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return web.Response(body=body, headers=headers)


async def _page(request: web.BaseRequest) -> web.Response:
    page = web.Response(text="<!doctype html><title>a stranger</title>", content_type="text/html")
    if request.path == OF_NO_ORIGIN:
        page.headers["Content-Security-Policy"] = "sandbox allow-scripts allow-forms allow-popups"
    return page


@asynccontextmanager
async def site(doorless: Doorless | None = None) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1: of this node, or of a stranger with a page at every
    path."""
    server = web.Server(_page if doorless is None else doorless.answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.0)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await listener.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
