"""The ledger of a run: every write that a replica accepted, and the versions that each node has
held."""

from __future__ import annotations

from kvgossip.protocol.model.entry import HEAD_BYTES
from kvgossip.sim.checks.violation import require


class Ledger:
    """Every write that a replica accepted, and what the nodes have held of it."""

    def __init__(self) -> None:
        #: The newest version that any life of a node has held, by the node's name and the key.
        self._held: dict[tuple[str, str], bytes] = {}
        #: Key and record of each accepted write, by its version, in the order of the writes.
        self._written: dict[bytes, tuple[str, bytes]] = {}

    def write(self, key: str, record: bytes) -> None:
        version = version_bytes(record)
        require(version not in self._written, "a version was given twice", key, record)
        self._written[version] = (key, record)

    def check(self, key: str, record: bytes) -> None:
        written = self._written.get(version_bytes(record))
        if written != (key, record):
            require(False, "an entry that nobody wrote", key, record, written)

    def hold(self, name: str, key: str, record: bytes) -> None:
        """A node of this name has this now, in one of its lives."""
        self._held[name, key] = max(self._held.get((name, key), b""), version_bytes(record))

    def has_held(self, name: str, key: str, record: bytes) -> bool:
        """True if one of its lives had this version of the key, or a newer one."""
        return self._held.get((name, key), b"") >= version_bytes(record)

    def is_superseded(self, key: str, record: bytes) -> bool:
        """True if a newer version of the key was written than this one."""
        versions = (version for version, (other, _) in self._written.items() if other == key)
        return any(version > version_bytes(record) for version in versions)

    def keys_written(self) -> list[str]:
        """All keys that were ever written, in the order of their first write."""
        return list(dict.fromkeys(key for key, _ in self._written.values()))


def version_bytes(record: bytes) -> bytes:
    """Timestamp and site of a record, as versions compare."""
    return record[1:HEAD_BYTES]
