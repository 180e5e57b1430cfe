"""One connection over TLS, without a network: bytes in pieces of any size, and what leaves."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvgossip.api.http.errors import RequestError
from kvgossip.api.tls.certificates import Certificates
from kvgossip.api.tls.link import FirstLane, TlsLink
from kvgossip.api.tls.reading import Files
from tests.api.tls.files import HOST, client_context, made


class Wire(asyncio.Transport):
    """The real transport: what was done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.events: list[str] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.sent += b"".join(list_of_data)

    def write_eof(self) -> None:
        self.events.append("write_eof")

    def close(self) -> None:
        self.closing = True
        self.events.append("close")

    def abort(self) -> None:
        self.closing = True
        self.events.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.events.append("pause_reading")

    def resume_reading(self) -> None:
        self.events.append("resume_reading")

    def take(self) -> bytes:
        taken, self.sent = self.sent, b""
        return taken


class Recorder(FirstLane):
    """A lane that keeps what it gets. `stays`: it has something to say to who sends no more."""

    def __init__(self, stays: bool = False) -> None:
        self.pieces: list[bytes] = []
        self.calls: list[str] = []
        self.stays = stays

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        assert data
        self.pieces.append(data)

    @property
    def got(self) -> bytes:
        return b"".join(self.pieces)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.stays

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def secured(self) -> None:
        self.calls.append("secured")

    def refuse(self, error: RequestError) -> None:
        self.calls.append(str(error))


class AtOnce:
    """Handshakes without a bound."""

    def do(self, step: Callable[[], None]) -> bool:
        step()
        return True


class Held(AtOnce):
    """Handshakes that wait for their turn."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def do(self, step: Callable[[], None]) -> bool:
        self.steps.append(step)
        return False


class Pair:
    """A link, and a client of it."""

    def __init__(
        self, files: Files, context: ssl.SSLContext, lane: Recorder, handshakes: AtOnce
    ) -> None:
        self.wire, self.lane, self.counts = Wire(), lane, Counter[str]()
        self.link = TlsLink(
            server_context(files),
            lambda: lane,
            handshakes,  # type: ignore[arg-type]
            self.counts,
        )
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.link.connection_made(self.wire)

    def shake(self) -> None:
        """The whole handshake; raises what the client raises."""
        for _ in range(4):
            self.incoming.write(self.wire.take())
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            if self.outgoing.pending:
                self.link.data_received(self.outgoing.read())

    def sealed(self, data: bytes) -> bytes:
        """What the client sends for this."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def read(self) -> bytes:
        """All that the client has been sent; an end is b"<end>"."""
        self.incoming.write(self.wire.take())
        found = bytearray()
        try:
            while part := self.tls.read(2**16):
                found += part
            return bytes(found) + b"<end>"
        except ssl.SSLWantReadError:
            return bytes(found)
        except ssl.SSLZeroReturnError:
            return bytes(found) + b"<end>"


Build = Callable[..., Pair]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return made(tmp_path_factory.mktemp("tls"))


@cache
def server_context(files: Files) -> Callable[[], ssl.SSLContext]:
    return Certificates(files).context


