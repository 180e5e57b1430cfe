"""The words between a member and the processes of its host that follow it, over a Unix socket.

    frame    := 4 bytes length, big-endian; so many bytes of a message
    message  := 4 bytes length, big-endian; so many bytes of JSON; all values, one after the other
    JSON     := an array that begins with the number of the message; a value is its length there

    follower                          member
       | -- Hello(version, prefix) ----> |
       | <-- Refused(error, hint) ------ |   another version, or nonsense: the end
       | <-- StateChanged(state) ------- |   and again when the state is another
       | <-- Records(anew, more) ------- |   all that is under the prefix, in portions
       | <-- StateChanged(settled) ----- |   after all that the node settled with
       | -- Plant(records, more) ------> |   the seeds that it lacks, where it does (keeping.py)
       | <-- Records(more) ------------- |   those that were news to it
       | <-- Planted(error, hint) ------ |   no error: they are known
       | <-- Records(more) ------------- |   what changed
       | -- Write(number, writes) -----> |
       | <-- Written(number, versions) - |   or Failed
       | -- Report(applied) -----------> |
       | -- Ask(number, ...) ----------> |
       | <-- Surveyed(number, ...) ----- |   or Failed

What changed together is whole once `more` is false: a portion before that is half of something, and
shown to nobody. `anew` begins with nothing: what the follower had, and does not come, is gone once
the node has settled and knows the seeds.

Nothing of a node is imported here, and nothing that is not of the standard library: a follower is
to cost little more than its interpreter.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kvgossip import errors
from kvgossip.cache.shapes import (
    Shape,
    Values,
    count,
    flag,
    interned,
    many,
    number,
    octets,
    optional,
    row,
    text,
)
from kvgossip.cache.source import Applied, NodeApplied, Record, SourceState, Survey
from kvgossip.errors import KVGossipError, LocalError, StaleError
from kvgossip.releases.place import Place

VERSION = 3
HELLO_BYTES_MAX = 4096
FRAME_BYTES_MAX = 2**27
"""More than any value, or any batch, takes."""
PREFIX_CHARACTERS_MAX = 1024
SURVEY_S_MAX = 3600.0
PORTION_BYTES = 256 * 1024
_LENGTH = struct.Struct(">I")

#: as Writing has them: key, value, content type, time to live, flags
Write5 = tuple[str, bytes | None, str | None, float | None, int]


class LineError(Exception):
    """The other end says what makes no sense."""


class Hello(NamedTuple):
    version: int
    prefix: str


class Write(NamedTuple):
    number: int
    writes: tuple[Write5, ...]


class Report(NamedTuple):
    applied: Applied


class Ask(NamedTuple):
    """For a survey."""

    number: int
    prefix: str
    timeout_s: float


class Plant(NamedTuple):
    """Nothing of them is planted before `more` is false."""

    records: tuple[Record, ...]
    more: bool


class Refused(NamedTuple):
    error: str
    hint: str


class StateChanged(NamedTuple):
    state: SourceState


class Records(NamedTuple):
    records: tuple[Record, ...]
    anew: bool
    more: bool


class Planted(NamedTuple):
    error: str
    hint: str


class Written(NamedTuple):
    number: int
    versions: tuple[str, ...]


class Surveyed(NamedTuple):
    number: int
    survey: Survey


class Failed(NamedTuple):
    """What the node raised: `kind` is the name of its class."""

    number: int
    kind: str
    error: str
    hint: str


FromFollower = Hello | Write | Report | Ask | Plant
FromMember = Refused | StateChanged | Records | Written | Surveyed | Failed | Planted

_NUMBERS: dict[type, int] = {
    Hello: 1,
    Write: 2,
    Report: 3,
    Ask: 4,
    Plant: 5,
    Refused: 17,
    StateChanged: 18,
    Records: 19,
    Written: 20,
    Surveyed: 21,
    Failed: 22,
    Planted: 23,
}


def _tuple(*elements: Any) -> tuple[Any, ...]:
    return elements


def _prefix(given: Any, values: Values) -> str:
    prefix = text(given, values)
    if len(prefix) > PREFIX_CHARACTERS_MAX:
        raise ValueError("a prefix that no key has")
    return prefix


def _seconds(given: Any, values: Values) -> float:
    seconds = number(given, values)
    if not 0 <= seconds <= SURVEY_S_MAX:
        raise ValueError("no time that anybody waits")
    return seconds


_pairs = many(row(_tuple, text, text))
_applied = row(Applied, text, text, _pairs)
_node_applied = row(NodeApplied, text, text, count, _pairs)
_survey = row(Survey, many(_node_applied), many(text), many(row(Place, text, text)))
_state = row(SourceState, text, text, text, text, flag, optional(count), flag, text)
_record = row(Record, text, octets, text, interned, octets, octets)
_write = row(_tuple, text, octets, optional(text), optional(number), count)

FROM_FOLLOWER: dict[int, Shape] = {
    _NUMBERS[Hello]: row(Hello, count, _prefix),
    _NUMBERS[Write]: row(Write, count, many(_write)),
    _NUMBERS[Report]: row(Report, _applied),
    _NUMBERS[Ask]: row(Ask, count, text, _seconds),
    _NUMBERS[Plant]: row(Plant, many(_record), flag),
}
FROM_MEMBER: dict[int, Shape] = {
    _NUMBERS[Refused]: row(Refused, text, text),
    _NUMBERS[StateChanged]: row(StateChanged, _state),
    _NUMBERS[Records]: row(Records, many(_record), flag, flag),
    _NUMBERS[Written]: row(Written, count, many(text)),
    _NUMBERS[Surveyed]: row(Surveyed, count, _survey),
    _NUMBERS[Failed]: row(Failed, count, text, text, text),
    _NUMBERS[Planted]: row(Planted, text, text),
}


def framed(message: FromFollower | FromMember) -> bytes:
    values: list[bytes] = []

    def length_of(value: bytes) -> int:
        values.append(value)
        return len(value)

    head = json.dumps([_NUMBERS[type(message)], *message], default=length_of).encode()
    body = b"".join((_LENGTH.pack(len(head)), head, *values))
    return _LENGTH.pack(len(body)) + body


def portions(seeds: Sequence[Record]) -> Iterator[Plant]:
    """The messages that plant these, each of about PORTION_BYTES."""
    part, size = list[Record](), 0
    for seed in seeds:
        if size > PORTION_BYTES:
            yield Plant(tuple(part), more=True)
            part, size = [], 0
        part.append(seed)
        size += len(seed.value or b"") + len(seed.data)
    yield Plant(tuple(part), more=False)


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


def decoded(body: bytes, kinds: Mapping[int, Shape]) -> Any:
    """The message of these kinds. Raises LineError."""
    try:
        (length,) = _LENGTH.unpack_from(body)
        start = _LENGTH.size + length
        kind, *fields = json.loads(body[_LENGTH.size : start].decode())
        values = Values(body, start)
        message = kinds[kind](fields, values)
        values.end()
        return message
    except (ValueError, TypeError, LookupError, struct.error, RecursionError) as error:
        raise LineError(f"a message that cannot be read: {error!r}") from None


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
