"""Writes on both sides of partitions: what is seen is real, what is lost is seen, and mistakes in
either are found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvgossip.protocol.model import conflicts
from kvgossip.protocol.model.entry import HEAD_BYTES
from kvgossip.sim.faults import Intensity
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options
from kvgossip.sim.simulation import simulate
from kvgossip.sim.workload import Mix

FEW_KEYS = Mix(writes=150, hot_keys=5, hot_share=0.8, delete_share=0.1)


def parted(seed: int) -> Report:
    intensity = Intensity(partition_rate=0.3, crash_rate=0.01, loss=0.05)
    options = Options(nodes=(3, 4), intensity=intensity, duration_s=10.0, mix=FEW_KEYS)
    return simulate(seed, options)


def test_of_parted_writers_what_is_seen_is_real_and_what_is_lost_is_seen() -> None:
    for seed in range(2):
        report = parted(seed)
        assert report.passed, report.violation


def _a_second_write_of_a_site_forgets_the_parent(patch: pytest.MonkeyPatch) -> None:
    whole = conflicts.parent_of

    def parent_of(replaced: bytes, site: bytes) -> bytes:
        return b"" if replaced[9:HEAD_BYTES] == site else whole(replaced, site)

    patch.setattr("kvgossip.protocol.store.key_types.parent_of", parent_of)


def _the_parent_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conflicts, "are_in_conflict", lambda kept, lost, wall_ms: True)


def _nothing_is_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(conflicts, "are_in_conflict", lambda kept, lost, wall_ms: False)


@pytest.mark.parametrize(
    ("plant", "text"),
    [
        (_a_second_write_of_a_site_forgets_the_parent, "what its writer had seen was reported"),
        (_the_parent_is_not_looked_at, "what its writer had seen was reported"),
        (_nothing_is_seen, "and nobody hears of it"),
    ],
)
def test_a_planted_mistake_with_conflicts_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    violation = next((found for seed in range(10) if (found := parted(seed).violation)), None)
    assert violation is not None, "no seed has found it"
    assert text in violation.text