@cache
def client_of_version(files: Files, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = client_context(files)
    context.maximum_version = version
    return context


def build(
    files: Files,
    *,
    lane: Recorder | None = None,
    handshakes: AtOnce | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Pair:
    context = client_of_version(files, version)
    return Pair(files, context, lane or Recorder(), handshakes or AtOnce())


def opened(files: Files, **how: Any) -> Pair:
    pair = build(files, **how)
    pair.shake()
    assert pair.lane.calls == ["made", "secured"]
    return pair


def pieces(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes; the last one is the rest."""
    start = 0
    for size in sizes:
        if start < len(data):
            yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]


SIZES = st.lists(st.one_of(st.integers(1, 40), st.integers(1, 40_000)), max_size=30)
TEXTS = st.lists(
    st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), st.integers(1, 50_000)),
    min_size=1,
    max_size=4,
)


@given(texts=TEXTS, sizes=SIZES, version=st.sampled_from(("TLSv1_2", "TLSv1_3")))
def test_the_lane_gets_all_that_was_sent_whatever_the_pieces_in_which_it_arrives(
    files: Files, texts: list[bytes], sizes: list[int], version: str
) -> None:
    pair = opened(files, version=ssl.TLSVersion[version])
    for piece in pieces(b"".join(map(pair.sealed, texts)), sizes):
        pair.link.data_received(piece)
    assert pair.lane.got == b"".join(texts)
    assert pair.lane.calls == ["made", "secured"]


@given(sizes=st.lists(st.integers(1, 300), max_size=30))
def test_a_handshake_that_arrives_in_any_pieces_completes_and_so_does_the_request_behind_it(
    files: Files, sizes: list[int]
) -> None:
    pair = build(files)
    with pytest.raises(ssl.SSLWantReadError):
        pair.tls.do_handshake()
    for piece in pieces(pair.outgoing.read(), sizes):
        pair.link.data_received(piece)
    pair.incoming.write(pair.wire.take())
    pair.tls.do_handshake()
    for piece in pieces(pair.outgoing.read() + pair.sealed(b"GET"), sizes):
        pair.link.data_received(piece)
    assert pair.lane.got == b"GET"
    assert pair.counts == {"handshakes_completed": 1}


@given(texts=TEXTS, joined=st.booleans())
def test_the_client_gets_all_that_the_lane_writes(
    files: Files, texts: list[bytes], joined: bool
) -> None:
    pair = opened(files)
    if joined:
        pair.link.writelines(texts)
    else:
        for text in texts:
            pair.link.write(memoryview(text))
    pair.link.close()
    assert pair.read() == b"".join(texts) + b"<end>"


def test_what_one_piece_of_the_network_brings_reaches_the_lane_at_once(files: Files) -> None:
    pair = opened(files)
    pair.link.data_received(pair.sealed(b"a" * 100_000) + pair.sealed(b"b"))
    assert pair.lane.pieces == [b"a" * 100_000 + b"b"]


@pytest.mark.parametrize("stays", [False, True])
def test_a_client_that_says_that_it_sends_no_more_still_gets_its_answer(
    files: Files, stays: bool
) -> None:
    pair = opened(files, lane=Recorder(stays))
    pair.link.data_received(pair.sealed(b"GET") + pair.goodbye() + b"junk")
    assert pair.lane.got == b"GET"
    assert pair.lane.calls[2:] == ["eof"]
    if stays:
        assert not pair.wire.closing
        pair.link.write(b"answer")
        assert pair.link.eof_received()
        pair.link.close()
        assert pair.read() == b"answer<end>"
    assert pair.wire.closing
    assert pair.lane.calls[2:] == ["eof"]


def test_the_end_of_the_bytes_without_a_goodbye_is_an_end_as_well(files: Files) -> None:
    pair = opened(files, lane=Recorder(stays=True))
    pair.link.data_received(pair.sealed(b"GET")[:-3])
    assert pair.link.eof_received()
    assert pair.lane.calls[2:] == ["eof"]
    assert pair.lane.got == b""


def test_the_end_of_the_bytes_within_a_handshake_ends_the_connection(files: Files) -> None:
    pair = build(files)
    assert not pair.link.eof_received()
    pair.link.connection_lost(None)
    assert pair.lane.calls == ["made", "lost"]


def test_half_a_connection_is_closed_with_a_goodbye_and_what_arrives_then_is_dropped(
    files: Files,
) -> None:
    pair = opened(files)
    pair.link.write(b"answer")
    pair.link.write_eof()
    assert pair.read() == b"answer<end>"
    assert pair.wire.events[-1] == "write_eof"
    pair.link.data_received(pair.sealed(b"more"))
    pair.link.write(b"more")
    assert (pair.lane.got, pair.wire.sent) == (b"", b"")


def test_a_client_that_speaks_plain_http_is_told_so_in_plain_http(files: Files) -> None:
    pair = build(files)
    pair.link.data_received(b"GET / HTTP/1.1\r\n\r\n")
    pair.link.write(b"HTTP/1.1 400")
    pair.link.close()
    assert pair.lane.calls[1].startswith("this port speaks TLS")
    assert pair.lane.got == b""
    assert pair.wire.sent == b"HTTP/1.1 400"
    assert pair.counts == {"plain_on_tls": 1}


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01\x00\x05hello", b"\x00", b"\x80\x2e\x01", b"\xff" * 900]
)
def test_garbage_ends_the_connection_and_nothing_of_it_reaches_the_lane(
    files: Files, first: bytes
) -> None:
    pair = build(files)
    pair.link.data_received(first + bytes(2000))
    assert pair.wire.events[-1] == "write_eof"
    # OpenSSL has an alert for some of it
    assert pair.wire.sent[:1] in (b"", b"\x15")
    pair.link.data_received(bytes(2000))
    assert pair.lane.calls == ["made"]
    assert (pair.lane.got, pair.counts) == (b"", {"handshakes_failed": 1})


def test_a_record_that_was_changed_on_its_way_ends_the_connection_with_an_alert(
    files: Files,
) -> None:
    pair = opened(files)
    sealed = bytearray(pair.sealed(b"one")) + bytearray(pair.sealed(b"two"))
    sealed[-1] ^= 1
    pair.link.data_received(bytes(sealed))
    assert pair.wire.events[-1] == "write_eof"
    with pytest.raises(ssl.SSLError, match="ALERT"):
        pair.read()
    assert pair.lane.got == b"one"


def test_a_client_that_makes_this_side_answer_and_reads_nothing_is_cut_off(files: Files) -> None:
    pair = opened(files)
    pair.link.pause_writing()
    broken = bytearray(pair.sealed(b"one"))
    broken[-1] ^= 1
    pair.link.data_received(bytes(broken))
    assert pair.wire.events[-1] == "abort"
    assert pair.lane.calls[2:] == ["pause"]


def test_a_client_that_waits_for_its_turn_is_not_read_meanwhile(files: Files) -> None:
    held = Held()
    pair = build(files, handshakes=held)
    with pytest.raises(ssl.SSLWantReadError):
        pair.tls.do_handshake()
    pair.link.data_received(pair.outgoing.read())
    assert (pair.wire.events, pair.wire.sent) == (["pause_reading"], b"")
    held.steps.pop()()
    assert pair.wire.events == ["pause_reading", "resume_reading"]
    assert pair.wire.sent


@pytest.mark.parametrize("end", ["connection_lost", "abort"])
def test_a_turn_that_comes_after_the_end_of_the_connection_does_nothing(
    files: Files, end: str
) -> None:
    held = Held()
    pair = build(files, handshakes=held)
    with pytest.raises(ssl.SSLWantReadError):
        pair.tls.do_handshake()
    pair.link.data_received(pair.outgoing.read())
    if end == "abort":
        pair.link.abort()
    else:
        pair.link.connection_lost(None)
    held.steps.pop()()
    assert pair.wire.sent == b""


def test_what_is_written_before_the_handshake_is_dropped_and_never_sent_in_plain(
    files: Files,
) -> None:
    pair = build(files)
    pair.link.write(b"secret")
    pair.link.writelines([b"secret"])
    pair.link.close()
    assert pair.wire.sent == b""
    assert pair.wire.events == ["close"]


def test_tls_1_1_and_renegotiation_are_refused_and_http_1_1_is_what_is_spoken(files: Files) -> None:
    context = Certificates(files).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    offer = client_context(files)
    offer.set_alpn_protocols(["h2", "http/1.1"])
    pair = Pair(files, offer, Recorder(), AtOnce())
    pair.shake()
    assert pair.tls.selected_alpn_protocol() == "http/1.1"


def test_the_certificate_of_a_client_is_known_as_soon_as_the_lane_is_told(
    files: Files, tmp_path: Path
) -> None:
    found: list[Any] = []
    ca = str(Path(files.cert).with_name("ca.pem"))
    pair = Pair(
        files._replace(client_ca=ca),
        client_context(files, with_certificate=True),
        Recorder(),
        AtOnce(),
    )
    pair.lane.secured = lambda: found.append(pair.link.get_extra_info("peercert"))  # type: ignore[method-assign]
    assert pair.link.get_extra_info("peercert") is None
    pair.shake()
    assert found[0]["subject"] == ((("commonName", "ci"),),)
    assert pair.link.get_extra_info("sslcontext") is not None
