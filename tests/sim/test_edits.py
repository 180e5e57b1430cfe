"""Edits of typed keys under partitions, crashes and restarts: what was acknowledged is there at the
end, once; and the check finds what was planted."""

from __future__ import annotations

import pytest

from kvgossip.protocol.store import store as stores
from kvgossip.protocol.typed.body import decode, do_join, encode
from kvgossip.protocol.typed.typed_record import TypedRecord, join
from kvgossip.sim.faults import Intensity
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options
from kvgossip.sim.simulation import simulate
from kvgossip.sim.workload import Mix

FAULTS = Intensity(loss=0.1, partition_rate=0.15, crash_rate=0.1)


def run(seed: int) -> Report:
    options = Options(
        nodes=(3, 5),
        intensity=FAULTS,
        edits=60,
        mix=Mix(writes=20),
        duration_s=15.0,
        durable=True,
        datacenters=(1, 1),
    )
    return simulate(seed, options)


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_edits_that_were_acknowledged_are_there_once(seed: int) -> None:
    report = run(seed)
    assert report.passed, report.violation
    assert report.edits > 40


def test_the_check_finds_that_the_greater_version_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "merged", lambda mine, offered: None)
    violation = run(1).violation
    assert violation is not None
    assert "a value was lost that no edit has superseded" in violation.text


def test_the_check_finds_a_join_that_knows_of_no_supersession(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def merged(mine: bytes, offered: bytes) -> bytes | None:
        if not do_join(mine, offered):
            return None
        one, other = decode(mine), decode(offered)
        return encode(join(_forgetful(one), _forgetful(other)))

    monkeypatch.setattr(stores, "merged", merged)
    violation = run(1).violation
    assert violation is not None
    assert "a counter is not the sum of its increments" in violation.text


def _forgetful(record: TypedRecord) -> TypedRecord:
    return record._replace(seen={})
