"""Sockets that a server listens on: several at once, and unix sockets. With real ones."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kvgossip import Config, Node
from kvgossip.api.listening import PortInUseError, close_listener, listen, listen_unix, url_of
from kvgossip.api.server import ApiServer
from kvgossip.client.failures import UnreachableError
from kvgossip.config import Address
from kvgossip.errors import ConfigError
from tests.api.serving import ANYWHERE
from tests.asking import AsyncClient


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_unix_socket_is_its_owners_and_groups_whatever_the_umask(
    tmp_path: Path, mask: int
) -> None:
    path = tmp_path / "http.sock"
    with umask(mask):
        listener = listen_unix(f"unix:{path}")
        assert os.umask(mask) == mask
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    close_listener(listener)
    assert not path.exists()
    # a server may be stopped twice
    close_listener(listener)


def test_the_socket_of_a_dead_process_is_replaced_and_one_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    dead = listen_unix(f"unix:{path}")
    dead.close()
    assert path.exists()
    alive = listen_unix(f"unix:{path}")
    with pytest.raises(PortInUseError, match=f"the unix socket {path} is in use") as caught:
        listen_unix(f"unix:{path}")
    assert "--http unix:PATH" in caught.value.hint
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_listener(alive)


def test_a_file_that_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    (tmp_path / "link").symlink_to(path)
    for name in ("notes", "link"):
        with pytest.raises(ConfigError, match="is no socket"):
            listen_unix(f"unix:{tmp_path / name}")
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="No such file or directory") as caught:
        listen_unix(f"unix:{tmp_path}/none/http.sock")
    assert "directory that exists" in caught.value.hint


def test_the_end_of_one_process_leaves_the_socket_of_the_next_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    one = listen_unix(f"unix:{path}")
    path.unlink()
    other = listen_unix(f"unix:{path}")
    close_listener(one)
    assert path.exists()
    close_listener(other)
    assert not path.exists()


async def test_a_server_answers_on_tcp_and_unix_sockets_with_streams_and_stops_on_all(
    tmp_path: Path,
) -> None:
    path = tmp_path / "http.sock"
    listeners = [listen(ANYWHERE), listen_unix(f"unix:{path}"), listen(Address("localhost", 0))]
    async with Node(Config(name="n1", gossip=ANYWHERE, founding_s=0.0)) as node:
        server = ApiServer(node, *listeners)
        await server.start()
        assert server.urls[1] == f"unix:{path}"
        for number, url in enumerate(server.urls):
            async with AsyncClient(url) as client:
                await client.put(f"k{number}", b"1")
                assert (await client.get(f"k{number}")).body == b"1"
                assert (await client.document("/status"))["keys"] == number + 1
                lines = b"".join([part async for part in client.export()])
                assert lines.count(b"\n") == number + 3
        async with AsyncClient(f"unix:{path}") as client:
            events = client.watch({"prefix": "w"}, None)
            task = asyncio.ensure_future(anext(events))
            # the stream begins with a sign of life
            await task
            written = asyncio.ensure_future(client.put("w1", b"1"))
            async for event in events:
                if event.event == "put":
                    assert event.data["key"] == "w1"
                    break
            await written
            await events.aclose()
        await server.stop()
    assert not path.exists()
    async with AsyncClient(f"unix:{path}") as client:
        with pytest.raises(UnreachableError, match=f"no node answers at unix:{path}") as caught:
            await client.document("/status")
    assert "kvgossip agent" in caught.value.hint


async def test_a_server_of_a_unix_socket_alone_has_no_address(tmp_path: Path) -> None:
    listener = listen_unix(f"unix:{tmp_path / 'http.sock'}")
    async with Node(Config(name="n1", gossip=ANYWHERE, founding_s=0.0)) as node:
        server = ApiServer(node, listener)
        await server.start()
        assert server.urls == [f"unix:{tmp_path / 'http.sock'}"]
        await server.stop()


@pytest.mark.parametrize("url", ["unix:", "unix:/x/", f"unix:/{'x' * 107}"])
def test_what_is_no_path_of_a_socket_is_refused_in_words(url: str) -> None:
    for make in (AsyncClient, listen_unix):
        with pytest.raises(ConfigError, match="unix socket") as caught:
            make(url)
        assert caught.value.hint


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "127.0.0.1", "::1"])
def test_the_url_of_a_listener_is_one_that_answers_on_this_machine(host: str) -> None:
    with listen(Address(host, 0)) as listener:
        url = urlsplit(url_of(listener))
        assert url.hostname is not None
        with socket.create_connection((url.hostname, url.port), timeout=30):
            accepted, _ = listener.accept()
            accepted.close()
