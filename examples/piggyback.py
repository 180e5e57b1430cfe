"""News rides on the requests of an application, and on their answers: middleware for aiohttp.

Each side puts what its node has to tell into a header, and gives the header of the other side to
its node. So a request brings the writes that it depends on, and who speaks with somebody hears what
he has heard: also while the gossip between the two is late, lost, or cut.

Use it between your own services. An outsider can read nothing of it, and say nothing by it, but
would take rides away that others should have.

    python examples/piggyback.py
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64decode, b64encode

from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    web,
)
from aiohttp.typedefs import Handler, Middleware

from kvgossip import Address, Config, Node

HEADER = "KV-Piggyback"
ROOM = 3000
"""Bytes: 4,000 characters of base64. A server of aiohttp takes headers of 8,190."""


def header_of(node: Node) -> dict[str, str]:
    """The header with what this node has to tell; none where that is nothing."""
    news = node.piggyback(ROOM)
    return {HEADER: b64encode(news).decode()} if news else {}


def hear(node: Node, header: str) -> None:
    """Take what it brings. What is no base64 is no news either, and the node counts that."""
    try:
        news = b64decode(header, validate=True)
    except ValueError:
        news = header.encode("utf-8", "replace")
    node.absorb(news)


def carrying_requests(node: Node) -> ClientMiddlewareType:
    """For a ClientSession."""

    async def carry(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.headers.update(header_of(node))
        response = await handler(request)
        hear(node, response.headers.get(HEADER, ""))
        return response

    return carry


def carrying_answers(node: Node) -> Middleware:
    """For a web.Application."""

    @web.middleware
    async def carry(request: web.Request, handler: Handler) -> web.StreamResponse:
        hear(node, request.headers.get(HEADER, ""))
        response = await handler(request)
        if not response.prepared:
            response.headers.update(header_of(node))
        return response

    return carry


async def main() -> None:
    keyring = (secrets.token_hex(32),)
    local = Address("127.0.0.1", 0)
    async with Node(Config(name="shop", gossip=local, keyring=keyring)) as shop:
        join = (str(shop.address),)
        async with Node(Config(name="till", gossip=local, keyring=keyring, join=join)) as till:
            await till.wait_settled(30)

            async def price(request: web.Request) -> web.Response:
                return web.Response(body=till.get("price", b"unknown"))

            app = web.Application(middlewares=[carrying_answers(till)])
            app.router.add_get("/price", price)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/price"

            async with ClientSession(middlewares=[carrying_requests(shop)]) as session:
                for amount in ("10", "12"):
                    await shop.put("price", amount)
                    async with session.get(url) as response:
                        print(await response.text())
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
