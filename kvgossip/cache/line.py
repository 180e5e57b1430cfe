"""The words between a member and the processes of its host that follow it, over a Unix socket.

    frame    := 4 bytes length, big-endian; so many bytes of a message
    message  := MessagePack: an array that begins with the number of the message

    follower                          member
       | -- Hello(version, prefix) ----> |
       | <-- Refused(error, hint) ------ |   another version, or nonsense: the end
       | <-- Told(state) --------------- |   and again when the state is another
       | <-- Records(anew, more) ------- |   all that is under the prefix, in portions
       | <-- Records(more) ------------- |   what changed
       | -- Write(number, writes) -----> |
       | <-- Written(number, versions) - |   or Failed
       | -- Report(applied) -----------> |
       | -- Ask(number, ...) ----------> |
       | <-- Surveyed(number, ...) ----- |   or Failed

`odd` names the records that are more than a Record tells: they expire, or have flags.

What changed together is whole once `more` is false: a portion before that is half of something, and
shown to nobody. `anew` begins with nothing: what the follower had, and does not come, is gone.

Nothing of a node is imported here: a follower is to cost little more than its interpreter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from kvgossip import errors
from kvgossip.cache.source import Applied, Record, SourceState, Survey
from kvgossip.errors import KVGossipError, LocalError, StaleError

VERSION = 1
HELLO_BYTES_MAX = 4096
FRAME_BYTES_MAX = 2**27
"""More than any value, or any batch, takes."""
_LENGTH = struct.Struct(">I")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: as Writing has them: key, value, content type, time to live, flags
Write5 = tuple[str, bytes | None, str | None, float | None, Annotated[int, Meta(ge=0)]]


class LineError(Exception):
    """The other end says what makes no sense."""


class Hello(Struct, frozen=True, array_like=True, tag=1):
    version: int
    prefix: Annotated[str, Meta(max_length=1024)]


class Write(Struct, frozen=True, array_like=True, tag=2):
    number: Count
    writes: tuple[Write5, ...]


class Report(Struct, frozen=True, array_like=True, tag=3):
    applied: Applied


class Ask(Struct, frozen=True, array_like=True, tag=4):
    """For a survey."""

    number: Count
    prefix: str
    timeout_s: Annotated[float, Meta(ge=0, le=3600)]


class Refused(Struct, frozen=True, array_like=True, tag=17):
    error: str
    hint: str


class Told(Struct, frozen=True, array_like=True, tag=18):
    state: SourceState


class Records(Struct, frozen=True, array_like=True, tag=19):
    records: tuple[Record, ...]
    anew: bool
    more: bool
    odd: tuple[str, ...] = ()


class Written(Struct, frozen=True, array_like=True, tag=20):
    number: Count
    versions: tuple[str, ...]


class Surveyed(Struct, frozen=True, array_like=True, tag=21):
    number: Count
    survey: Survey


class Failed(Struct, frozen=True, array_like=True, tag=22):
    """What the node raised: `kind` is the name of its class."""

    number: Count
    kind: str
    error: str
    hint: str


FromFollower = Hello | Write | Report | Ask
FromMember = Refused | Told | Records | Written | Surveyed | Failed
Message = TypeVar("Message")

_encode = msgspec.msgpack.Encoder().encode


def framed(message: FromFollower | FromMember) -> bytes:
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what arrives into the bodies of frames. `bytes_max`: of one of them."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises LineError for a frame that is too long."""
        rest = self._rest
        rest += data
        while len(rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest)
            if length > self.bytes_max:
                raise LineError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(rest) < end:
                return
            body = bytes(rest[_LENGTH.size : end])
            del rest[:end]
            yield body


def decoded(body: bytes, decoder: msgspec.msgpack.Decoder[Message]) -> Message:
    """Raises LineError."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LineError(f"a message that cannot be read: {error}") from None


def failed(number: int, error: BaseException) -> Failed:
    """The answer to a call that has failed."""
    hint = error.hint if isinstance(error, KVGossipError) else ""
    return Failed(number, type(error).__name__, str(error), hint)


def error_in(message: Failed) -> KVGossipError:
    """As the member raised it, where its class is one that says no more than this."""
    kind = getattr(errors, message.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, LocalError) and kind is not StaleError):
        kind = KVGossipError
    return kind(message.error, message.hint)
