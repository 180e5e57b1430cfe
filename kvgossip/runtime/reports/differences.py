"""Differences: the keys that differ between this node and a member, what each of the two has, and
why that stays so, as far as this node knows.

The member says what it has (protocol/anti_entropy/inspection.py); nothing is repaired by that.
"""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.errors import NoAnswerError
from kvgossip.protocol.anti_entropy.inspection import Sought
from kvgossip.protocol.anti_entropy.objections import Objection, Objections
from kvgossip.protocol.effect import Differing
from kvgossip.protocol.model.entry import Entry, supersedes, version_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer
from kvgossip.protocol.typed.views import view_of
from kvgossip.protocol.wire.message import Notice, Precision
from kvgossip.runtime.driver import Driver

TIMEOUT_S = 10.0
GIVEN_UP = Objection(
    "given_up",
    "the last exchanges with it brought nothing, so the next one waits until something changes",
    "see what is said of each key",
)


class Difference(NamedTuple):
    """A key under which the two have something else. `there`: a Notice of what is too long for this
    node to be sent; None, here and there: nothing. `newer`: which side has the greater version.
    `why` the other side would not take that; None: nothing is known against it."""

    key: str
    here: Entry | None
    there: Entry | Notice | None
    newer: str
    why: Objection | None


class Differences(NamedTuple):
    """`keys`: by how many the member differs, as `precision` has it; with a prefix, how many of
    those differ that start with it, None where not all were looked at. `whole`: all of them are in
    `found`. `unreadable`: how many records of the member this node cannot read. `unequal_s`: for
    how long probes have shown other data, None where they do not."""

    peer: Peer
    keys: int | None
    precision: Precision
    whole: bool
    unreadable: int
    unequal_s: float | None
    why: list[Objection]
    found: list[Difference]


class Inspector:
    """Of one life of a node."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._replica = driver, driver.replica
        self._objections = Objections(
            self._replica.config, self._replica.clock_guard, self._replica.tombstones
        )

    async def differences(
        self, name: str, prefix: str, limit: int, timeout_s: float = TIMEOUT_S
    ) -> Differences:
        """Raises NotFoundError for a name that is not known, NoAnswerError where the member cannot
        be asked or does not answer, OverloadedError."""
        sought = Sought(prefix, limit)
        inspected = await self._driver.callers.inspect(name, sought, timeout_s)
        now, peer = self._driver.clocks(), inspected.peer
        pool = self._replica.in_pool(peer.pool)
        member = pool.membership.members.get(name)
        whole = inspected.whole and inspected.matching <= limit
        keys = inspected.keys if not prefix else inspected.matching if inspected.whole else None
        return Differences(
            peer,
            keys,
            Precision.EXACT if prefix else inspected.precision,
            whole,
            inspected.unreadable,
            pool.exchanges.unequal(now).get(name),
            [GIVEN_UP] if pool.exchanges.futility.gave_up(name) else [],
            [self._difference(each, member, now) for each in inspected.found],
        )

    async def value(self, name: str, key: str, timeout_s: float = TIMEOUT_S) -> Entry | None:
        """What the member has under the key: perhaps a tombstone; None: nothing. Raises as
        `differences`."""
        sought = Sought(limit=1, key=key)
        inspected = await self._driver.callers.inspect(name, sought, timeout_s)
        if inspected.found:
            there = inspected.found[0].there
        elif inspected.whole:
            there = self._replica.store.record(key)
        else:
            raise NoAnswerError(
                f"so much differs around {key!r} that {name!r} did not come to it",
                "exchange with it first",
            )
        if isinstance(there, Notice):
            why = self._objections.here(key, there, self._driver.clocks())
            assert why is not None
            raise NoAnswerError(f"{name!r} cannot send it: {why.text}", why.hint)
        return None if there is None else view_of(key, there)

    def _difference(self, each: Differing, member: Member | None, now: Now) -> Difference:
        key, here, there = each
        if _is_newer(here, there):
            assert here is not None
            why = None if member is None else self._objections.there(here, member, now)
        else:
            assert there is not None
            why = self._objections.here(key, there, now)
            if why is not None and why.code == "collected" and self._is_quarantined(key):
                why = Objection(
                    "quarantined",
                    "this node had it, and it is in quarantine: the cluster had deleted it",
                    "`kvgossip quarantine list` shows it, and restores or discards it",
                )
        return Difference(
            key,
            None if here is None else view_of(key, here),
            view_of(key, there) if isinstance(there, bytes) else there,
            "here" if _is_newer(here, there) else "there",
            why,
        )

    def _is_quarantined(self, key: str) -> bool:
        return any(each.entry.key == key for each in self._driver.quarantine.page())


def _is_newer(here: bytes | None, there: bytes | Notice | None) -> bool:
    """True if this node has the greater version."""
    if here is None or there is None:
        return here is not None
    if isinstance(there, Notice):
        return version_of(here) > (there.timestamp, there.site)
    return supersedes(here, there)
