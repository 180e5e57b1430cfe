"""OwnCondition: the condition of this node, as the doctor of another one hears it."""

from __future__ import annotations

from collections.abc import Callable

from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.doctor.shell_report import ShellReport
from kvgossip.protocol.membership.member_warnings import MemberWarnings
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.readiness import NOT_SETTLED, Readiness
from kvgossip.protocol.tombstones.collection import TombstoneCollection
from kvgossip.protocol.wire.frame import FORMAT
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Condition

DATACENTERS_MAX = 64
REASONS_MAX = 8
REASON_CHARACTERS_MAX = 512
LEFT_OUT_NAMED = 3


class OwnCondition:
    """`wan()`: the members of the WAN pool; None where this node is no gateway."""

    def __init__(
        self,
        *,
        membership: Membership,
        partition: PartitionWatch,
        warnings: MemberWarnings,
        keyring: Keyring | None,
        left_out: LeftOut,
        collecting: TombstoneCollection,
        sync_state: Callable[[], SyncState],
        readiness: Readiness,
        clock_guard: ClockGuard,
        wan: Callable[[], Membership | None],
        disk_problem: Callable[[], str],
        shell_report: ShellReport,
    ) -> None:
        self._membership, self._partition, self._warnings = membership, partition, warnings
        self._keyring, self._sync_state, self._wan = keyring, sync_state, wan
        self._readiness, self._clock_guard = readiness, clock_guard
        self._left_out, self._disk_problem = left_out, disk_problem
        self._collecting, self._shell_report = collecting, shell_report

    def at(self, sequence: int, now: Now) -> Condition:
        me, wan, left_out = self._membership.me, self._wan(), self._left_out.keys
        return Condition(
            sequence=sequence,
            sender=me.name,
            site=me.site,
            sync_state=self._sync_state(),
            formats=(FORMAT, FORMAT),
            keys=tuple(self._keyring.ids) if self._keyring is not None else (),
            gateway=wan is not None,
            lost=len(self._partition.lost),
            rival=self._warnings.rival(now),
            datacenters=_datacenters(wan) if wan is not None else (),
            not_ready=tuple(
                (reason.code, f"{reason.text}: {reason.hint}"[:REASON_CHARACTERS_MAX])
                for reason in self._readiness.reasons(now)[:REASONS_MAX]
                if reason.code != NOT_SETTLED
            ),
            left_out=len(left_out),
            left_out_keys=tuple(left_out[:LEFT_OUT_NAMED]),
            clock=self._clock_guard.trouble(now)[:REASON_CHARACTERS_MAX],
            disk=self._disk_problem()[:REASON_CHARACTERS_MAX],
            gap_s=self._collecting.gap_s(now.wall_ms),
            tokens=self._shell_report.tokens,
            notices=tuple(
                (code, text[:REASON_CHARACTERS_MAX])
                for code, text in self._readiness.notices()[:REASONS_MAX]
            ),
        )


def _datacenters(wan: Membership) -> tuple[tuple[str, int, int], ...]:
    """Every datacenter that a gateway knows, with its gateways that are alive, and that died."""
    counts: dict[str, list[int]] = {}
    for member in wan.members.values():
        if member.state is not MemberState.LEFT:
            counts.setdefault(member.datacenter, [0, 0])[not member.reachable] += 1
    named = list(counts.items())[:DATACENTERS_MAX]
    return tuple((name, alive, gone) for name, (alive, gone) in named)
