"""Durations in queries: `500ms`, `30s`, `2m`, `1h`; a number alone means seconds. And Go's, of
Consul's clients: `1m30s`."""

from __future__ import annotations

import re

from kvgossip.api.http.errors import RequestError

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_GO_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_GO_PART = re.compile(r"(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", re.ASCII)


def duration_s(name: str, text: str, longest_s: float) -> float:
    """Seconds. Raises RequestError(400) for text that is no duration, or a longer one."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0.0 <= seconds <= longest_s:
        raise RequestError(
            400,
            f"{name} = {text!r} is not a duration up to {longest_s:.0f}s",
            "write 500ms, 30s or 2m",
        )
    return seconds


def go_duration_s(name: str, text: str) -> float:
    """Seconds. Raises RequestError(400) for text that is no duration of Go, or a negative one."""
    parts = list(_GO_PART.finditer(text))
    if text != "0" and (not parts or "".join(part[0] for part in parts) != text):
        raise RequestError(
            400, f"{name} = {text[:100]!r} is not a duration", "write 500ms, 10s, 5m or 1m30s"
        )
    return sum(float(part[1]) * _GO_SECONDS[part[2]] for part in parts)
