"""Edits of typed keys under partitions, crashes and restarts: what was acknowledged is there at the
end, once; and the check finds what was planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.store import store as stores
from kvgossip.protocol.tombstones import former_lives
from kvgossip.protocol.tombstones.collection import TombstoneCollection
from kvgossip.protocol.tombstones.typed_offers import TypedOffers
from kvgossip.protocol.typed import counter
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.body import decode, do_join, encode
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.typed_record import TypedRecord, join
from kvgossip.sim.deletion import deletion_options
from kvgossip.sim.editing import editing_options
from kvgossip.sim.faults import Intensity
from kvgossip.sim.report import Report
from kvgossip.sim.scenario import Options, scenario
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


# 11: a pair covers a delete that its writer had pruned. 20, 33: what went on one member's word is
# offered by another one, and taken back meanwhile. 30: a delete that one node has pruned came back
# to it from the next, for ever.
@pytest.mark.parametrize("seed", [11, 20, 30, 33])
def test_so_they_are_where_nodes_are_away_and_forgotten(seed: int) -> None:
    report = run_absences(seed)
    assert report.passed, report.violation
    assert report.edits > 40


def run_absences(seed: int) -> Report:
    """Hosts may lose their disks, in every seed."""
    options, deletions = editing_options(seed), deletion_options(seed)
    assert deletions.intensity is not None
    honest = replace(deletions.intensity, stranger_rate=0.0, hostile_rate=0.0, set_back_rate=0.0)
    return simulate(seed, replace(options, intensity=honest, durable=deletions.durable))


# 4068: each of two records has superseded what the other one holds, so nothing is left.
# 1042, 1289: what a client had seen on a node that the others have forgotten, and deletes there, is
# back with that node. 230: a write that the deleter had not seen comes back after all have
# collected the delete, and is written over, where one node has the delete still. 2267, 4691: two
# nodes have taken something out on each other's word, and tell nothing of it for a while
@pytest.mark.parametrize("seed", [*range(1, 7), 230, 1042, 1289, 2267, 4068, 4691])
def test_seeds_of_types_keep_every_law(seed: int) -> None:
    report = simulate(seed, editing_options(seed))
    assert report.passed, (
        f"{report.violation}; repeat it with: kvgossip sim types --seed {seed} --trace 200"
    )


# 19, 49: a life that has taken something over crashes before that is on its disk
@pytest.mark.parametrize("seed", [5, 14, 19, 49])
def test_no_sum_changes_where_lives_take_over_those_before(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    adopt = edits.adopt

    def noted(type_: str, dots: Sequence[bytes]) -> Edit:
        taken.append(type_)
        return adopt(type_, dots)

    monkeypatch.setattr(former_lives, "ORPHANS_MIN", 1)
    monkeypatch.setattr(edits, "adopt", noted)
    report = simulate(seed, editing_options(seed))
    assert report.passed, report.violation
    assert taken


def test_the_check_finds_that_what_is_taken_over_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def adopt(record: TypedRecord, dot: bytes, dots: Sequence[bytes]) -> TypedRecord:
        added = counter.add(record, dot, 0, dots)
        left = [value for value in record.values if value[:16] in dots]
        return added._replace(values=OrderedSet(sorted([*added.values, *left])))

    def adopted(type_: str, dots: Sequence[bytes]) -> Edit:
        return Edit(type_, lambda record, dot: adopt(record, dot, dots))

    monkeypatch.setattr(former_lives, "ORPHANS_MIN", 1)
    monkeypatch.setattr(edits, "adopt", adopted)
    violation = simulate(5, editing_options(5)).violation
    assert violation is not None
    assert "has changed the sum" in violation.text


def test_in_some_seeds_of_types_no_host_loses_its_disk() -> None:
    plans = [scenario(seed, editing_options(seed)) for seed in range(1, 20)]
    assert 0 < sum(plan.durable and plan.intensity.keeps_writes for plan in plans) < len(plans)


def test_the_check_finds_that_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TypedOffers, "_is_gone", lambda *anything: False)
    found = [report.violation.text for report in map(run_absences, (11, 20)) if report.violation]
    assert found


def test_the_check_finds_that_pairs_and_deletes_go_without_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = TombstoneCollection.begin

    def begin(self: TombstoneCollection, members: Any, confirmed: int, wall_ms: int) -> None:
        whole(self, members, 2**63, wall_ms)

    monkeypatch.setattr(TombstoneCollection, "begin", begin)
    monkeypatch.setattr(TombstoneCollection, "knows_about", lambda *anything: True)
    violation = run_absences(5).violation
    assert violation is not None
    assert "a value is put into quarantine although nobody was ever away" in violation.text


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
    assert "the sum" in violation.text


def _forgetful(record: TypedRecord) -> TypedRecord:
    return record._replace(seen={})
