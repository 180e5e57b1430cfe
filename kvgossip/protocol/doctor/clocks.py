"""The members whose clocks are wrong: those that are apart from the others' median."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from kvgossip.protocol.doctor.finding import Finding

CLOCK_MS_MAX = 1000


def wrong_clocks(offsets_ms: Mapping[str, int], pool: str) -> Iterator[Finding]:
    """`offsets_ms`: by how much each member's clock is ahead of the observer's, whose own is 0."""
    if len(offsets_ms) == 2:
        one, other = offsets_ms
        if abs(offsets_ms[other]) > CLOCK_MS_MAX:
            later, earlier = (other, one) if offsets_ms[other] > 0 else (one, other)
            apart_s = abs(offsets_ms[other]) / 1000
            text = (
                f"the clock of {later} is {apart_s:.1f} s ahead of that of {earlier}: which is "
                "wrong, a third would tell"
            )
            yield Finding("clock", pool, (one, other), text)
        return
    middle_ms = median(offsets_ms.values())
    for name, offset_ms in offsets_ms.items():
        ahead_s = (offset_ms - middle_ms) / 1000
        if abs(ahead_s) * 1000 > CLOCK_MS_MAX:
            way = "ahead" if ahead_s > 0 else "behind"
            text = (
                f"the clock of {name} is {abs(ahead_s):.1f} s {way} of the others' median: set "
                "it right, by NTP for example"
            )
            yield Finding("clock", pool, (name,), text)
