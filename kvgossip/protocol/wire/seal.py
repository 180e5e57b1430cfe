"""Seals: authenticated encryption of frames with AES-256-GCM, the keyring it takes keys from, and
the window against replays.

    sealed body := key id (4 bytes), life (16), counter (8), the encrypted body, tag (16)

The header of the frame stays in clear and is associated data, as is the way of the frame: a
datagram, a link, or a message of the application. So what was recorded on one way opens on no other
one. The key id is a hash of the key: a node that lacks the key says which one it lacks. The life is
the sender's site and its generation.

Laws
- **No nonce is used twice with one key.** Frames are sealed with a sub-key of one life of a node in
  one pool: keyed BLAKE2b of the pool's fingerprints and the life, under the key of the keyring. The
  nonce is a counter that this life alone raises, with every frame, and no other frame is sealed
  with that sub-key. Two lives share a sub-key only if they drew the same 64 random bits as their
  site *and* have one generation, which is the millisecond of the start. 64 bits of counter do not
  run out. (A memory image of a running process that is resumed twice would break this law, as it
  does for every counter: a node must be started, not cloned.)
- **A frame is taken once.** Of each life and way the last WINDOW counters or more that arrived here
  are known; one among them, or one before them all, is a replay. The window counts what arrived,
  not what was sent: a sender that talks to thousands raises its counter by thousands between two
  frames to one peer. Only an owner of a key makes windows grow, and there are `lives_max`: the life
  that was silent longest is forgotten first.
- An observer can still see lengths, times and who talks to whom (frames are compressed
  before they are sealed, so lengths show a little about values), and replay a frame to a node that
  it was not sent to, or to a later life of its receiver. Such a replay is a datagram that went
  astray: merges are idempotent, probes name their target, numbers are random. A message that does
  more names the life that it is meant for (see key_rotation.py).

Deviations: no handshake and no forward secrecy, as in memberlist: a datagram to a stranger must
open at once. An owner of a key can read what was recorded under it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING

from kvgossip.config import KEY_BYTES
from kvgossip.errors import RemoteError
from kvgossip.extras import require
from kvgossip.protocol.wire.keyring import Keyring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DATAGRAM, LINK, RIDE = 0, 1, 2
"""The ways of a frame: `reliable` is the number of one of the first two; RIDE is on a message of
the application (pools/piggyback.py)."""
WINDOW = 256
_HEAD = Struct(">4s16sQ")
TAG_BYTES = 16
SEAL_BYTES = _HEAD.size + TAG_BYTES
"""How much longer a sealed frame is."""
_LIFE = Struct(">QQ")
_NONCE_PREFIX = bytes(4)
_WAYS = (b"\x00", b"\x01", b"\x02")


class Window:
    """The counters of one life that have arrived: sorted, the last WINDOW to 2 * WINDOW - 1 of
    them. Up to the floor all are too old."""

    __slots__ = ("_floor", "_seen")

    def __init__(self) -> None:
        self._floor = -1
        self._seen = array("Q")

    def admit(self, counter: int) -> bool:
        """True if this counter has not been seen, as far as that is known; from now on it has."""
        seen = self._seen
        if not seen or counter > seen[-1]:
            seen.append(counter)
        elif counter <= self._floor:
            return False
        else:
            place = bisect_left(seen, counter)
            if seen[place] == counter:
                return False
            seen.insert(place, counter)
        if len(seen) >= 2 * WINDOW:
            self._floor = seen[WINDOW - 1]
            del seen[:WINDOW]
        return True


class Sender:
    """One life that was heard: its ciphers by the id of the key, its windows by the way."""

    __slots__ = ("ciphers", "windows")

    def __init__(self) -> None:
        self.ciphers: dict[bytes, AESGCM] = {}
        self.windows = (Window(), Window(), Window())


class Seals:
    """Seals the frames of one life of a node in one pool, and opens those of others there.

    `pool`: the fingerprints of cluster and pool. `site` and `generation` are this life's. At most
    `lives_max` other lives are known. Raises MissingPackageError without cryptography, which nodes
    without a keyring do not load.
    """

    def __init__(
        self, keyring: Keyring, pool: bytes, site: int, generation: int, lives_max: int
    ) -> None:
        require("cryptography", "a keyring")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aes_gcm, self._invalid_tag = AESGCM, InvalidTag
        self.keyring = keyring
        self._pool, self._life, self._lives_max = pool, _LIFE.pack(site, generation), lives_max
        self._counter = 0
        self._sealing: tuple[bytes, AESGCM] | None = None
        self._senders: dict[bytes, Sender] = {}

    def begin_life(self, site: int, generation: int) -> None:
        """Seal as this life from now on: a machine that was set back has lost its counter."""
        self._life, self._counter, self._sealing = _LIFE.pack(site, generation), 0, None

    def ciphers(self) -> Iterator[AESGCM]:
        """All that are in use."""
        if self._sealing is not None:
            yield self._sealing[1]
        for sender in self._senders.values():
            yield from sender.ciphers.values()

    def seal(self, head: bytes, body: bytes, *, way: int) -> bytes:
        """The whole frame. `head`: its header."""
        self._counter += 1
        name, cipher = self._primary()
        sealed = cipher.encrypt(_nonce(self._counter), body, _associated(head, way))
        return head + _HEAD.pack(name, self._life, self._counter) + sealed

    def open(self, data: bytes, head_bytes: int, *, way: int, replays: bool = False) -> bytes:
        """The body of a frame with a header of this length. Raises RemoteError: `unknown_key`,
        `bad_seal` or `replayed`.

        `replays`: it may have been seen before, and leaves no trace.
        """
        if len(data) < head_bytes + SEAL_BYTES:
            raise RemoteError("bad_seal", "a sealed frame that is cut off")
        name, life, counter = _HEAD.unpack_from(data, head_bytes)
        key = self.keyring.find(name)
        if key is None:
            raise RemoteError("unknown_key")
        sender = self._senders.get(life)
        cipher = sender.ciphers.get(name) if sender is not None else None
        fresh = cipher is None
        cipher = cipher or self._cipher(key, life)
        try:
            body = cipher.decrypt(
                _nonce(counter),
                data[head_bytes + _HEAD.size :],
                _associated(data[:head_bytes], way),
            )
        except self._invalid_tag:
            raise RemoteError("bad_seal") from None
        if not replays:
            # known from now on, since it holds a key: a forged frame costs a sub-key and leaves
            # nothing behind
            self._admit(life, counter, way)
            if fresh:
                self._senders[life].ciphers[name] = cipher
        return body

    def _admit(self, life: bytes, counter: int, way: int) -> None:
        sender = self._senders.pop(life, None) or Sender()
        self._senders[life] = sender
        if len(self._senders) > self._lives_max:
            del self._senders[next(iter(self._senders))]
        if not sender.windows[way].admit(counter):
            raise RemoteError("replayed")

    def _primary(self) -> tuple[bytes, AESGCM]:
        name, key = self.keyring.sealing()
        if self._sealing is None or self._sealing[0] != name:
            self._sealing = name, self._cipher(key, self._life)
        return self._sealing

    def _cipher(self, key: bytes, life: bytes) -> AESGCM:
        return self._aes_gcm(
            blake2b(
                self._pool + life, digest_size=KEY_BYTES, key=key, person=b"kvgossip frames"
            ).digest()
        )


def _nonce(counter: int) -> bytes:
    return _NONCE_PREFIX + counter.to_bytes(8, "big")


def _associated(head: bytes, way: int) -> bytes:
    return head + _WAYS[way]
