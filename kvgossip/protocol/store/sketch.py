"""Sketch: a rateless invertible Bloom look-up table over the fingerprints of a store (Yang, Gilad,
Alizadeh, SIGCOMM 2024).

A fingerprint is added to symbol 0 and then to ever rarer ones, with density 1 / (1 + i/2) at symbol
i. The XOR of two prefixes is the sketch of the symmetric difference, and about 1.4 to 1.7 symbols a
difference give it back, among any number of equal entries.

Laws
- The sketch depends on the set of fingerprints alone. Adding and taking away are the same
  operation, `toggle`.
- The write path only remembers what changed; `work` folds it in, in chunks of some milliseconds,
  when there is time. A fingerprint that came and went again cancels out before: a key that is
  written all the time costs as much as one that was written once.
- Decoding gives the whole difference, or None; whatever symbols a peer made up, it ends. It can be
  done in steps, too. Made up ones can be such that each round of peeling finds one fingerprint:
  honest ones were seen to need 28 rounds at most, so after ROUNDS_MAX it is given up.

Deviation from the paper: no counts. A count says which side a fingerprint is from, and helps to see
that a symbol holds one item; here the checksum of 32 bits does the second, and looking into the own
store the first. So a symbol is 12 bytes instead of 13 to 16.

Numpy does the arithmetic where it is installed (`pip install kvgossip[fast]`), plain Python
elsewhere: the same numbers, more slowly.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from sys import byteorder
from typing import TYPE_CHECKING, Any

from kvgossip.protocol.store.digest import POSITION_BITS

if TYPE_CHECKING:
    import numpy as np
else:
    try:
        import numpy as np
    except ImportError:  # pragma: no cover - the tests switch it off by hand
        np = None

SYMBOL_BYTES = 12
SYMBOLS_MAX = 4096
ROUNDS_MAX = 64
CHUNK = 2048 if np is not None else 128  # about a millisecond of folding
PEELED = 512 if np is not None else 64
FEW = 16  # so few fingerprints are folded sooner one by one than by numpy, which pays for each call
CHANGES_MAX = 65_536
_POSITIONS = 1 << POSITION_BITS
_MASK = 0xFFFFFFFFFFFFFFFF
_STEP = 0xDA942042E4DD58B5
_MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9


def checksum(fingerprint: int) -> int:
    """32 bits of a mix (splitmix64's finaliser) of the fingerprint."""
    x = (fingerprint * _MIX_1) & _MASK
    x ^= x >> 29
    x = (x * _MIX_2) & _MASK
    return (x ^ (x >> 32)) & 0xFFFFFFFF


def places(fingerprint: int, length: int) -> Iterator[int]:
    """The symbols below `length` that hold this fingerprint."""
    place, state = 0.0, fingerprint
    while place < length:
        yield int(place)
        state = (state * _STEP) & _MASK
        place += math.ceil((place + 1.5) * (4294967296.0 / math.sqrt(state + 1.0) - 1.0))


def shortened(symbols: bytes, length: int) -> bytes:
    """The first `length` symbols of a prefix: a shorter prefix of the same sketch."""
    count = len(symbols) // SYMBOL_BYTES
    return symbols[: 8 * min(length, count)] + symbols[8 * count : 8 * count + 4 * length]


class Sketch:
    """The first `length` symbols of the fingerprints of a digest tree's content, kept lazily.

    Changes gather until there is time, or a prefix is wanted. If more gather than CHANGES_MAX - a
    bulk load - they are thrown away, and the sketch is built anew from the content, position by
    position.
    """

    __slots__ = ("_changed", "_covered", "_odd", "_symbols", "length")

    def __init__(self, length: int = SYMBOLS_MAX) -> None:
        self.length = length
        #: fingerprints that came or went and are not folded in
        self._changed = array("Q")
        #: how many of these, from the first on, were looked through for pairs that cancel out
        self._odd = 0
        #: the position below which the content is in, and changes count
        self._covered = _POSITIONS
        self._symbols = _Symbols(length)

    def toggle(self, fingerprint: int) -> None:
        """Remember that a fingerprint came or went. Costs next to nothing."""
        if fingerprint >> (64 - POSITION_BITS) < self._covered:
            self._changed.append(fingerprint)
            if len(self._changed) > CHANGES_MAX:
                self._give_up()

    def toggle_both(self, went: int, came: int) -> None:
        """`toggle` of the two fingerprints of one key, which are at one position."""
        if came >> (64 - POSITION_BITS) < self._covered:
            changed = self._changed
            changed.append(went)
            changed.append(came)
            if len(changed) > CHANGES_MAX:
                self._give_up()

    def toggle_all(self, fingerprints: Sequence[int]) -> None:
        """`toggle` of each."""
        if self._covered == _POSITIONS:
            self._changed.extend(fingerprints)
            if len(self._changed) > CHANGES_MAX:
                self._give_up()
        else:
            for fingerprint in fingerprints:
                self.toggle(fingerprint)

    def _give_up(self) -> None:
        """Begin anew, unless many of the changes that wait cancel out."""
        self._cancel()
        if len(self._changed) > CHANGES_MAX // 2:
            self._changed, self._odd, self._covered, self._symbols = (
                array("Q"),
                0,
                0,
                _Symbols(self.length),
            )

    def _cancel(self) -> None:
        self._changed = _odd_ones(self._changed)
        self._odd = len(self._changed)

    @property
    def idle(self) -> bool:
        """True if there is nothing to work in."""
        return not self._changed and self._covered == _POSITIONS

    @property
    def ready(self) -> bool:
        """True if a prefix can be had without delay."""
        return self._covered == _POSITIONS and len(self._changed) <= CHUNK

    def work(self, fingerprints_at: Callable[[int], tuple[int, list[int]]]) -> None:
        """Fold in one chunk of the changes that wait. `fingerprints_at(position)`: the next
        position, and the fingerprints from this one up to it."""
        while len(self._changed) < CHUNK and self._covered < _POSITIONS:
            self._covered, found = fingerprints_at(self._covered)
            self._changed.extend(found)
        self._fold(CHUNK)

    def _fold(self, count: int) -> None:
        if len(self._changed) - self._odd > FEW:
            self._cancel()
        if self._changed:
            self._symbols.toggle(self._changed[-count:])
            del self._changed[-count:]
            self._odd = min(self._odd, len(self._changed))

    def prefix(self, length: int) -> bytes:
        """The first `length` symbols, 12 bytes each: all XORs of fingerprints (64 bits), then all
        of checksums (32 bits), big-endian."""
        self._fold(len(self._changed))
        return self._symbols.pack(min(length, self.length))

    def decode(self, theirs: bytes) -> list[int] | None:
        """The symmetric difference to a peer's prefix; None when the prefix is too short for it, or
        no prefix at all."""
        peeling = self.peel(theirs)
        while True:
            try:
                next(peeling)
            except StopIteration as end:
                found: list[int] | None = end.value
                return found

    def peel(self, theirs: bytes) -> Generator[None, None, list[int] | None]:
        """`decode` in steps of about a millisecond; the difference is that of the first step's
        time."""
        if not theirs or len(theirs) % SYMBOL_BYTES or len(theirs) > SYMBOL_BYTES * self.length:
            return None
        self._fold(len(self._changed))
        return (yield from self._symbols.minus(theirs).peel())


class _Symbols:
    """XORs of fingerprints and of their checksums: two columns, as numpy arrays or as lists."""

    __slots__ = ("checks", "sums")

    def __init__(self, length: int) -> None:
        self.sums: Any = np.zeros(length, np.uint64) if np is not None else [0] * length
        self.checks: Any = np.zeros(length, np.uint64) if np is not None else [0] * length

    def toggle(self, fingerprints: Sequence[int]) -> None:
        """Add or take away."""
        if np is not None and len(fingerprints) > FEW:
            self._toggle_all(np.frombuffer(array("Q", fingerprints), np.uint64))
            return
        length = len(self.sums)
        # a memoryview of a numpy array gives and takes plain integers
        sums, checks = (
            (memoryview(self.sums), memoryview(self.checks))
            if np is not None
            else (self.sums, self.checks)
        )
        for fingerprint in fingerprints:
            check = checksum(fingerprint)
            for place in places(fingerprint, length):
                sums[place] ^= fingerprint
                checks[place] ^= check

    def _toggle_all(self, fingerprints: Any) -> None:
        """The arithmetic of `places`, each fingerprint's next place at a time."""
        place, state, checks = (
            np.zeros(len(fingerprints)),
            fingerprints.copy(),
            _checksums(fingerprints),
        )
        while len(fingerprints):
            at = place.astype(np.intp)
            np.bitwise_xor.at(self.sums, at, fingerprints)
            np.bitwise_xor.at(self.checks, at, checks)
            state *= np.uint64(_STEP)
            place += np.ceil(
                (place + 1.5) * (4294967296.0 / np.sqrt(state.astype(np.float64) + 1.0) - 1.0)
            )
            inside = place < len(self.sums)
            if not inside.all():
                place, state, checks, fingerprints = (
                    place[inside],
                    state[inside],
                    checks[inside],
                    fingerprints[inside],
                )

    def pack(self, length: int) -> bytes:
        if np is not None:
            packed: bytes = (
                self.sums[:length].astype(">u8").tobytes()
                + self.checks[:length].astype(">u4").tobytes()
            )
            return packed
        sums, checks = array("Q", self.sums[:length]), array("I", self.checks[:length])
        if byteorder == "little":
            sums.byteswap()
            checks.byteswap()
        return sums.tobytes() + checks.tobytes()

    def minus(self, packed: bytes) -> _Symbols:
        length = len(packed) // SYMBOL_BYTES
        rest = _Symbols(length)
        if np is not None:
            rest.sums = self.sums[:length] ^ np.frombuffer(packed, ">u8", length)
            rest.checks = self.checks[:length] ^ np.frombuffer(packed, ">u4", length, 8 * length)
            return rest
        sums, checks = array("Q", packed[: 8 * length]), array("I", packed[8 * length :])
        if byteorder == "little":
            sums.byteswap()
            checks.byteswap()
        rest.sums = [a ^ b for a, b in zip(self.sums, sums, strict=False)]
        rest.checks = [a ^ b for a, b in zip(self.checks, checks, strict=False)]
        return rest

    def peel(self) -> Generator[None, None, list[int] | None]:
        """Take out, round by round, every fingerprint that is alone in some symbol."""
        found: dict[int, None] = {}
        for _ in range(ROUNDS_MAX):
            alone = self._alone()
            if not alone:
                break
            for start in range(0, len(alone), PEELED):
                for fingerprint in (some := alone[start : start + PEELED]):
                    if fingerprint in found:
                        return None  # no set of fingerprints gives such symbols
                    found[fingerprint] = None
                self.toggle(some)
                yield
            if len(found) > len(self.sums):
                return None
        return None if self._left() else list(found)

    def _left(self) -> bool:
        if np is not None:
            return bool(self.sums.any() or self.checks.any())
        return any(self.sums) or any(self.checks)

    def _alone(self) -> list[int]:
        if np is not None:
            alone = (self.sums != 0) & (_checksums(self.sums) == self.checks)
            return list(dict.fromkeys(self.sums[alone].tolist()))
        pairs = zip(self.sums, self.checks, strict=True)
        return list(
            dict.fromkeys(sum_ for sum_, check in pairs if sum_ and checksum(sum_) == check)
        )


def _odd_ones(fingerprints: array[int]) -> array[int]:
    """Those that are there an odd number of times, once each."""
    if np is not None:
        values, counts = np.unique(np.frombuffer(fingerprints, np.uint64), return_counts=True)
        return array("Q", values[counts % 2 == 1].tobytes())
    odd: dict[int, None] = {}
    for fingerprint in fingerprints:
        if odd.pop(fingerprint, fingerprint) is not None:
            odd[fingerprint] = None
    return array("Q", odd)


def _checksums(fingerprints: Any) -> Any:
    x = fingerprints * np.uint64(_MIX_1)
    x ^= x >> np.uint64(29)
    x = x * np.uint64(_MIX_2)
    return (x ^ (x >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
