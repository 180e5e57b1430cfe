"""Durations in queries: `500ms`, `30s`, `2m`, `1h`; a number alone means seconds."""

from __future__ import annotations

import re

from kvgossip.api.errors import RequestError

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", re.ASCII)


def duration_s(name: str, text: str, longest_s: float) -> float:
    """Seconds. Raises RequestError(400) for what is no duration, or longer than that."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0.0 <= seconds <= longest_s:
        raise RequestError(400, f"{name} = {text!r} is not a duration up to {longest_s:.0f}s", "write 500ms, 30s or 2m")
    return seconds
