"""The doctor's report: examinations, ready for JSON (see protocol/doctor/examination.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from kvgossip.config import Config
from kvgossip.config.exposure import OPEN_DOORS, open_doors
from kvgossip.protocol.doctor.diagnosis import clock_offsets_ms, diagnose
from kvgossip.protocol.doctor.finding import Finding
from kvgossip.protocol.effect import DoctorReport
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.message import Sight


def doctor_report(reports: Sequence[DoctorReport], config: Config) -> dict[str, Any]:
    """The report of these pools: whether all is well, the findings, the members, and their sight of
    each other."""
    found = [finding for report in reports for finding in diagnose(report)]
    findings = [asdict(finding) for finding in (*found, *_open(config))]
    return {
        # an open door is its owner's decision: it is a finding, and no fault
        "healthy": not found,
        "findings": findings,
        "members": [member for report in reports for member in _members(report)],
        "pairs": [pair for report in reports for pair in _pairs(report)],
        "pools": [
            {
                "pool": report.pool,
                "examined": len(report.members) + 1,
                "known": report.known + 1,
                "observers": len(report.sights),
                "took_s": round(report.took_s, 3),
            }
            for report in reports
        ],
    }


def _open(config: Config) -> Iterator[Finding]:
    for door in open_doors(config):
        code, text = f"open_{door}", f"{config.name}: {OPEN_DOORS[door]}"
        yield Finding(code, PoolKind.LAN.value, (config.name,), text)


def _members(report: DoctorReport) -> list[dict[str, Any]]:
    offsets_ms, own = clock_offsets_ms(report), report.sights[report.observer]
    documents = []
    for name in sorted([report.observer, *report.members]):
        member, condition, seen = (
            report.members.get(name),
            report.conditions.get(name),
            own.get(name),
        )
        documents.append(
            {
                "name": name,
                "pool": report.pool,
                "self": member is None,
                "address": str(member.address) if member is not None else None,
                "state": member.state.name.lower() if member is not None else "alive",
                "udp_ms": milliseconds(seen.udp_us) if seen is not None else None,
                "tcp_ms": milliseconds(seen.tcp_us) if seen is not None else None,
                "clock_offset_s": offsets_ms[name] / 1000 if name in offsets_ms else None,
                "standing": condition.sync_state.name.lower() if condition is not None else None,
                "gateway": condition.gateway if condition is not None else None,
                "formats": condition.formats if condition is not None else None,
                "keys": condition.keys if condition is not None else None,
                "tokens": (condition.tokens or None) if condition is not None else None,
            }
        )
    return documents


def _pairs(report: DoctorReport) -> list[dict[str, Any]]:
    return [
        _pair(report.pool, observer, sight)
        for observer, seen in report.sights.items()
        for sight in seen.values()
    ]


def _pair(pool: str, observer: str, sight: Sight) -> dict[str, Any]:
    return {
        "pool": pool,
        "from": observer,
        "to": sight.name,
        "state": MemberState(sight.state).name.lower()
        if sight.state in tuple(MemberState)
        else None,
        "udp_ms": milliseconds(sight.udp_us),
        "tcp_ms": milliseconds(sight.tcp_us),
        "heard": sight.heard,
        "clock_offset_s": sight.offset_ms / 1000 if max(sight.udp_us, sight.tcp_us) >= 0 else None,
    }


def milliseconds(microseconds: int) -> float | None:
    return None if microseconds < 0 else microseconds / 1000
