"""The oracle: which host has seen which versions, by the changes of the stores alone; so it knows
which must never live again, and which must not be lost.

It knows nothing of causal contexts. A version *kills* those older ones under its key that the store
of its writer had ever held when it was written: superseded by a put, deleted by a delete. The laws,
for every step and for the end:

- No host serves again what was killed by a version that it has merged. (A host that lost its disk
  has merged nothing; and where a member has lied, and had that version taken out, an older one may
  come from who has not heard of it yet.)
- A value that ends alive was killed by no write that was acknowledged and kept. A write that the
  deleter had not seen may live.
- Nothing is lost: of every write that was acknowledged by a host that kept its memory or its disk,
  or that such a host has merged, the key ends with that version or a greater one; or some version
  at least as great was a delete, or has expired. But where a machine was set back, and told of what
  it had lost as if it had it, or a member has lied, a live value may be in a quarantine instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kvgossip.protocol.model.entry import expires_in, is_dead, version_of
from kvgossip.sim.checks.ledger import version_bytes
from kvgossip.sim.checks.violation import require


class History:
    """The versions that one host's store has ever held."""

    __slots__ = ("committed", "log", "seen")

    def __init__(self) -> None:
        #: By key, oldest first.
        self.seen: dict[str, dict[bytes, None]] = {}
        #: All of them as (key, version), oldest first.
        self.log: list[tuple[str, bytes]] = []
        #: How much of the log is on the host's disk.
        self.committed = 0

    def add(self, key: str, version: bytes) -> None:
        seen = self.seen.setdefault(key, {})
        if version not in seen:
            seen[version] = None
            self.log.append((key, version))

    def roll_back(self) -> None:
        for key, version in self.log[self.committed :]:
            del self.seen[key][version]
        del self.log[self.committed :]


class Mark(NamedTuple):
    """How far the oracle was with a host: how long its log was, how much of that on the disk, and
    which writes it had kept."""

    log: int
    committed: int
    kept: tuple[bytes, ...]


