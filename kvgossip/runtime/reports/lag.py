"""The lag of updates, ready for JSON (see protocol/model/lag.py)."""

from __future__ import annotations

from typing import Any

from kvgossip.protocol.model.lag import Lag
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now


def lag_of(lag: Lag, member: Member, now: Now) -> dict[str, float | None]:
    """Of what this member wrote and arrived here lately: half of it took no more than the one, 99
    of 100 no more than the other. None where nothing was measured."""
    figures = lag.of_writer(member, now)
    return {"lag_p50_ms": _ms(figures.p50_s), "lag_p99_ms": _ms(figures.p99_s)}


def lag_by_datacenter(lag: Lag, now: Now) -> dict[str, dict[str, Any]]:
    """Of what was written in each datacenter, and arrived here lately."""
    return {
        datacenter: {
            "measured": figures.measured,
            "p50_ms": _ms(figures.p50_s),
            "p99_ms": _ms(figures.p99_s),
        }
        for datacenter, figures in lag.by_datacenter(now).items()
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
