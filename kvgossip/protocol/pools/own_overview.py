"""OwnOverview: what this node says of itself, to whoever surveys the members."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from kvgossip.config import alike_parameters
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.pools.shared import Shared
from kvgossip.protocol.wire.overview_messages import NAMES_MAX, REASONS_MAX, Overview

TEXT_CHARACTERS_MAX = 512


class OwnOverview:
    """Of one pool: of members it tells what it believes there."""

    def __init__(self, membership: Membership, partition: PartitionWatch, shared: Shared) -> None:
        self.membership, self._partition, self._shared = membership, partition, shared

    def at(self, number: int, now: Now, *, setup: bool = False) -> Overview:
        shared, shell = self._shared, self._shared.shell_report
        keyring = shared.keyring.ids if shared.keyring is not None else ()
        overview = Overview(
            number=number,
            sender=self.membership.me.name,
            software=_text(shell.software),
            sync_state=shared.sync_state(),
            keys=shared.store.live,
            entries=len(shared.store),
            not_ready=tuple(
                (reason.code, _text(f"{reason.text}: {reason.hint}"))
                for reason in shared.readiness.reasons(now)[:REASONS_MAX]
            ),
            overload=_text(shell.overload()),
            keyring=_first(keyring),
            tokens=shell.tokens,
            blocked=_first(map(_text, shared.blocklist.targets())),
            tombstones_waiting=len(shared.tombstones.collecting),
            waits_for=_first(shared.tombstones.late()),
            quarantined=shell.quarantined(),
            suspects=self._in(MemberState.SUSPECT),
            dead=self._in(MemberState.DEAD),
            lost=_first(self._partition.lost),
        )
        return self._with_setup(overview) if setup else overview

    def _with_setup(self, overview: Overview) -> Overview:
        shell = self._shared.shell_report
        parameters = alike_parameters(shell.config)
        return replace(overview, parameters=tuple(parameters.items()), **shell.host()._asdict())

    def _in(self, state: MemberState) -> tuple[str, ...]:
        members = self.membership.members.values()
        return _first(sorted(each.name for each in members if each.state is state))


def _first(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(names, NAMES_MAX))


def _text(text: str) -> str:
    return plain(text)[:TEXT_CHARACTERS_MAX]
