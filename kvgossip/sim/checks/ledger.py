"""The ledger of a run: every write that a replica accepted, and the versions that each node has
held."""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.protocol.model.entry import HEAD_BYTES
from kvgossip.sim.checks.violation import require


class Ledger:
    """Every write that a replica accepted, and what the nodes have held of it.

    A machine that was set back while its hybrid clock was ahead of its wall clock may give a
    version again that it has lost: it cannot know. Then two writes have that version; no other may
    be given twice.
    """

    def __init__(self) -> None:
        #: The newest version that any life of a node has held, by the node's name and the key.
        self._held: dict[tuple[str, str], bytes] = {}
        #: Key and record of each accepted write, by its version, in the order of the first writes.
        self._written: dict[bytes, tuple[tuple[str, bytes], ...]] = {}
        #: The versions that their machines have lost, and may give again.
        self._lost: dict[bytes, None] = {}
        #: The name of the member that has lied, with which those of its lives begin.
        self._liar = ""

    def forge(self, key: str, record: bytes) -> None:
        """A hostile one has made this record up, perhaps as one of another node's life: which may
        give its version as well."""
        version = version_bytes(record)
        self._written[version] = (*self._written.get(version, ()), (key, record))
        self._lost[version] = None

    def lied(self, name: str) -> None:
        """This member has lied."""
        self._liar = name.partition("-")[0]

    @property
    def is_doubtful(self) -> bool:
        """True if a member has lied, so that correct ones may have been made to drop live
        values."""
        return bool(self._liar)

    def write(self, key: str, record: bytes) -> None:
        version = version_bytes(record)
        given = self._written.get(version, ())
        require(not given or version in self._lost, "a version was given twice", key, record)
        self._lost.pop(version, None)
        self._written[version] = (*given, (key, record))

    def lose(self, versions: Iterable[bytes]) -> None:
        """The machine that gave these versions was set back, and knows nothing of them."""
        self._lost |= dict.fromkeys(versions)

    def check(self, key: str, record: bytes) -> None:
        written = self._written.get(version_bytes(record), ())
        if (key, record) not in written:
            require(False, "an entry that nobody wrote", key, record, written)

    def hold(self, name: str, key: str, record: bytes) -> None:
        """A node of this name has this now, in one of its lives."""
        self._held[name, key] = max(self._held.get((name, key), b""), version_bytes(record))

    def has_held(self, name: str, key: str, record: bytes) -> bool:
        """True if one of its lives had this version of the key, or a newer one, or it is a liar,
        that nobody can hold to its word."""
        if self._liar and name.partition("-")[0] == self._liar:
            return True
        return self._held.get((name, key), b"") >= version_bytes(record)

    def is_superseded(self, key: str, record: bytes) -> bool:
        """True if a newer version of the key was written than this one."""
        return any(
            other == key and version > version_bytes(record)
            for version, written in self._written.items()
            for other, _ in written
        )

    def keys_written(self) -> list[str]:
        """All keys that were ever written, in the order of their first write."""
        return list(dict.fromkeys(key for written in self._written.values() for key, _ in written))


def version_bytes(record: bytes) -> bytes:
    """Timestamp and site of a record, as versions compare."""
    return record[1:HEAD_BYTES]
