"""Trend: a number of a node or a link that is not as usual, or comes to its limit, in words; and
the trends of links."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from kvgossip.protocol.doctor.finding import listed
from kvgossip.protocol.membership.link_watch import Link
from kvgossip.trends.loss import Way

HOUR_S, DAY_S = 3600.0, 86_400.0


class Trend(NamedTuple):
    """`code` as in Finding. `text` follows the name of the node and a colon. `peers`: the other
    ends of the links, where it is about links. `since_ms`: when it began, ms since 1970; None of a
    forecast. `bound_s`: within what time its statistics find it, None where they say nothing of
    that; `in_s`: of a forecast, in how many seconds the limit is reached."""

    code: str
    text: str
    peers: tuple[str, ...] = ()
    since_ms: int | None = None
    bound_s: float | None = None
    in_s: float | None = None


def of_links(links: Sequence[Link], wall_ms: int) -> Iterator[Trend]:
    """Those of this node's links that are not as usual; several that have changed alike are one."""
    slow = [link for link in links if link.slower_s is not None]
    if slow:
        names = [link.name for link in slow]
        since_s = max(link.slower_s or 0.0 for link in slow)
        usual = ", ".join(f"{link.usual_ms:.2g} ms" for link in slow[:3])
        bound_s = max(link.probes_until * link.every_s for link in slow)
        text = (
            f"the round trip to {listed(names)} is longer than usual ({usual}) since "
            f"{clock(wall_ms, since_s)}: what is written there is seen here later, and each "
            "exchange and each acknowledged write takes as much longer. Look at that network, and "
            "at how busy the machine there is"
        )
        yield Trend("link_slow", text, tuple(names), before(wall_ms, since_s), _finite(bound_s))
    losing: dict[Way, list[Link]] = defaultdict(list)
    for link in links:
        if link.losing_s is not None:
            losing[link.way].append(link)
    for way, some in losing.items():
        yield _losing(way, some, wall_ms)


def _losing(way: Way, links: Sequence[Link], wall_ms: int) -> Trend:
    names = [link.name for link in links]
    since_s = max(link.losing_s or 0.0 for link in links)
    share, usual = max(link.lost for link in links), max(link.usual_lost for link in links)
    where = {
        Way.THERE: f"to {listed(names)}",
        Way.BACK: f"from {listed(names)}",
        Way.UNKNOWN: f"between it and {listed(names)}",
    }[way]
    text = (
        f"{share:.0%} of the packets {where} are lost, usually {usual:.1%}, since "
        f"{clock(wall_ms, since_s)}: as many rumors do not arrive that way, and come by "
        "exchanges, seconds later; probes need helpers. Look at that network: a cable, a full "
        "queue, a firewall"
    )
    return Trend("link_loss", text, tuple(names), before(wall_ms, since_s))


def before(wall_ms: int, seconds: float) -> int:
    return wall_ms - round(1000 * seconds)


def clock(wall_ms: int, seconds: float) -> str:
    """The time so long ago; with its day where that is another one."""
    then = datetime.fromtimestamp(before(wall_ms, seconds) / 1000, UTC)
    return f"{then:%H:%M} UTC" if seconds < DAY_S / 2 else f"{then:%Y-%m-%d %H:%M} UTC"


def day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%A %Y-%m-%d %H:%M} UTC"


def span(seconds: float) -> str:
    """9 h, 2 days."""
    if seconds < 2 * HOUR_S:
        return f"{max(1, round(seconds / 60))} min"
    return f"{round(seconds / HOUR_S)} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.1f} days"


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
