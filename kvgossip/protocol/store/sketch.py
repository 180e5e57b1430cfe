"""Sketch: a rateless invertible Bloom look-up table over the fingerprints of a store (Yang, Gilad,
Alizadeh, SIGCOMM 2024).

A fingerprint is added to symbol 0 and then to ever rarer ones, with density 1 / (1 + i/2) at symbol
i. The XOR of two prefixes is the sketch of the symmetric difference, and about 1.4 to 1.7 symbols a
difference give it back, among any number of equal entries.

Laws
- The sketch depends on the set of fingerprints alone. Adding and taking away are the same
  operation, `toggle`.
- The write path only remembers what changed; `work` folds it in, in chunks of some milliseconds,
  when it is wanted (anti_entropy/folding.py). A fingerprint that came and went again cancels out
  before: a key that is written all the time costs as much as one that was written once.
- Decoding gives the whole difference, or None; whatever symbols a peer made up, it ends. It can be
  done in steps, too. Made up ones can be such that each round of peeling finds one fingerprint:
  honest ones were seen to need 28 rounds at most, so after ROUNDS_MAX it is given up.

Deviation from the paper: no counts. A count says which side a fingerprint is from, and helps to see
that a symbol holds one item; here the checksum of 32 bits does the second, and looking into the own
store the first. So a symbol is 12 bytes instead of 13 to 16.

Plain Python does the arithmetic, and numpy, where it is installed (`pip install kvgossip[fast]`),
once there is so much of it that the time of its import is worth it: the same numbers. Most nodes
have few keys and few writes, and go without its 13 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from kvgossip.protocol.store.digest import POSITION_BITS
from kvgossip.protocol.store.symbols import SYMBOL_BYTES, Symbols, odd_ones

if TYPE_CHECKING:
    from kvgossip.protocol.store.numpy_symbols import NumpySymbols

SYMBOLS_MAX = 4096
ROUNDS_MAX = 64
FEW = 16  # so few changes are not looked through for those that cancel out
CHANGES_MAX = 65_536
BULK = 16_384
"""To fold so many fingerprints one by one takes about as long as the import of numpy, 0.2 s."""
_POSITIONS = 1 << POSITION_BITS


def shortened(symbols: bytes, length: int) -> bytes:
    """The first `length` symbols of a prefix: a shorter prefix of the same sketch."""
    count = len(symbols) // SYMBOL_BYTES
    return symbols[: 8 * min(length, count)] + symbols[8 * count : 8 * count + 4 * length]


class Sketch:
    """The first `length` symbols of the fingerprints of a digest tree's content, kept lazily.

    Changes gather until the sketch is wanted. If more gather than CHANGES_MAX - a
    bulk load - they are thrown away, and the sketch is built anew from the content, position by
    position.
    """

    __slots__ = ("_changed", "_covered", "_odd", "_pressing", "_symbols", "length")

    def __init__(self, length: int = SYMBOLS_MAX) -> None:
        self.length = length
        #: fingerprints that came or went and are not folded in
        self._changed = array("Q")
        #: how many of these, from the first on, were looked through for pairs that cancel out
        self._odd = 0
        #: how many were folded in full chunks, while more of them waited than fit in one
        self._pressing = 0
        #: the position below which the content is in, and changes count
        self._covered = _POSITIONS
        #: Symbols, or NumpySymbols since there was a bulk load
        self._symbols: Symbols | NumpySymbols = Symbols([0] * length)

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
            self._changed, self._odd, self._covered = array("Q"), 0, 0
            self._symbols = Symbols([0] * self.length)
            self._quicken()

    def _quicken(self) -> None:
        """Much is to be folded in."""
        numpy_symbols = _numpy_symbols()
        if numpy_symbols is not None and isinstance(self._symbols, Symbols):
            self._symbols = numpy_symbols.NumpySymbols.of(self._symbols)

    def _cancel(self) -> None:
        numpy_symbols = _numpy_symbols() if len(self._changed) > BULK else None
        odd = odd_ones if numpy_symbols is None else numpy_symbols.odd_ones
        self._changed = odd(self._changed)
        self._odd = len(self._changed)

    @property
    def waiting(self) -> int:
        """How many changes are not folded in."""
        return len(self._changed)

    @property
    def idle(self) -> bool:
        """True if there is nothing to work in."""
        return not self._changed and self._covered == _POSITIONS

    @property
    def ready(self) -> bool:
        """True if a prefix can be had without delay."""
        return self._covered == _POSITIONS and len(self._changed) <= self._symbols.chunk

    def work(self, fingerprints_at: Callable[[int], tuple[int, list[int]]]) -> None:
        """Fold in one chunk of the changes that wait. `fingerprints_at(position)`: the next
        position, and the fingerprints from this one up to it."""
        chunk = self._symbols.chunk
        while len(self._changed) < chunk and self._covered < _POSITIONS:
            self._covered, found = fingerprints_at(self._covered)
            self._changed.extend(found)
        self._fold(chunk)

    def _fold(self, count: int) -> None:
        if len(self._changed) - self._odd > FEW:
            self._cancel()
        waiting = len(self._changed)
        if waiting > count:
            self._pressing += count
        if self._pressing + waiting > BULK:
            self._quicken()
        if waiting:
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
        rest = self._symbols.minus(theirs)
        found: dict[int, None] = {}
        for _ in range(ROUNDS_MAX):
            alone = rest.alone()
            if not alone:
                break
            for start in range(0, len(alone), rest.peeled):
                for fingerprint in (some := alone[start : start + rest.peeled]):
                    if fingerprint in found:
                        return None  # no set of fingerprints gives such symbols
                    found[fingerprint] = None
                rest.toggle(some)
                yield
            if len(found) > len(theirs) // SYMBOL_BYTES:
                return None
        return None if rest.left else list(found)


@cache
def _numpy_symbols() -> ModuleType | None:
    """numpy_symbols.py, or None where numpy is not installed."""
    try:
        return import_module("kvgossip.protocol.store.numpy_symbols")
    except ImportError:
        return None
