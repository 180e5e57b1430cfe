"""TlsLink: one connection of a port that speaks TLS, between the real transport and its lane.

To the real transport it is the protocol, to the lane the transport: the lane, and aiohttp's behind
it, do not know that what they read and write is encrypted. An `ssl.SSLObject` between two buffers
in memory does the work.

The event loop's own `ssl=` would be less code. It shows the lane a client after its handshake:
until then nobody counts it, sees that it is late, or tells it that it speaks the wrong protocol,
and its handshake takes the loop when it likes. It cannot close one half of a
connection, as an answer to a client that sends too much does. And a GET on an open connection costs
16 to 20 us more than plain with it (uvloop; asyncio's own more), 12 to 16 us with this.

Laws
- The lane is there from the first moment, so a client that does not finish its handshake is one of
  the connections that are counted, and as late as one that does not finish a head.
- The lane gets what was decrypted of one piece of the network at once, and nothing after it has
  paused the transport: no bytes wait here but those of a record that is not whole.
- What is written is encrypted at once, and waits in the real transport alone: its limits, its size
  and its pauses are the lane's. A client that makes this side answer, and reads nothing, is cut
  off.
- The last thing that leaves is a close_notify. One that arrives, and the end of the bytes without
  one, are the same: the end of a request is in HTTP's own words, and a part of one does nothing.
- Nobody renegotiates: the context forbids it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import IntEnum
from typing import Any, cast

from kvgossip.api.http.errors import RequestError, tls_expected
from kvgossip.api.tls.handshakes import Handshakes

RECORD_BYTES = 16 * 1024
"""The most plain bytes of one record."""
SLICE_BYTES = 2 * RECORD_BYTES
"""So much goes through a buffer in memory at a time: it never gets smaller again."""
METHODS = frozenset(b"\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ")

log = logging.getLogger("kvgossip.api")

Bytes = bytes | bytearray | memoryview


class FirstLane(asyncio.Protocol):
    """The lane on which a connection starts."""

    __slots__ = ()

    @abstractmethod
    def secured(self) -> None:
        """The handshake is done: what `get_extra_info` says of the client is whole."""

    @abstractmethod
    def refuse(self, error: RequestError) -> None:
        """Answer with this, and close."""


class State(IntEnum):
    FIRST = 0
    """Nothing has arrived."""
    HANDSHAKE = 1
    OPEN = 2
    PLAIN = 3
    """The client speaks plain HTTP: it is told so, in plain."""
    SHUT = 4
    """Our close_notify, or an alert, was the last that is sent; what arrives is dropped."""


# Looked up for every request: a global name is found faster than a member of an enumeration.
_OPEN, _PLAIN = State.OPEN, State.PLAIN


class TlsLink(asyncio.Transport, asyncio.Protocol):
    """`context()`: that of the certificate of now, for this connection from its begin to its
    end."""

    __slots__ = (
        "_choked", "_counts", "_ended", "_handshakes", "_incoming", "_inner", "_lane",
        "_outgoing", "_real", "_state", "_tls",
    )  # fmt: skip

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        lane: Callable[[], FirstLane],
        handshakes: Handshakes,
        counts: Counter[str],
    ) -> None:
        super().__init__()
        self._lane = lane()
        self._inner: asyncio.Protocol = self._lane
        self._handshakes, self._counts = handshakes, counts
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._state = State.FIRST
        self._real: asyncio.Transport
        #: True if the client takes nothing of what is sent to it.
        self._choked = False
        #: True if the lane knows that the client will send no more.
        self._ended = False

    # -- the protocol of the real transport -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's
        self._real = cast(asyncio.Transport, transport)
        self._inner.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._state is _OPEN:
            if len(data) <= SLICE_BYTES:
                self._incoming.write(data)
                self._deliver(self._decrypt())
            else:
                self._deliver(self._decrypt_slices(data))
        elif self._state <= State.HANDSHAKE:
            self._greet(data)

    def eof_received(self) -> bool:
        if self._state <= State.HANDSHAKE:
            return False
        return self._ended or self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._state = State.SHUT
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._choked = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._choked = False
        self._inner.resume_writing()

    # -- handshake --------------------------------------------------------------------------------

    def _greet(self, data: bytes) -> None:
        if self._state is State.FIRST:
            if data[0] in METHODS:
                self._state = State.PLAIN
                self._counts["plain_on_tls"] += 1
                self._lane.refuse(tls_expected())
                return
            self._state = State.HANDSHAKE
        self._incoming.write(data)
        if not self._handshakes.do(self._shake):
            self._real.pause_reading()

    def _shake(self) -> None:
        if self._state is not State.HANDSHAKE or self._real.is_closing():
            return
        self._real.resume_reading()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._counts["handshakes_failed"] += 1
            self._fail(error)
            return
        self._state = _OPEN
        self._counts["handshakes_completed"] += 1
        self._lane.secured()
        self._flush()
        if self._incoming.pending:
            self._deliver(self._decrypt())

    # -- what arrives -----------------------------------------------------------------------------

    def _decrypt(self) -> bytes:
        """All that has arrived in whole records."""
        incoming, tls, parts = self._incoming, self._tls, []
        try:
            # a read takes a buffer of the size that is asked for, and a record is longer than what
            # it holds
            while size := incoming.pending or tls.pending():
                part = tls.read(size)
                if not part:
                    # a close_notify: whatever is behind it is not the client's
                    incoming.read()
                    self._ended = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        if self._outgoing.pending:
            self._flush()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _decrypt_slices(self, data: bytes) -> bytes:
        view, parts = memoryview(data), []
        for start in range(0, len(data), SLICE_BYTES):
            if self._state is _OPEN and not self._ended:
                self._incoming.write(view[start : start + SLICE_BYTES])
                parts.append(self._decrypt())
        return b"".join(parts)

    def _deliver(self, data: bytes) -> None:
        ended = self._ended
        if data:
            self._inner.data_received(data)
        if ended and self._state is _OPEN and not self._end():
            self.close()

    def _end(self) -> bool:
        """True if the lane has something to say to a client that will send no more."""
        self._ended = True
        return bool(self._inner.eof_received())

    def _fail(self, error: ssl.SSLError) -> None:
        """What arrived is no TLS, or not what we take. The alert says why, and would be lost if the
        connection was closed with bytes of the client unread."""
        log.debug("TLS with %s: %s", self.get_extra_info("peername"), error.reason or error)
        self._state = State.SHUT
        self._flush()
        if not self._real.is_closing():
            self._real.write_eof()

    def _flush(self) -> None:
        """Send what TLS itself has to say."""
        if not self._outgoing.pending:
            return
        data = self._outgoing.read()
        if self._choked:
            self._real.abort()
        elif not self._real.is_closing():
            self._real.write(data)

    # -- the transport of the lane ----------------------------------------------------------------

    def write(self, data: Bytes) -> None:
        if self._state is _OPEN:
            if len(data) <= RECORD_BYTES:
                self._tls.write(data)
                self._real.write(self._outgoing.read())
            else:
                self._real.writelines(self._encrypted(memoryview(data).cast("B")))
        elif self._state is _PLAIN:
            self._real.write(data)

    def _encrypted(self, data: memoryview) -> list[bytes]:
        records, start = [], 0
        while start < len(data):
            start += self._tls.write(data[start : start + RECORD_BYTES])
            records.append(self._outgoing.read())
        return records

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._say_goodbye()
        if not self._real.is_closing():
            self._real.write_eof()

    def close(self) -> None:
        self._say_goodbye()
        self._real.close()

    def _say_goodbye(self) -> None:
        if self._state is _OPEN:
            self._state = State.SHUT
            # it returns with the client's, which nobody waits for
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            if not self._real.is_closing():
                self._real.write(self._outgoing.read())

    def abort(self) -> None:
        self._real.abort()

    def is_closing(self) -> bool:
        return self._real.is_closing()

    def is_reading(self) -> bool:
        return self._real.is_reading()

    def pause_reading(self) -> None:
        self._real.pause_reading()

    def resume_reading(self) -> None:
        self._real.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._inner

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._real.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._real.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        return self._real.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if self._state is _OPEN:
            if name == "ssl_object":
                return self._tls
            if name == "sslcontext":
                return self._tls.context
            if name == "peercert":
                return self._tls.getpeercert()
        return self._real.get_extra_info(name, default)
