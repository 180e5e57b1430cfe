"""SWIM's and Lifeguard's figures on the replicas that ship. Seeds are fixed, so nothing here is
flaky; the command runs more."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from kvgossip.cli import main
from kvgossip.sim.papers.epidemic import Estimate, estimate
from kvgossip.sim.papers.membership import (
    FIRST_DETECTION_PERIODS,
    MembershipOutcome,
    MembershipPlan,
    PauseKind,
    measure_membership,
)

PAUSES = {
    "pause_fraction": 0.25,
    "pause_s": 8.0,
    "run_s": 2.0,
    "parameters": {"suspicion_multiplier": 5.0},
}


def mean(
    found: Sequence[MembershipOutcome], figure: Callable[[MembershipOutcome], float | None]
) -> Estimate:
    return estimate(value for outcome in found if (value := figure(outcome)) is not None)


@cache
def crashes(nodes: int) -> list[MembershipOutcome]:
    runs = {8: 24, 48: 3}[nodes]
    return [
        measure_membership(MembershipPlan(nodes=nodes, seed=seed)) for seed in range(1, runs + 1)
    ]


@cache
def pauses(lifeguard: bool) -> MembershipOutcome:
    return measure_membership(
        MembershipPlan(nodes=16, periods=60, crash=False, lifeguard=lifeguard, **PAUSES)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("nodes", [8, 48])
def test_somebody_probes_the_crashed_member_within_the_periods_that_swim_expects(
    nodes: int,
) -> None:
    found = mean(crashes(nodes), lambda outcome: outcome.first_probe_periods)
    others = nodes - 1
    # each goes through all others in an order of its own; for many of them, e / (e - 1)
    expected = sum((1 - period / others) ** others for period in range(others))
    assert expected == pytest.approx(FIRST_DETECTION_PERIODS, rel=0.10)
    assert found.mean == pytest.approx(expected, rel=0.10)
    one = mean(crashes(nodes), lambda outcome: outcome.crash_probe_periods)
    assert one.mean == pytest.approx(found.mean, abs=4 * one.error)


@pytest.mark.parametrize("nodes", [8, 48])
def test_a_member_sends_and_receives_two_messages_a_period_whatever_the_size(nodes: int) -> None:
    assert mean(crashes(nodes), lambda outcome: outcome.sent).mean == pytest.approx(2.0, rel=0.01)
    assert mean(crashes(nodes), lambda outcome: outcome.received).mean == pytest.approx(
        2.0, rel=0.01
    )


@pytest.mark.parametrize("nodes", [8, 48])
def test_a_crash_is_suspected_then_declared_then_known_by_all(nodes: int) -> None:
    for outcome in crashes(nodes):
        assert outcome.first_suspect_s is not None
        assert outcome.first_dead_s is not None
        assert outcome.all_dead_s is not None
        assert 0 < outcome.first_suspect_s < outcome.first_dead_s <= outcome.all_dead_s < 30
        assert outcome.fp == 0


def test_lifeguard_spares_the_healthy_whom_plain_swim_takes_for_dead_and_sends_no_more() -> None:
    plain, lifeguard = pauses(lifeguard=False), pauses(lifeguard=True)
    assert plain.fp_healthy > 100
    assert lifeguard.fp_healthy < 0.05 * plain.fp_healthy
    assert lifeguard.fp < 0.05 * plain.fp
    assert lifeguard.messages < 1.2 * plain.messages


def test_plain_swim_sends_no_nacks() -> None:
    assert "Nack" not in pauses(lifeguard=False).kinds
    assert pauses(lifeguard=True).kinds["Nack"] > 0


def test_a_process_that_stands_still_reads_what_has_waited_before_it_takes_anybody_for_dead() -> (
    None
):
    plan = MembershipPlan(
        nodes=12,
        periods=60,
        crash=False,
        lifeguard=False,
        pause_kind=PauseKind.PROCESS,
        **PAUSES,  # type: ignore[arg-type]
    )
    outcome = measure_membership(plan)
    assert outcome.paused_dead > 0
    assert outcome.fp_healthy == 0


def test_one_seed_gives_one_run() -> None:
    plan = MembershipPlan(nodes=5, periods=4, loss=0.1, pause_fraction=0.4)
    first, again = measure_membership(plan), measure_membership(plan)
    assert first == again
    assert (
        first.trace_hash
        != measure_membership(MembershipPlan(nodes=5, periods=4, loss=0.1)).trace_hash
    )


# -- the command ---------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["sim", "membership", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_prints_a_row_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--nodes", "4,6", "--runs", "2", "--jobs", "1", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["nodes"] for row in rows] == [4, 6]
    for row in rows:
        assert row["sent"] == pytest.approx(2.0, abs=0.1)
        assert row["kinds"]["Ping"] > 0
        assert row["first_dead_periods"] == pytest.approx(row["first_dead_s"])


def test_without_a_crash_there_are_no_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            "--nodes",
            "4",
            "--runs",
            "1",
            "--jobs",
            "1",
            "--no-crash",
            "--no-lifeguard",
            "--periods",
            "3",
            "-o",
            "json",
        )
        == 0
    )
    (row,) = json.loads(capsys.readouterr().out)
    assert row["all_dead_s"] is row["crash_probe_periods"] is None
    assert run("--nodes", "4", "--runs", "1", "--jobs", "1", "--no-crash", "--periods", "3") == 0
    assert "first_probe_periods" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [("--nodes", "2"), ("--nodes", "5-10"), ("--loss", "2"), ("--pause-kind", "tea"),
    ("--parameter", "probe_interval_s"),
     ("--parameter", "probe_interval_s=0"), ("--periods", "0")],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_refused(
    wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*wrong, "--runs", "1") == 2
    assert capsys.readouterr().err
