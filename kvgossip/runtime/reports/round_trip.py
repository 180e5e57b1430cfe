"""The round trip between two members, ready for JSON: as probes measured it, and as the coordinates
have it (see protocol/membership/coordinate.py); and the clock at the other end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvgossip.errors import NotFoundError
from kvgossip.protocol.effect import DoctorReport
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.replica import Replica
from kvgossip.runtime.pending.callers import Callers
from kvgossip.runtime.reports.doctor import milliseconds


async def round_trip(replica: Replica, callers: Callers, one: str, other: str) -> dict[str, Any]:
    """Between any two members: estimated, and measured - by `one`, where neither is this node.
    Raises NotFoundError where no pool of this node has both."""
    pool = _pool_of(replica.pools.all, one, other)
    if pool is None or one == other:
        text = (
            f"{one!r} is both ends"
            if one == other
            else f"no pool of this node has both {one!r} and {other!r}"
        )
        raise NotFoundError(
            text, "`kvgossip members` shows who is known; name two that are in one pool"
        )
    if other == replica.config.name:
        one, other = other, one
    estimate = {
        "from": one,
        "to": other,
        "pool": pool.kind.value,
        **_estimate_between(pool, one, other),
    }
    if one != replica.config.name:
        report = await callers.examine(pool.kind, one, other)
        return {**estimate, **_measured_by(report, one, other)}
    known = round_trip_to(pool, other)["rtt_ms"]
    return {
        **estimate,
        "measured_ms": known,
        "measured_by": one if known is not None else None,
        "note": "" if known else "not probed yet",
    }


def phi_of(pool: Pool, name: str, now: Now) -> float | None:
    """How sure one may be that this member is gone, by its silence alone; None for this node, and
    before it has answered a probe."""
    membership = pool.membership
    value = membership.round_trips.phi(name, now.monotonic_s, len(membership.table.counted))
    return None if value is None else round(value, 2)


def round_trip_to(pool: Pool, name: str) -> dict[str, float | None]:
    """The way from this node to a member: the measurements of probes, smoothed, and the estimate of
    the coordinates. None where nothing is known."""
    measured, place = pool.membership.round_trips.of(name), pool.membership.coordinates.of(name)
    mean_s = measured.mean_s if measured is not None else None
    return {
        "rtt_ms": None if mean_s is None else round(1000 * mean_s, 3),
        "rtt_estimate_ms": None
        if place is None
        else round(1000 * pool.membership.coordinates.own.distance_s(place), 3),
    }


def _estimate_between(pool: Pool, one: str, other: str) -> dict[str, float | None]:
    """The estimate of the coordinates for any two members. `estimate_error`: the greater of their
    own estimates of it, relative."""
    coordinates, me = pool.membership.coordinates, pool.membership.me.name
    here, there = (coordinates.own if name == me else coordinates.of(name) for name in (one, other))
    if here is None or there is None:
        return {"estimate_ms": None, "estimate_error": None}
    return {
        "estimate_ms": round(1000 * here.distance_s(there), 3),
        "estimate_error": round(max(here.error, there.error), 3),
    }


def _measured_by(report: DoctorReport, one: str, other: str) -> dict[str, Any]:
    """The measurement of one member to the other, as far as it answered."""
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
            "measured_ms": milliseconds(sight.tcp_us),
            "measured_by": one,
            "note": f"{other} answers {one} {seen}",
        }
    return {"measured_ms": milliseconds(sight.udp_us), "measured_by": one, "note": ""}


def _pool_of(pools: Sequence[Pool], *names: str) -> Pool | None:
    """The first pool that has all of these members."""
    return next(
        (pool for pool in pools if all(name in pool.membership.members for name in names)), None
    )


def clock_offset_ms(replica: Replica, name: str, now: Now) -> int | None:
    """By how much a member's clock is ahead of this node's, by the middle of the last probe; None
    where there was none."""
    shown_ms = replica.clock_guard.shown_by(name, now)
    return None if shown_ms is None else round(sum(shown_ms) / 2 - now.wall_ms)
