"""A server that speaks TLS, on real sockets: all that plain HTTP does, over it."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kvgossip.api.lanes.overload import ALERT
from kvgossip.api.tls.certificates import Certificates
from kvgossip.api.tls.issue import make
from kvgossip.api.tls.reading import Files
from kvgossip.client.failures import UnreachableError
from kvgossip.client.trust import Trust, failure
from tests.api.serving import Reply, Serve, Served, read_reply
from tests.api.tls.files import CLIENT, HOST, ca_of, client_context, made, until
from tests.asking import AsyncClient

PATIENCE_S = 60.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return made(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def secured(serve: Serve, files: Files) -> Served:
    return await serve(certificates=Certificates(files), value_bytes_max=2**21)


async def connect(served: Served, context: ssl.SSLContext | None) -> Streams:
    return await asyncio.open_connection(
        *served.server.address,
        ssl=context,
        server_hostname=HOST if context else None,
        limit=2**22,
    )


async def ask(streams: Streams, method: str, target: str, body: bytes = b"") -> Reply:
    reader, writer = streams
    head = f"{method} {target} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return await read_reply(reader, method == "HEAD")


async def close(streams: Streams) -> None:
    streams[1].close()
    await streams[1].wait_closed()


def counts(served: Served) -> dict[str, int]:
    return served.server.statistics()


@pytest.mark.parametrize("base", ["/kv/", "/v1/kv/"])
@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 70_000, 2**20])
async def test_values_of_any_length_go_in_and_out_over_tls_on_both_lanes(
    base: str, size: int, secured: Served, files: Files
) -> None:
    streams = await connect(secured, client_context(files))
    value = random.Random(size).randbytes(size)
    async with asyncio.timeout(PATIENCE_S):
        assert (await ask(streams, "PUT", f"{base}a", value)).status == 200
        target = f"{base}a" if base == "/kv/" else f"{base}a?raw"
        assert (await ask(streams, "GET", target)).body == value
        # and on the same connection the other lane
        assert (await ask(streams, "GET", "/kv?prefix=")).json["entries"][0]["key"] == "a"
    await close(streams)


async def test_many_requests_at_once_are_answered_in_their_order(
    secured: Served, files: Files
) -> None:
    reader, writer = streams = await connect(secured, client_context(files))
    for number in range(200):
        body = str(number).encode() * 300
        head = f"PUT /kv/{number} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(
            head.encode() + body + f"GET /kv/{number} HTTP/1.1\r\nHost: n\r\n\r\n".encode()
        )
    async with asyncio.timeout(PATIENCE_S):
        for number in range(200):
            assert (await read_reply(reader)).status == 200
            assert (await read_reply(reader)).body == str(number).encode() * 300
    await close(streams)


async def test_a_client_that_reads_slowly_gets_everything_and_the_node_does_not_keep_it_all(
    secured: Served, files: Files
) -> None:
    value = os.urandom(2**20)
    streams = await connect(secured, client_context(files))
    assert (await ask(streams, "PUT", "/kv/a", value)).status == 200
    await close(streams)
    reader, writer = await asyncio.open_connection(
        *secured.server.address, ssl=client_context(files), server_hostname=HOST, limit=2**12
    )
    writer.write(b"GET /kv/a HTTP/1.1\r\nHost: n\r\n\r\n" * 20)
    async with asyncio.timeout(PATIENCE_S):
        # it stops to answer, since nobody reads
        (lane,) = secured.server._connections._open
        await until(lambda: lane._choked)  # type: ignore[attr-defined]
        assert counts(secured)["express"] < 20
        for _ in range(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2**20) == value
    writer.close()
    await writer.wait_closed()


async def test_a_stream_of_changes_works_over_tls(secured: Served, files: Files) -> None:
    url = f"https://{secured.server.address}"
    async with AsyncClient(url, trust=Trust(ca_of(files))) as client, asyncio.timeout(PATIENCE_S):
        await client.put("a/1", b"1")
        stream = client.watch({"prefix": "a/", "values": "text"}, "0")
        seen: list[Any] = []
        async for event in stream:
            seen.append(event.data.get("value"))
            if event.event == "synced":
                await client.put("a/2", b"2")
            if event.data.get("value") == "2":
                break
        assert "1" in seen


async def test_the_last_answer_ends_with_a_goodbye_so_that_nobody_can_cut_it_short(
    secured: Served, files: Files
) -> None:
    def whole() -> bytes:
        with (
            socket.create_connection(secured.server.address) as plain,
            client_context(files).wrap_socket(
                plain, server_hostname=HOST, suppress_ragged_eofs=False
            ) as tls,
        ):
            tls.sendall(b"GET /healthz HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
            found = b""
            # raises where the end is none of TLS
            while part := tls.recv(4096):
                found += part
            return found

    assert (await asyncio.to_thread(whole)).startswith(b"HTTP/1.1 200")


async def test_plain_http_on_a_port_of_tls_is_told_so(secured: Served) -> None:
    streams = await connect(secured, None)
    reply = await ask(streams, "GET", "/kv/a")
    await close(streams)
    assert reply.status == 400
    assert reply.json == {
        "error": "this port speaks TLS, and the request came in plain HTTP",
        "hint": "use https:// in the URL",
    }


async def test_tls_on_a_port_of_plain_http_is_told_so(served: Served, files: Files) -> None:
    reader, writer = await served.connect()
    hello, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(files).wrap_bio(incoming, hello, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    writer.write(hello.read())
    reply = await read_reply(reader)
    assert reply.status == 400
    assert reply.json["error"] == "this port speaks plain HTTP, and the client TLS"
    writer.close()
    await writer.wait_closed()
    async with AsyncClient(f"https://{served.server.address}") as client:
        with pytest.raises(UnreachableError, match="does not speak HTTPS") as caught:
            await client.document("/status")
    assert f"http://{served.server.address}" in caught.value.hint


async def test_clients_that_break_off_or_send_garbage_at_any_moment_leave_nothing_behind(
    secured: Served, files: Files
) -> None:
    rng, hello, incoming = random.Random(7), ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(files).wrap_bio(incoming, hello, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    greeting = hello.read()
    for number in range(60):
        reader, writer = await connect(secured, None)
        data = bytearray(greeting[: rng.randrange(len(greeting) + 1)] + rng.randbytes(number))
        if number % 3 == 0 and data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        writer.write(bytes(data))
        if number % 2:
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                await reader.read()
            writer.close()
        else:
            writer.transport.abort()
    await until(lambda: counts(secured)["connections_open"] == 0)
    streams = await connect(secured, client_context(files))
    assert (await ask(streams, "GET", "/healthz")).status == 200
    await close(streams)


async def test_an_upload_that_breaks_off_changes_nothing(secured: Served, files: Files) -> None:
    streams = await connect(secured, client_context(files))
    streams[1].write(
        b"PUT /kv/a HTTP/1.1\r\nHost: n\r\nContent-Length: 100000\r\n\r\n" + b"x" * 60_000
    )
    await streams[1].drain()
    await close(streams)
    await until(lambda: counts(secured)["connections_open"] == 0)
    streams = await connect(secured, client_context(files))
    assert (await ask(streams, "GET", "/kv/a")).status == 404
    await close(streams)


async def test_a_client_that_does_not_finish_its_handshake_is_closed_as_one_that_sends_no_head(
    serve: Serve, files: Files
) -> None:
    served = await serve(certificates=Certificates(files), http_head_timeout_s=0.2)
    reader, writer = await connect(served, None)
    writer.write(b"\x16\x03\x01\x02\x00\x01")
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    assert counts(served)["connections_overdue"] == 1
    writer.close()


async def begin_asking(served: Served, connection: Any) -> None:
    """From now on it makes no room for others."""
    _, writer = connection
    writer.write(b"GET /kv/a HT")
    (lane,) = served.server._connections._open
    await until(lambda: not lane.is_idle())


async def test_a_client_too_many_is_told_so_over_tls(serve: Serve, files: Files) -> None:
    served = await serve(certificates=Certificates(files), http_connections_max=1)
    first = await connect(served, client_context(files))
    assert (await ask(first, "GET", "/kv/a")).status == 404
    await begin_asking(served, first)
    second = await connect(served, client_context(files))
    assert (await ask(second, "GET", "/kv/a")).status == 503
    await close(second)
    await close(first)


async def test_where_there_is_no_room_even_to_be_refused_a_client_gets_an_alert(
    serve: Serve, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvgossip.api.lanes.connections.REFUSALS_MAX", 0)
    served = await serve(certificates=Certificates(files), http_connections_max=1)
    first = await connect(served, client_context(files))
    await begin_asking(served, first)
    async with AsyncClient(f"https://{served.server.address}", trust=Trust(ca_of(files))) as client:
        with pytest.raises(UnreachableError, match="too many connections"):
            await client.document("/status")
    assert counts(served)["connections_turned_away"] == 1
    assert ALERT[0] == 0x15
    await close(first)


async def test_a_server_that_stops_says_goodbye_to_idle_connections(
    secured: Served, files: Files
) -> None:
    streams = await connect(secured, client_context(files))
    assert (await ask(streams, "GET", "/healthz")).status == 200
    async with asyncio.timeout(PATIENCE_S):
        await secured.server.stop()
        assert await streams[0].read() == b""
    streams[1].close()


async def test_a_client_that_asks_for_another_host_than_the_certificate_s_is_told_so(
    serve: Serve, tmp_path: Path
) -> None:
    make(tmp_path, ["elsewhere"], [], 30, datetime.now(UTC))
    elsewhere = Files(str(tmp_path / "elsewhere.pem"), str(tmp_path / "elsewhere.key"))
    served = await serve(certificates=Certificates(elsewhere))
    url = f"https://{served.server.address}"
    async with AsyncClient(url, trust=Trust(ca_of(elsewhere))) as client:
        with pytest.raises(UnreachableError, match="is for another host"):
            await client.document("/status")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (10, "does not hold now"),
        (9, "does not hold now"),
        (18, "is of a CA that is not known here"),
        (20, "is of a CA that is not known here"),
        (62, "is for another host"),
        (64, "is for another host"),
        (23, "is not trusted"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_in_words(code: int, words: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "OpenSSL's own words"
    text, hint = failure("https://kv1:7480", error)
    assert words in text
    assert "OpenSSL's own words" in text
    assert hint


async def test_a_client_without_a_certificate_of_the_ca_of_clients_is_refused_in_words(
    serve: Serve, files: Files, tmp_path: Path
) -> None:
    other = made(tmp_path / "other")
    served = await serve(certificates=Certificates(files._replace(client_ca=ca_of(files))))
    url, folder = f"https://{served.server.address}", Path(files.cert).parent
    for cert, words in (
        ("", "wants a certificate of its clients"),
        (str(Path(other.cert).with_name(f"{CLIENT}.pem")), "does not know the CA"),
        (files.cert, "it is none for clients"),
    ):
        trust = Trust(ca_of(files), cert, cert.replace(".pem", ".key"))
        async with AsyncClient(url, trust=trust) as client:
            with pytest.raises(UnreachableError, match=words):
                await client.document("/status")
    own = Trust(ca_of(files), str(folder / f"{CLIENT}.pem"), str(folder / f"{CLIENT}.key"))
    async with AsyncClient(url, trust=own) as client:
        tls = (await client.document("/status"))["tls"]
        assert tls["clients_need_certificate"]
    assert counts(served)["handshakes_failed"] >= 3


async def test_the_name_in_the_certificate_of_a_client_is_that_of_its_connection(
    serve: Serve, files: Files
) -> None:
    served = await serve(certificates=Certificates(files._replace(client_ca=ca_of(files))))
    streams = await connect(served, client_context(files, with_certificate=True))
    for target in ("/kv/a", "/kv?prefix="):
        await ask(streams, "GET", target)
        (connection,) = served.server._connections._open
        assert connection.client.certificate == CLIENT
    await close(streams)
