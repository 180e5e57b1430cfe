"""One TCP link: frames with a 4-byte big-endian length before each, both ways, and the
back-pressure between them.

Laws
- Every byte of the stream is copied a fixed number of times, however the frames are cut and however
  many come in one read.
- **Who asks must take.** While more replies wait than `HIGH_WATER_BYTES`, an incoming link neither
  reads nor hands over the frames that it has read: a peer that asks and does not take gets no more
  replies produced. Only the accepting side does so. Were both sides to stop reading while they
  cannot write, two peers that send much at once would wait for each other for ever; so the dialling
  side always reads, and what it has to send is bounded by `waiting_bytes_max`.
- A link hands over at most FRAMES_A_TURN frames, for TURN_S, in one turn of the event loop, and
  then rests for REST_TURNS, so that one busy peer cannot hold up the rest: a request over HTTP that
  takes several turns waits for one frame, and not once each turn.
- A length of zero or beyond the limit ends the link: the other side does not speak this protocol.
- **Who is not known gets little.** Until a frame of it has been opened, a link that a peer dialled
  takes frames of EARLY_FRAME_BYTES_MAX at most: a length is believed of a member alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Protocol, cast

from kvgossip.config import Address
from kvgossip.errors import RemoteError

LENGTH_BYTES = 4
HIGH_WATER_BYTES = 256 * 1024
EARLY_FRAME_BYTES_MAX = 64 * 1024
FRAMES_A_TURN = 64
TURN_S = 0.001
REST_TURNS = 4


class FrameCutter:
    """Cuts a stream of bytes into frames of 1 to `frame_bytes_max` bytes."""

    __slots__ = ("_at", "_buffer", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Append bytes of the stream. Frames that were cut off are released here, once a read and
        not once a frame."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def __len__(self) -> int:
        """How many bytes wait here, for the rest of their frame or to be cut off."""
        return len(self._buffer) - self._at

    def next(self) -> bytes | None:
        """The next whole frame, None when it has not arrived yet. Raises RemoteError("bad_length")
        for a length that cannot be."""
        if self._at == len(self._buffer):
            # everything was taken: an idle link holds no memory
            self._buffer.clear()
            self._at = 0
        start = self._at + LENGTH_BYTES
        if len(self._buffer) < start:
            return None
        length = int.from_bytes(self._buffer[self._at : start], "big")
        if not 0 < length <= self.frame_bytes_max:
            raise RemoteError("bad_length", f"a frame of {length} bytes")
        if len(self._buffer) < start + length:
            return None
        self._at = start + length
        with memoryview(self._buffer) as view:
            return bytes(view[start : self._at])


class LinkOwner(Protocol):
    """The owner of links, which hears what happens on them."""

    def link_opened(self, link: Link) -> None: ...

    def link_received(self, link: Link, frame: bytes) -> None: ...

    def link_kept(self, link: Link, more: int) -> None:
        """So many more bytes wait on this link for the rest of a frame; fewer where negative."""

    def link_refused(self, link: Link, reason: RemoteError) -> None:
        """The peer broke the framing; the owner has to end the link."""

    def link_lost(self, link: Link) -> None:
        """A link that was connected is gone, for whatever reason; called once."""


class Link(asyncio.Protocol):
    """A link that we dialled (`address` given: frames wait until it is connected), or one that a
    peer dialled."""

    def __init__(
        self,
        owner: LinkOwner,
        address: Address | None,
        frame_bytes_max: int,
        waiting_bytes_max: int,
    ) -> None:
        #: true if this node dialled it
        self.dialled = address is not None
        self.address = address or Address("", 0)
        #: the host of our end, once it is connected
        self.here = ""
        #: the time at which a frame last came or went, monotonic seconds
        self.used_s = 0.0
        #: the time of the first frame that went since anything came; None: there is none
        self.unanswered_s: float | None = None
        #: some frame was sent here, or waits
        self.has_sent = False
        #: when it was connected, monotonic seconds
        self.since_s = 0.0
        #: how many bytes wait here for the rest of a frame, as far as the owner knows; and how
        #: many have come lately
        self.kept_bytes = self.lately_bytes = 0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._frame_bytes_max = frame_bytes_max
        early = frame_bytes_max if self.dialled else min(frame_bytes_max, EARLY_FRAME_BYTES_MAX)
        self._cutter = FrameCutter(early)
        #: whoever is at the other end has the key, and is of this cluster
        self.known = False
        self._waiting_bytes_max = waiting_bytes_max
        self._transport: asyncio.Transport | None = None
        #: frames that wait for the connection
        self._early: list[bytes] = []
        self._early_bytes = 0
        #: the peer does not take its answers, so nothing is read from it; the link is at its end
        self._choked = self._ended = False
        #: the next turn of the event loop in which frames are cut off
        self._turn: asyncio.Handle | None = None

    @property
    def open(self) -> bool:
        """True if frames can still be sent here, now or once it is connected."""
        return not self._ended and (self._transport is None or not self._transport.is_closing())

    def is_known(self) -> None:
        """A frame of the other side was opened."""
        self.known, self._cutter.frame_bytes_max = True, self._frame_bytes_max

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken by the peer, beyond what the kernel holds."""
        return self._early_bytes + (
            self._transport.get_write_buffer_size() if self._transport is not None else 0
        )

    @property
    def ends(self) -> tuple[Any, Any]:
        """The socket addresses of our end and of the peer's, as the kernel tells them; None where
        it does not know any more."""
        assert self._transport is not None, "a link has ends once it is open"
        return self._transport.get_extra_info("sockname"), self._transport.get_extra_info(
            "peername"
        )

    def send(self, frame: bytes) -> bool:
        """Queue a frame. False, and nothing is queued, when more than `waiting_bytes_max` would
        wait."""
        if self.waiting_bytes + LENGTH_BYTES + len(frame) > self._waiting_bytes_max:
            return False
        prefixed = len(frame).to_bytes(LENGTH_BYTES, "big") + frame
        self.has_sent = True
        self.used_s = self._loop.time()
        if self.unanswered_s is None:
            self.unanswered_s = self.used_s
        if self._transport is not None:
            self._transport.write(prefixed)
        else:
            self._early.append(prefixed)
            self._early_bytes += len(prefixed)
        return True

    def give_up_after(self, seconds: float) -> None:
        """Let the kernel end the link where bytes were not acknowledged for so long; without that
        it tries for a quarter of an hour."""
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None and self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(
                    socket.IPPROTO_TCP, option, round(seconds * 1000)
                )

    def close(self) -> None:
        """End the link once what waits has been taken; nothing more is received."""
        self._end()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the link at once; frames that wait are lost."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    # -- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a cast, for uvloop's class is no asyncio.Transport
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._ended:
            # given up in the very turn in which the dial came through
            transport.abort()
            return
        self.used_s = self.since_s = self._loop.time()
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._owner.link_opened(self)
        early, self._early, self._early_bytes = self._early, [], 0
        if early and self.open:
            transport.write(b"".join(early))

    def data_received(self, data: bytes) -> None:
        self.used_s, self.unanswered_s = self._loop.time(), None
        self.lately_bytes += len(data)
        self._cutter.feed(data)
        if self._turn is None and not self._choked:
            self._deliver()
        self._tell_kept()

    def pause_writing(self) -> None:
        if not self.dialled:
            self._choked = True
            self._read(False)

    def resume_writing(self) -> None:
        self._choked = False
        if self._turn is None and self.open:
            self._turn = self._loop.call_soon(self._deliver)

    def connection_lost(self, error: Exception | None) -> None:
        self._end()
        self._owner.link_lost(self)

    # -- the frames that have arrived -------------------------------------------------------------

    def _deliver(self) -> None:
        self._turn = None
        end_s = self._loop.time() + TURN_S
        for _ in range(FRAMES_A_TURN):
            if self._choked or not self.open:
                return
            frame = self._next()
            if frame is None:
                self._tell_kept()
                self._read(True)
                return
            self._owner.link_received(self, frame)
            if self._loop.time() >= end_s:
                break
        # more frames may be there, but the others get their turn first
        self._read(False)
        if not self._choked and self.open:
            self._rest(REST_TURNS)

    def _tell_kept(self) -> None:
        """Tell the owner how much more waits here than before."""
        kept = 0 if self._ended else len(self._cutter)
        more, self.kept_bytes = kept - self.kept_bytes, kept
        if more:
            self._owner.link_kept(self, more)

    def _rest(self, turns: int) -> None:
        self._turn = self._loop.call_soon(*((self._rest, turns - 1) if turns else (self._deliver,)))

    def _next(self) -> bytes | None:
        try:
            return self._cutter.next()
        except RemoteError as reason:
            self._owner.link_refused(self, reason)
            return None

    def _read(self, wanted: bool) -> None:
        if self._transport is None or not self.open:
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _end(self) -> None:
        self._ended = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._tell_kept()
