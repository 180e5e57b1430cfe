"""Who is at the other end of a connection, by real sockets of every family."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from kvgossip.api.access.client import UNIX, Client, client_of
from kvgossip.runtime.loop import run


async def client_by(server: socket.socket, address: tuple[object, ...] | str) -> Client:
    """The client that a server on this socket sees."""
    found: asyncio.Future[Client] = asyncio.get_running_loop().create_future()

    class Greeter(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.set_result(client_of(transport))

    loop = asyncio.get_running_loop()
    with server, socket.socket(server.family) as client:
        client.connect(address)
        connection, _ = server.accept()
        connection.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(Greeter, connection)
        try:
            return await found
        finally:
            transport.abort()


@pytest.mark.parametrize("how", [asyncio.run, run])
def test_a_loopback_client_is_local_and_has_an_address_without_dress(how) -> None:  # type: ignore[no-untyped-def]
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    port = server.getsockname()[1]
    mapped = ("::ffff:127.0.0.1", port, 0, 0)
    assert how(client_by(server, mapped)) == Client("127.0.0.1", True, "")
    six = socket.create_server(("::1", 0), family=socket.AF_INET6)
    assert how(client_by(six, six.getsockname())) == Client("::1", True, "")


@pytest.mark.parametrize("how", [asyncio.run, run])
def test_a_client_of_a_unix_socket_is_local(how, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen()
    assert how(client_by(server, str(tmp_path / "s"))) == Client(UNIX, True, "")


def test_a_client_at_another_address_is_not_local() -> None:
    class Transport(asyncio.BaseTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            subject = ((("commonName", "ci"),),)
            return {"peername": ("10.0.0.5", 80), "peercert": {"subject": subject}}.get(name)

    assert client_of(Transport()) == Client("10.0.0.5", False, "ci")
