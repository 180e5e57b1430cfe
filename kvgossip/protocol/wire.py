"""Messages to bytes and back: the only module that knows bytes.

    frame   := magic "kv", format version (1 byte), flags (1), cluster fingerprint (8), pool fingerprint (4), unit*
    unit    := kind (1 byte), length (4 bytes, big-endian), body: a MessagePack array
    flags   := 1: the frame says no, see Refused; 2: what follows the header is one zstd frame, which gives the units

A frame of another cluster or pool is recognised by its header alone, before anything is decoded (protocol.md section 1). Units of
an unknown kind are passed over, so that newer peers can say more. A unit that cannot be decoded costs itself, not its neighbours.

Law: any bytes give messages or RemoteErrors, never another exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, NamedTuple

import msgspec
import zstandard
from xxhash import xxh3_64_intdigest

from kvgossip.config import Config
from kvgossip.errors import RemoteError
from kvgossip.protocol import message
from kvgossip.protocol.member import Member
from kvgossip.protocol.message import Message

MAGIC = b"kv"
FORMAT = 1
FLAG_REFUSED = 0x01
FLAG_COMPRESSED = 0x02
COMPRESS_BYTES_MIN = 512
_HEADER = Struct(">2sBBQI")
_UNIT = Struct(">BI")
HEADER_BYTES = _HEADER.size
UNIT_BYTES = _UNIT.size
MEMBER_KIND = 5
BAD_MEMBER = "bad_member"
"""The fault of a record that cannot be read, perhaps since a newer release knows more states. Such news is passed over by itself."""

_compressor = zstandard.ZstdCompressor(level=1)
_decompressor = zstandard.ZstdDecompressor()
_encode = msgspec.msgpack.Encoder().encode
_DECODERS: dict[int, msgspec.msgpack.Decoder[Any]] = {MEMBER_KIND: msgspec.msgpack.Decoder(Member)}
_DECODERS |= {kind.kind: msgspec.msgpack.Decoder(kind) for kind in Message.__subclasses__()}


def frame_bytes_max(config: Config) -> int:
    """The longest frame that a TCP link takes: one full message, and one entry of the largest size beyond it."""
    return config.message_bytes_max + config.value_bytes_max + 64 * 1024


def encode(told: Message | Member) -> bytes:
    """One unit."""
    body = _encode(told)
    return _UNIT.pack(MEMBER_KIND if isinstance(told, Member) else told.kind, len(body)) + body


class Opened(NamedTuple):
    """What a frame held: its messages in order, and the reasons why some units gave none."""

    messages: list[Message | Member]
    faults: list[str]


class Framing:
    """The header of one pool's frames. `pool` is its kind and datacenter in words, such as `lan:dc1`.

    No frame is longer than `bytes_max`, also after decompression.
    """

    def __init__(self, cluster: str, pool: str, bytes_max: int) -> None:
        self.cluster, self.pool = cluster, pool
        self._bytes_max = bytes_max
        self._cluster_fingerprint = xxh3_64_intdigest(f"cluster {cluster}".encode())
        self._pool_fingerprint = _pool_fingerprint(pool)
        self._head = self._header(0)
        self._head_compressed = self._header(FLAG_COMPRESSED)

    def _header(self, flags: int) -> bytes:
        return _HEADER.pack(MAGIC, FORMAT, flags, self._cluster_fingerprint, self._pool_fingerprint)

    def frame(self, units: Iterable[bytes], *, compress: bool = False) -> bytes:
        """One frame; `compress`: with zstd, where that makes it an eighth smaller at least."""
        body = b"".join(units)
        if compress and len(body) >= COMPRESS_BYTES_MIN:
            packed = _compressor.compress(body)
            if len(packed) < len(body) - len(body) // 8:
                return self._head_compressed + packed
        return self._head + body

    def refusal(self, text: str) -> bytes:
        """A frame that says no; its flag lets also nodes of other pools read it."""
        return self._header(FLAG_REFUSED) + encode(message.Refused(self.cluster, self.pool, text[:512]))

    def check(self, data: bytes) -> None:
        """Raises RemoteError, whose reason is why the frame is not for us: judged by the header alone."""
        if len(data) < HEADER_BYTES or data[:2] != MAGIC:
            raise RemoteError("bad_magic")
        _, version, flags, cluster, pool = _HEADER.unpack_from(data)
        if version != FORMAT:
            raise RemoteError("unknown_format", f"frame format {version}, this node speaks {FORMAT}")
        if flags & FLAG_REFUSED:
            return
        if cluster != self._cluster_fingerprint:
            raise RemoteError("other_cluster")
        if pool != self._pool_fingerprint:
            raise RemoteError("other_pool")

    def open(self, data: bytes, *, reliable: bool) -> Opened:
        """The messages of a frame. Raises RemoteError as `check` does; of a refusal from elsewhere only Refused is believed.

        `reliable`: it came over a link. Datagrams are never compressed: a small one must not turn into much work.
        """
        self.check(data)
        if data[3] & FLAG_COMPRESSED and not reliable:
            raise RemoteError("bad_compression", "a compressed datagram")
        opened = _units(self._body(data))
        if is_refusal(data):
            return Opened([told for told in opened.messages if isinstance(told, message.Refused)], opened.faults)
        return opened

    def _body(self, data: bytes) -> memoryview:
        if not data[3] & FLAG_COMPRESSED:
            return memoryview(data)[HEADER_BYTES:]
        packed = data[HEADER_BYTES:]
        try:
            # judged by the size that the frame declares, before a byte is unpacked: a small frame must not claim much memory
            if not 0 < zstandard.get_frame_parameters(packed).content_size <= self._bytes_max:
                raise RemoteError("bad_compression", "a frame that is too large when decompressed")
            return memoryview(_decompressor.decompress(packed))
        except zstandard.ZstdError:
            raise RemoteError("bad_compression") from None


def is_refusal(data: bytes) -> bool:
    """Whether a frame, of whatever cluster and format, says no."""
    return len(data) >= HEADER_BYTES and bool(data[3] & FLAG_REFUSED)


def is_of_pool(data: bytes, pool: str) -> bool:
    """Whether a frame carries the fingerprint of this pool."""
    return len(data) >= HEADER_BYTES and int.from_bytes(data[HEADER_BYTES - 4 : HEADER_BYTES]) == _pool_fingerprint(pool)


def _pool_fingerprint(pool: str) -> int:
    return xxh3_64_intdigest(f"pool {pool}".encode()) & 0xFFFFFFFF


def _units(data: memoryview) -> Opened:
    opened, at = Opened([], []), 0
    while at < len(data):
        if at + UNIT_BYTES > len(data):
            opened.faults.append("truncated")
            break
        kind, length = _UNIT.unpack_from(data, at)
        start, at = at + UNIT_BYTES, at + UNIT_BYTES + length
        if at > len(data):
            opened.faults.append("truncated")
            break
        _decode(kind, data[start:at], opened)
    return opened


def _decode(kind: int, body: memoryview, opened: Opened) -> None:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        opened.faults.append("unknown_kind")
        return
    try:
        opened.messages.append(decoder.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        opened.faults.append(BAD_MEMBER if kind == MEMBER_KIND else "bad_message")
