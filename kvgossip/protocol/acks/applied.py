"""AppliedReports: what the processes of this machine made of the records under a prefix, as they
reported it to their node; it answers the surveys of others, and is written nowhere.

An answer is bounded, so that it fits into one frame of every peer: the releases that most processes
have, and of the refused keys the first few, with short reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.wire.release_messages import REFUSED_MAX, RELEASES_MAX, AppliedBy

PROCESSES_MAX = 1024
REASON_CHARACTERS_MAX = 200
_RELEASE_CHARACTERS_MAX = 64
_KEY_CHARACTERS_MAX = 128


class Report(NamedTuple):
    """What one process made of a prefix: the release (empty: the loose keys), and (key, reason) of
    what it refused it for."""

    prefix: str
    release: str
    refused: Sequence[tuple[str, str]] = ()


class _Kept(NamedTuple):
    release: str
    refused: tuple[tuple[str, str], ...]


class AppliedReports:
    """Of one life of a node."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, list[_Kept]] = {}

    def tell(self, reports: Iterable[Report]) -> None:
        """From now on these are the reports of all processes here, of which the first PROCESSES_MAX
        count."""
        self._by_prefix = {}
        for prefix, release, refused in islice(reports, PROCESSES_MAX):
            shortened = tuple(_short(key, reason) for key, reason in refused[:REFUSED_MAX])
            report = _Kept(plain(release)[:_RELEASE_CHARACTERS_MAX], shortened)
            self._by_prefix.setdefault(prefix, []).append(report)

    def under(self, prefix: str) -> tuple[AppliedBy, ...]:
        """What its processes made of this prefix, by release."""
        by_release: dict[str, list[_Kept]] = {}
        for report in self._by_prefix.get(prefix, ()):
            by_release.setdefault(report.release, []).append(report)
        most_first = sorted(by_release, key=lambda release: (-len(by_release[release]), release))
        return tuple(
            _applied_by(release, by_release[release]) for release in most_first[:RELEASES_MAX]
        )


def _applied_by(release: str, reports: Sequence[_Kept]) -> AppliedBy:
    refused = dict.fromkeys(pair for report in reports for pair in report.refused)
    processes = sum(1 for report in reports if not report.refused)
    return AppliedBy(release, processes, tuple(islice(refused, REFUSED_MAX)))


def _short(key: str, reason: str) -> tuple[str, str]:
    # of a check over all keys together there is no key
    return plain(key)[:_KEY_CHARACTERS_MAX] or "the model", plain(reason)[:REASON_CHARACTERS_MAX]
