"""What a node tells of examinations and round trips, ready for JSON (see
protocol/doctor/examination.py and protocol/membership/coordinate.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kvgossip.protocol.doctor.diagnosis import clock_offsets_ms, diagnose
from kvgossip.protocol.effect import DoctorReport
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.wire.message import Sight


def doctor_report(reports: Sequence[DoctorReport]) -> dict[str, Any]:
    """What an operator wants to know of these pools: whether all is well, what is not, who is
    there, and who sees whom."""
    findings = [asdict(finding) for report in reports for finding in diagnose(report)]
    return {
        "healthy": not findings,
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


def _members(report: DoctorReport) -> list[dict[str, Any]]:
    offsets_ms, own = clock_offsets_ms(report), report.sights[report.observer]
    told = []
    for name in sorted([report.observer, *report.members]):
        member, condition, seen = (
            report.members.get(name),
            report.conditions.get(name),
            own.get(name),
        )
        told.append(
            {
                "name": name,
                "pool": report.pool,
                "self": member is None,
                "address": str(member.address) if member is not None else None,
                "state": member.state.name.lower() if member is not None else "alive",
                "udp_ms": _milliseconds(seen.udp_us) if seen is not None else None,
                "tcp_ms": _milliseconds(seen.tcp_us) if seen is not None else None,
                "clock_offset_s": offsets_ms[name] / 1000 if name in offsets_ms else None,
                "standing": condition.sync_state.name.lower() if condition is not None else None,
                "gateway": condition.gateway if condition is not None else None,
                "formats": condition.formats if condition is not None else None,
                "keys": condition.keys if condition is not None else None,
            }
        )
    return told


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
        "udp_ms": _milliseconds(sight.udp_us),
        "tcp_ms": _milliseconds(sight.tcp_us),
        "heard": sight.heard,
        "clock_offset_s": sight.offset_ms / 1000 if max(sight.udp_us, sight.tcp_us) >= 0 else None,
    }


def _milliseconds(microseconds: int) -> float | None:
    return None if microseconds < 0 else microseconds / 1000


def round_trip_to(pool: Pool, name: str) -> dict[str, float | None]:
    """From this node to a member: what probes measured, smoothed, and what the coordinates say.
    None where nothing is known."""
    measured, place = pool.membership.round_trips.of(name), pool.membership.coordinates.of(name)
    mean_s = measured.mean_s if measured is not None else None
    return {
        "rtt_ms": None if mean_s is None else round(1000 * mean_s, 3),
        "rtt_estimate_ms": None
        if place is None
        else round(1000 * pool.membership.coordinates.own.distance_s(place), 3),
    }


def estimate_between(pool: Pool, one: str, other: str) -> dict[str, float | None]:
    """What the coordinates say of any two members. `estimate_error`: the greater of their own
    estimates of it, relative."""
    coordinates, me = pool.membership.coordinates, pool.membership.me.name
    here, there = (coordinates.own if name == me else coordinates.of(name) for name in (one, other))
    if here is None or there is None:
        return {"estimate_ms": None, "estimate_error": None}
    return {
        "estimate_ms": round(1000 * here.distance_s(there), 3),
        "estimate_error": round(max(here.error, there.error), 3),
    }


def measured_by(report: DoctorReport, one: str, other: str) -> dict[str, Any]:
    """What one member measured to the other, as far as it answered."""
    sight = report.sights.get(one, {}).get(other)
    if sight is None:
        why = (
            f"{one} was busy"
            if one in report.busy
            else f"{one} does not know {other}"
            if one in report.sights
            else f"{one} did not answer"
        )
        return {"measured_ms": None, "measured_by": None, "note": why}
    if sight.udp_us < 0:
        seen = "only by TCP" if sight.tcp_us >= 0 else "neither by UDP nor by TCP"
        return {
            "measured_ms": _milliseconds(sight.tcp_us),
            "measured_by": one,
            "note": f"{other} answers {one} {seen}",
        }
    return {"measured_ms": _milliseconds(sight.udp_us), "measured_by": one, "note": ""}


def pool_of(pools: Sequence[Pool], *names: str) -> Pool | None:
    """The first pool that has all of these members."""
    return next(
        (pool for pool in pools if all(name in pool.membership.members for name in names)), None
    )
