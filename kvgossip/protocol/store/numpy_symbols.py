"""NumpySymbols: the symbols of a sketch (symbols.py) as columns of numpy: the same numbers, five
times as fast, for bulk loads. Imported where there is one, and numpy is installed; it takes 5 MB,
and as long to import as some ten thousand fingerprints take without it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvgossip.protocol.store.symbols import (
    CHECK_BITS,
    MIX_1,
    MIX_2,
    STEP,
    SYMBOL_BYTES,
    Symbols,
    checksum,
    places,
)

FEW = 16
"""So few fingerprints are folded sooner one by one than by numpy, which pays for each call."""
_CHECKS = np.uint64((1 << CHECK_BITS) - 1)


class NumpySymbols:
    """Two columns: XORs of fingerprints, and of their checksums."""

    def __init__(self, sums: Any, checks: Any) -> None:
        self._sums, self._checks = sums, checks
        self.chunk, self.peeled = 2048, 512

    @classmethod
    def of(cls, symbols: Symbols) -> NumpySymbols:
        packed = symbols.pack(len(symbols.sums))
        return cls(*_columns(packed, len(symbols.sums)))

    def toggle(self, fingerprints: Sequence[int]) -> None:
        if len(fingerprints) > FEW:
            self._toggle_all(np.frombuffer(array("Q", fingerprints), np.uint64))
            return
        length = len(self._sums)
        # a memoryview of a numpy array gives and takes plain integers
        sums, checks = memoryview(self._sums), memoryview(self._checks)
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
            np.bitwise_xor.at(self._sums, at, fingerprints)
            np.bitwise_xor.at(self._checks, at, checks)
            state *= np.uint64(STEP)
            place += np.ceil(
                (place + 1.5) * (4294967296.0 / np.sqrt(state.astype(np.float64) + 1.0) - 1.0)
            )
            inside = place < len(self._sums)
            if not inside.all():
                place, state, checks, fingerprints = (
                    place[inside],
                    state[inside],
                    checks[inside],
                    fingerprints[inside],
                )

    def pack(self, length: int) -> bytes:
        packed: bytes = (
            self._sums[:length].astype(">u8").tobytes()
            + self._checks[:length].astype(">u4").tobytes()
        )
        return packed

    def minus(self, packed: bytes) -> NumpySymbols:
        length = len(packed) // SYMBOL_BYTES
        sums, checks = _columns(packed, length)
        return NumpySymbols(self._sums[:length] ^ sums, self._checks[:length] ^ checks)

    def alone(self) -> list[int]:
        alone = (self._sums != 0) & (_checksums(self._sums) == self._checks)
        return list(dict.fromkeys(self._sums[alone].tolist()))

    @property
    def left(self) -> bool:
        return bool(self._sums.any() or self._checks.any())


def odd_ones(fingerprints: array[int]) -> array[int]:
    values, counts = np.unique(np.frombuffer(fingerprints, np.uint64), return_counts=True)
    return array("Q", values[counts % 2 == 1].tobytes())


def _columns(packed: bytes, length: int) -> tuple[Any, Any]:
    return (
        np.frombuffer(packed, ">u8", length).astype(np.uint64),
        np.frombuffer(packed, ">u4", length, 8 * length).astype(np.uint64),
    )


def _checksums(fingerprints: Any) -> Any:
    x = fingerprints * np.uint64(MIX_1)
    x ^= x >> np.uint64(29)
    x = x * np.uint64(MIX_2)
    return (x ^ (x >> np.uint64(32))) & _CHECKS
