"""Acknowledged writes that a partition costs: some where the last writer wins, none of types; and
what types would lose is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kvgossip.cli.errors import CommandError
from kvgossip.cli.sim import sim_app
from kvgossip.protocol.store import store as stores
from kvgossip.protocol.typed.counter import total_of
from kvgossip.sim.papers import lost_writes
from kvgossip.sim.papers.lost_writes import TYPED, PartitionPlan, measure_partition
from tests.docs.pages import DOCS

FEW = ("--rate", "2", "--nodes", "2", "--keys", "2", "--jobs", "1")
SHORT = PartitionPlan(partition_s=2.0, rate=2.0, nodes=2, keys=2)


def run(*arguments: str, exit_code: int = 0) -> str:
    command = ("conflicts", *FEW, *arguments)
    result = CliRunner().invoke(sim_app, command, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_sim_conflicts_counts_what_a_cut_costs_the_last_writer_and_not_types(
    tmp_path: Path,
) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "lost.svg"
    whole, cut = json.loads(
        run("--partition-s", "0,5", "--runs", "1", "--json", "--plot", str(figure))
    )
    assert (whole["passed"], cut["passed"]) == (1, 1)
    assert whole["apart"] == 0 < cut["apart"] < cut["writes"]
    for way in ("lww_sum", "lww_set"):
        # one side of two, more or less
        assert whole[way] < cut["apart"] / 4 < cut[way] < cut["apart"]
    assert [cut[way] for way in TYPED] == [0, 0, 0]
    assert cut["conflicts_seen"] > 0
    assert "acknowledged writes lost" in figure.read_text()


def test_one_seed_gives_one_run_and_a_table_of_80_columns() -> None:
    assert measure_partition(SHORT) == measure_partition(SHORT)
    table = run("--partition-s", "2", "--runs", "1")
    assert all(way in table for way in lost_writes.WAYS)
    assert max(map(len, table.splitlines())) <= 80
    columns = table.splitlines()[0].split()
    page = (DOCS / "conflicts.md").read_text(encoding="utf-8")
    assert columns in [line.split() for line in page.splitlines()]


def test_a_type_that_keeps_the_greater_version_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "merged", lambda mine, offered: None)
    text = run("--partition-s", "2", "--runs", "1", exit_code=1)
    assert "a value was lost that no edit has superseded" in " ".join(text.split())


@pytest.mark.parametrize(("more", "what"), [(-1, "lost"), (1, "there twice")])
def test_a_counter_that_is_not_the_sum_of_what_was_acknowledged_is_named(
    more: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_writes, "total_of", lambda values: total_of(values) + more)
    outcome = measure_partition(SHORT)
    assert f"writes of the way counter 2 are {what}" in outcome.broken_promise
    assert "set" not in outcome.broken_promise


@pytest.mark.parametrize("partition_s", ["", "x", "1,,2", "4000", "-1"])
def test_a_length_that_is_no_number_or_too_long_is_refused(partition_s: str) -> None:
    with pytest.raises(CommandError):
        run(f"--partition-s={partition_s}")