class Oracle:
    """Hosts are numbers, versions are bytes (see `version_bytes`)."""

    def __init__(self) -> None:
        self._histories: dict[int, History] = {}
        #: The versions that each version kills.
        self._kills: dict[bytes, dict[bytes, None]] = {}
        #: Every record that was written under a key.
        self._written: dict[str, list[bytes]] = {}
        #: The writes (key, record) of each host that still has its memory or its disk, by version.
        self._kept: dict[int, dict[bytes, tuple[str, bytes]]] = {}
        #: The writes of hosts that have lost theirs: they count where another host has merged them.
        self._bereft: dict[bytes, tuple[str, bytes]] = {}
        #: By key, the newest version that went to a quarantine: somebody was warned.
        self._quarantined: dict[str, bytes] = {}
        #: How many of the values of correct nodes that went there nobody had deleted or superseded.
        self.false_drops = 0
        #: True if a machine was set back.
        self._set_back = False
        #: The records that a hostile one has made up, and nobody has taken yet, by version.
        self._forged: dict[bytes, tuple[str, bytes]] = {}
        self._forgeries: dict[bytes, None] = {}
        #: True if a member has lied: so what it was offered may be in a quarantine.
        self.lied = False

    @property
    def had(self) -> Mapping[bytes, Mapping[bytes, None]]:
        """By the version of a write, the versions that its host had ever had of that key."""
        return self._kills

    def _history(self, host: int) -> History:
        return self._histories.setdefault(host, History())

    # -- events -----------------------------------------------------------------------------------

    def wrote(self, host: int, key: str, record: bytes) -> None:
        """A replica accepted this write, and it is not in its store yet as far as this knows."""
        version = version_bytes(record)
        self._kills[version] = dict(self._history(host).seen.get(key, {}))
        self._written.setdefault(key, []).append(record)
        self._kept.setdefault(host, {})[version] = (key, record)

    def forged(self, key: str, record: bytes) -> None:
        """A hostile one has made this record up: an ordinary write once a node has taken it."""
        self._forged[version_bytes(record)] = (key, record)
        self._forgeries[version_bytes(record)] = None

    def holds(self, host: int, key: str, record: bytes) -> None:
        """This record has come into a store. Raises BrokenLawError when it was killed by what that
        host has merged."""
        version, history = version_bytes(record), self._history(host)
        if self._forged.pop(version, None) is not None:
            self._kills.setdefault(version, {})
            self._written.setdefault(key, []).append(record)
        if not is_dead(record):
            taken_out = self._quarantined.get(key, b"") if self.lied else b""
            for other in history.seen.get(key, ()):
                if other > taken_out and version in self._kills.get(other, ()):
                    require(
                        False,
                        "what was deleted, or superseded, is served again",
                        key,
                        record,
                        other.hex(),
                    )
        history.add(key, version)

    def committed(self, host: int) -> None:
        history = self._history(host)
        history.committed = len(history.log)

    def crashed(self, host: int, *, durable: bool) -> None:
        """A process has ended. `durable`: it leaves a disk."""
        if durable:
            self._history(host).roll_back()
        else:
            self._histories.pop(host, None)
            self._bereft |= self._kept.pop(host, {})

    def mark(self, host: int) -> Mark:
        history = self._history(host)
        return Mark(len(history.log), history.committed, tuple(self._kept.get(host, {})))

    def set_back(self, host: int, mark: Mark) -> list[bytes]:
        """It goes on from there: what it has written since counts where another host has merged it.
        Returns the versions of that."""
        history, self._set_back = self._history(host), True
        history.committed = mark.log
        history.roll_back()
        history.committed = mark.committed
        kept = self._kept.get(host, {})
        lost = [version for version in kept if version not in mark.kept]
        for version in lost:
            self._bereft[version] = kept.pop(version)
        return lost

    def quarantined(self, key: str, record: bytes) -> None:
        """It went to a quarantine, with a warning."""
        version = version_bytes(record)
        self._quarantined[key] = max(version, self._quarantined.get(key, b""))
        self.false_drops += self.is_newest(key, version)

    def is_newest(self, key: str, version: bytes) -> bool:
        """True if a correct node wrote it, and nothing newer was written."""
        newest = max(map(version_bytes, self._written.get(key, ())), default=b"")
        return version >= newest and version not in self._forgeries

    def is_forged(self, key: str, record: bytes) -> bool:
        """True if it is a forgery that a node has taken, or was superseded by one: which a correct
        node may take for one that it has collected."""
        version = version_bytes(record)
        return any(
            version_bytes(other) >= version and version_bytes(other) in self._forgeries
            for other in self._written.get(key, ())
        )

    def holed(self, host: int, records: Mapping[str, bytes]) -> None:
        """Of all that was on this host's disk these records are left: it has merged nothing else,
        and of its own writes keeps what they still tell of."""
        history = self._histories[host] = History()
        for key, record in records.items():
            history.add(key, version_bytes(record))
        history.committed = len(history.log)
        for version, (key, _) in list(self._kept.get(host, {}).items()):
            if version > version_bytes(records.get(key, b"")):
                self._bereft[version] = self._kept[host].pop(version)

    # -- the end ----------------------------------------------------------------------------------

    def check(self, held: dict[str, bytes], live: dict[str, bytes], wall_ms: int) -> None:
        """`held` are all records that every node has, `live` those that are served. Raises
        BrokenLawError."""
        for key, record in self._all_kept():
            if self._superseded(key, record, held, wall_ms):
                killed = version_bytes(live.get(key, b"")) in self._kills[version_bytes(record)]
                require(
                    not killed,
                    "what was deleted, or superseded, is alive at the end",
                    key,
                    live.get(key),
                    record,
                )
            elif not (self._may_be_dropped(key, record) and self._is_quarantined(key, record)):
                require(False, "an acknowledged write is lost", key, record, held.get(key))

    def _may_be_dropped(self, key: str, record: bytes) -> bool:
        """True if it may be in a quarantine, or what superseded it."""
        return self._set_back or self.lied or self.is_forged(key, record)

    def _is_quarantined(self, key: str, record: bytes) -> bool:
        """True if it, or what superseded it, went to a quarantine."""
        return version_bytes(record) <= self._quarantined.get(key, b"")

    def _all_kept(self) -> Iterator[tuple[str, bytes]]:
        for kept in self._kept.values():
            yield from kept.values()
        for version, (key, record) in self._bereft.items():
            if any(version in history.seen.get(key, ()) for history in self._histories.values()):
                yield key, record

    def _superseded(self, key: str, record: bytes, held: dict[str, bytes], wall_ms: int) -> bool:
        here, version = held.get(key), version_of(record)
        if here is not None and version_of(here) >= version:
            return True
        dead_or_expired = (
            other
            for other in self._written[key]
            if is_dead(other) or (expires_in(other) or wall_ms + 1) <= wall_ms
        )
        return any(version_of(other) >= version for other in dead_or_expired)
