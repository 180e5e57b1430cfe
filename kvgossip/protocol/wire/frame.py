"""Frames: units under the header of a pool, to bytes and back.

    frame   := header, checksum, unit*
    header  := magic "kv", format version (1 byte), flags (1), cluster fingerprint (4), cluster id
            (4), pool fingerprint (4)
    checksum:= the XXH3 (8 bytes) of all behind it, seeded by the XXH3 of the header; a frame that
            is sealed has a seal instead, and one that says no has neither
    unit    := a message, or the record of a member (unit.py)
    flags   := 1: the frame says no, see Refused; 2: the units are in one zstd frame; 4: the rest
            after the header is sealed, see seal.py, and 2 is about the opened rest

A frame of another cluster or pool is recognised by its header alone, before anything is decoded
(protocol.md section 1). The cluster id is 0 in a frame of a node that belongs to no cluster yet,
and in those of a join, which say more about ids themselves (model/cluster_id.py). Bytes that were
damaged on the way are found by the checksum, before anything of the header is believed.

There is one format, and nodes of another one are refused. A frame that says no is of format 1 for
ever, and all that is after its header are units: so nodes of every release read why. Every format
from 2 on keeps the header and the checksum, so that a damaged byte is not taken for a format.

A pool is sealed or it is not: with a keyring, frames that are not sealed are refused, without one
those that are. A frame that says no is never sealed, so that everybody can read it; so anybody can
forge it, and it is believed as a text and nothing more.

Laws
- Any bytes give messages or RemoteErrors, never another exception.
- Few bytes never claim much work: the units of a frame are bounded (unit.py), and it is at most
  INFLATION_MAX times as long when it is decompressed. What compresses better is filled up behind
  the zstd frame, where nobody reads it: older releases take such frames. They do not fill up their
  own, which hold one message of an exchange; so a frame of few units, and no great length, may be
  longer than that.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from kvgossip import zstd
from kvgossip.config import Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import FACTS_BYTES_MAX, Refused
from kvgossip.protocol.wire.seal import RIDE, SEAL_BYTES, Seals
from kvgossip.protocol.wire.unit import Opened, encode, units_of

MAGIC = b"kv"
FORMAT = 2
FIRST_FORMAT = 1
"""That of refusals, and of the only release whose clear frames have no checksum."""
FLAG_REFUSED = 0x01
FLAG_COMPRESSED = 0x02
FLAG_SEALED = 0x04
COMPRESS_BYTES_MIN = 512
INFLATION_MAX = 32
INFLATED_UNITS_MAX, INFLATED_BYTES_MAX = 8, 2 * 2**20
SLACK_BYTES = 64 * 1024
"""What a frame has beside its entries: more than enough."""
_HEADER = Struct(">2sBBIII")
HEADER_BYTES = _HEADER.size
CHECKSUM_BYTES = 8
UNITS_AT = HEADER_BYTES + CHECKSUM_BYTES
"""Where the units of a clear frame begin."""
OTHER_ID = "other_cluster_id"
"""The fault of a frame of a cluster that has the same name, and another id."""

_compressor = zstd.ZstdCompressor(level=1)


def frame_bytes_max(config: Config) -> int:
    """The longest frame that a TCP link takes: one full message, and beyond it one entry of the
    largest size, or the largest context."""
    return config.message_bytes_max + max(config.value_bytes_max, FACTS_BYTES_MAX) + SLACK_BYTES


def entry_bytes_max(frame_bytes: int) -> int:
    """The longest entry for a peer that takes frames of that length."""
    return frame_bytes - SLACK_BYTES


def message_bytes_max(frame_bytes: int) -> int:
    """The longest full message for a peer that takes frames of that length: with the largest
    context it still fits."""
    return max(frame_bytes - SLACK_BYTES - FACTS_BYTES_MAX, 1)


class Framing:
    """The header of one pool's frames. `pool` is its kind and datacenter in words, such as
    `lan:dc1`.

    No frame is longer than `bytes_max`, also after decompression. If there are seals (see
    `seal_with`), every frame is sealed. Until it knows to which cluster id it belongs, it takes
    frames of any.
    """

    def __init__(self, cluster: str, pool: str, bytes_max: int) -> None:
        self.cluster, self.pool = cluster, pool
        self.seals: Seals | None = None
        self._bytes_max = bytes_max
        self._cluster_fingerprint = xxh3_64_intdigest(f"cluster {cluster}".encode()) & 0xFFFFFFFF
        self._pool_fingerprint = _pool_fingerprint(pool)
        #: the number that frames carry, 0: none yet; and those that are taken, None: any
        self._number = 0
        self._numbers: tuple[int, ...] | None = None
        self._head()

    def seal_with(self, keyring: Keyring, site: int, generation: int, lives_max: int) -> None:
        """Seal from now on, as this life of a node; see Seals."""
        self.seals = Seals(keyring, self._header(0)[4:], site, generation, lives_max)
        self._head()

    def belong_to(self, cluster_id: ClusterId) -> None:
        """From now on frames carry this id, if it is minted, and those of no other are taken."""
        self._number = cluster_id.number if cluster_id.minted else 0
        self._numbers = cluster_id.settled or cluster_id.candidates
        self._head()

    def _head(self) -> None:
        """Make the headers, by flags: those of the node, and those of a join."""
        sealed = 0 if self.seals is None else FLAG_SEALED
        self._heads, self._join_heads = (
            {flags: self._header(flags | sealed, number) for flags in (0, FLAG_COMPRESSED)}
            for number in (self._number, 0)
        )
        #: that of a clear frame; None where frames are sealed
        self._clear_head = None if sealed else self._heads[0]

    @property
    def overhead_bytes(self) -> int:
        """The bytes of a frame beside its units."""
        return HEADER_BYTES + (SEAL_BYTES if self.seals is not None else CHECKSUM_BYTES)

    def _header(self, flags: int, number: int = 0, version: int = FORMAT) -> bytes:
        return _HEADER.pack(
            MAGIC, version, flags, self._cluster_fingerprint, number, self._pool_fingerprint
        )

    def frame(
        self,
        units: Iterable[bytes],
        *,
        reliable: bool = False,
        joining: bool = False,
        rides: bool = False,
    ) -> bytes:
        """One frame; `reliable`: for a link, compressed with zstd where that makes it an eighth
        smaller at least; `joining`: for nodes of any cluster id; `rides`: see RIDE in seal.py."""
        heads = self._join_heads if joining else self._heads
        flags, body = 0, b"".join(units)
        if reliable and len(body) >= COMPRESS_BYTES_MIN:
            packed = _compressor.compress(body, zstd.ZstdCompressor.FLUSH_FRAME)
            if len(packed) < len(body) - len(body) // 8:
                lacking = -(-len(body) // INFLATION_MAX) - len(packed)
                flags, body = FLAG_COMPRESSED, packed + bytes(max(0, lacking))
        head = heads[flags]
        if self.seals is None:
            return head + xxh3_64_digest(body, _seed(head)) + body
        return self.seals.seal(head, body, way=RIDE if rides else reliable)

    def refusal(self, text: str) -> bytes:
        """A frame that says no; its flag lets also nodes of other pools read it, and of other
        formats."""
        return self._header(FLAG_REFUSED, version=FIRST_FORMAT) + encode(
            Refused(cluster=self.cluster, pool=self.pool, text=text[:512])
        )

    def check(self, data: bytes) -> None:
        """Raises RemoteError, whose reason is why the frame is not for us: judged by the header
        alone, once the checksum of a clear frame has shown that nothing is damaged."""
        if len(data) < HEADER_BYTES or data[:2] != MAGIC:
            raise RemoteError("bad_magic")
        _, version, flags, cluster, number, pool = _HEADER.unpack_from(data)
        if flags & FLAG_REFUSED:
            return
        summed = version != FIRST_FORMAT and not flags & FLAG_SEALED
        if summed and data[HEADER_BYTES:UNITS_AT] != _checksum(
            data[:HEADER_BYTES], memoryview(data)[UNITS_AT:]
        ):
            raise RemoteError("bad_checksum")
        if version != FORMAT:
            raise RemoteError(
                "unknown_format", f"frame format {version}, this node speaks {FORMAT}"
            )
        if cluster != self._cluster_fingerprint:
            raise RemoteError("other_cluster")
        if pool != self._pool_fingerprint:
            raise RemoteError("other_pool")
        if number and self._numbers is not None and number not in self._numbers:
            raise RemoteError(OTHER_ID)

    def open(
        self,
        data: bytes,
        *,
        reliable: bool,
        replays: bool = False,
        any_id: bool = False,
        rides: bool = False,
    ) -> Opened:
        """The messages of a frame. Raises RemoteError as `check` and Seals do, and where it claims
        too much work; of a refusal from elsewhere only Refused is believed.

        `reliable`: it came over a link. Datagrams are never compressed: a small one must not turn
        into much work. `replays`: see Seals. `any_id`: of any cluster id. `rides`: it rode.
        """
        head = data[:HEADER_BYTES]
        if head == self._clear_head:
            # nearly every datagram: by a header that is our own there is nothing to judge
            units = memoryview(data)[UNITS_AT:]
            if data[HEADER_BYTES:UNITS_AT] != xxh3_64_digest(units, _seed(head)):
                raise RemoteError("bad_checksum")
            return units_of(units)
        try:
            self.check(data)
        except RemoteError as fault:
            if fault.reason != OTHER_ID or not any_id:
                raise
        if is_refusal(data):
            opened = units_of(memoryview(data)[HEADER_BYTES:])
            return Opened(
                [unit for unit in opened.messages if isinstance(unit, Refused)],
                opened.faults,
            )
        if data[3] & FLAG_COMPRESSED and not reliable:
            raise RemoteError("bad_compression", "a compressed datagram")
        body = self._unsealed(data, RIDE if rides else reliable, replays)
        return self._unpacked(body) if data[3] & FLAG_COMPRESSED else units_of(memoryview(body))

    def _unsealed(self, data: bytes, way: int, replays: bool) -> bytes | memoryview:
        sealed = data[3] & FLAG_SEALED
        if self.seals is not None and sealed:
            return self.seals.open(data, HEADER_BYTES, way=way, replays=replays)
        if self.seals is not None:
            raise RemoteError("unsealed")
        if sealed:
            raise RemoteError("sealed")
        return memoryview(data)[UNITS_AT:]

    def _unpacked(self, packed: bytes | memoryview) -> Opened:
        decompressor = zstd.ZstdDecompressor()
        try:
            # judged by the size that the frame declares, before a byte is unpacked: a small frame
            # must not claim much memory
            size = zstd.get_frame_info(packed).decompressed_size or 0
            if not 0 < size <= self._bytes_max:
                raise RemoteError("bad_compression", "a frame that is too large when decompressed")
            inflated = size > INFLATION_MAX * len(packed)
            if inflated and size > INFLATED_BYTES_MAX:
                raise RemoteError("inflated")
            # with room for one byte more, so that a frame which holds more than it declares does
            # not come to its end
            body = decompressor.decompress(packed, size + 1)
        except zstd.ZstdError:
            raise RemoteError("bad_compression") from None
        if not decompressor.eof:
            raise RemoteError(
                "bad_compression", "a frame that is cut off, or holds more than it declares"
            )
        if not inflated:
            return units_of(memoryview(body))
        return units_of(memoryview(body), INFLATED_UNITS_MAX, "inflated")


def clear_frame(head: bytes, rest: bytes) -> bytes:
    """A frame that is not sealed: its header, and what is behind the checksum."""
    return head + _checksum(head, rest) + rest


def format_of(data: bytes) -> int:
    """The format that the header of a frame claims."""
    return data[2]


def is_refusal(data: bytes) -> bool:
    """True if a frame, of whatever cluster and format, says no."""
    return len(data) >= HEADER_BYTES and bool(data[3] & FLAG_REFUSED)


def is_sealed(data: bytes) -> bool:
    return len(data) >= HEADER_BYTES and bool(data[3] & FLAG_SEALED)


def cluster_number(data: bytes) -> int:
    """The number of the cluster id that a frame carries; 0: none."""
    return int.from_bytes(data[HEADER_BYTES - 8 : HEADER_BYTES - 4])


def sealing_key(data: bytes) -> str:
    """The id of the key with which a sealed frame claims to be sealed."""
    return data[HEADER_BYTES : HEADER_BYTES + 4].hex()


def is_of_pool(data: bytes, pool: str) -> bool:
    """True if a frame carries the fingerprint of this pool."""
    return len(data) >= HEADER_BYTES and int.from_bytes(
        data[HEADER_BYTES - 4 : HEADER_BYTES]
    ) == _pool_fingerprint(pool)


def _checksum(head: bytes, rest: bytes | memoryview) -> bytes:
    return xxh3_64_digest(rest, _seed(head))


@lru_cache(maxsize=64)
def _seed(head: bytes) -> int:
    """Nearly all frames have one of a few headers."""
    return xxh3_64_intdigest(head)


def _pool_fingerprint(pool: str) -> int:
    return xxh3_64_intdigest(f"pool {pool}".encode()) & 0xFFFFFFFF
