"""The pure parts of the harness: what it is blind to would be promised for nothing."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

from . import suite
from .__main__ import main
from .agent import Agent
from .http_client import Answer
from .judge import check_writes, compare
from .lo_net import LoNet
from .packet_router import Way, flipped, swapped
from .record import Record, Write
from .scenario import SCENARIOS, OptionError, Violations
from .scenarios.honest_reads import Reader
from .scenarios.spreading import Arrivals
from .watch import Watch


def write(key: str, value: str | None, version: str, status: int = 200, **more: object) -> Write:
    found = Write(key, value, "n1", 1, 0.0, status=status, version=version if status else "")
    for name, each in more.items():
        setattr(found, name, each)
    return found


def record_of(*writes: Write) -> Record:
    record = Record()
    for each in writes:
        record.add(each)
    return record


# -- the judge -----------------------------------------------------------------------------------


def test_what_was_acknowledged_and_is_there_is_no_violation() -> None:
    record = record_of(
        write("p/1", "a", "1"),
        write("p/1", "b", "2"),
        write("d/1", "c", "3"),
        write("d/1", None, "4"),
        write("p/2", "nobody knows", "", 0),
    )
    check_writes(record, {"p/1": "2", "p/2": "9"}, {"p/1": "b", "p/2": "nobody knows"})
    assert record.violation == ""


@pytest.mark.parametrize(
    ("fault", "writes", "found", "values"),
    [
        ("lost", [write("p/1", "a", "1")], {}, {}),
        (
            "lost",
            [write("p/1", "a", "1"), write("p/1", "b", "2")],
            {"p/1": "1"},
            {"p/1": "a"},
        ),
        ("phantom", [write("p/1", "a", "1")], {"p/1": "2"}, {"p/1": "of nobody"}),
        ("wrong value", [write("p/1", "a", "1")], {"p/1": "1"}, {"p/1": "b"}),
        (
            "back from the dead",
            [write("d/1", "a", "1"), write("d/1", None, "2")],
            {"d/1": "1"},
            {"d/1": "a"},
        ),
        ("listed and not found", [write("p/1", "a", "1")], {"p/1": "1"}, {}),
    ],
)
def test_the_judge_finds_what_is_planted(
    fault: str, writes: list[Write], found: dict[str, str], values: dict[str, str]
) -> None:
    record = record_of(*writes)
    check_writes(record, found, values)
    assert list(record.faults) == [fault]
    assert fault in record.violation


def test_a_delete_that_nobody_was_answered_may_have_taken_the_value() -> None:
    record = record_of(write("d/1", "a", "1"), write("d/1", None, "", 0))
    check_writes(record, {}, {})
    assert record.violation == ""


def test_without_disks_only_what_a_majority_held_must_stay() -> None:
    alone = write("w/1", "a", "1", wait="majority", holders=("n1",))
    record = record_of(alone, write("p/1", "a", "1"))
    check_writes(record, {}, {}, lossy=True)
    assert record.violation == ""
    record = record_of(write("w/1", "a", "1", wait="all", holders=("n1", "n2", "n3")))
    check_writes(record, {}, {}, lossy=True)
    assert list(record.faults) == ["lost though a majority held it"]


def test_nodes_that_differ_are_found() -> None:
    record = Record()
    compare(record, {"n1": {"a": "1"}, "n2": {"a": "1"}})
    assert record.violation == ""
    compare(record, {"n1": {"a": "1"}, "n2": {"a": "1", "b": "2"}})
    assert list(record.faults) == ["nodes differ"]


def test_a_write_that_is_late_at_the_last_member_is_found() -> None:
    arrivals = Arrivals()
    arrivals.sent_s = {"1": 0.0, "2": 10.0}
    arrivals.arrived_s = {"1": {"n1": 0.1, "n2": 0.2}, "2": {"n1": 10.1, "n2": 10.9}}
    assert arrivals.judge(2)[0] == ["1 of 2 writes reach the last member later than 0.5 s"]
    assert "2 of 2 writes are not on all" in arrivals.judge(3)[0][0]
    arrivals.lags = [(10.2, 10.7)]
    assert arrivals.judge(2)[0] == ["harness: this machine was too busy to see 1 of 2 writes"]
    arrivals.lags = [(10.2, 10.5)]
    assert arrivals.judge(2)[0] == ["1 of 2 writes reach the last member later than 0.5 s"]


def test_a_resync_that_takes_keys_from_a_watcher_is_noted(tmp_path: Path) -> None:
    record = Record()
    watch = Watch(Agent(LoNet(1), 1, tmp_path), record)
    for kind, key in (("resync", ""), ("put", "p/1"), ("put", "p/2"), ("synced", "")):
        watch.hear(kind, {"key": key, "version": "1"})
    watch.hear("delete", {"key": "p/2"})
    assert watch.table == {"p/1": "1"}
    assert [each.lost for each in watch.resyncs] == [0]
    watch.hear("resync", {})
    watch.hear("synced", {})
    assert (watch.table, watch.resyncs[-1].lost) == ({}, 1)
    assert record.notes["resync took"] == 1


def test_a_404_for_what_others_have_and_an_old_value_without_a_word_are_found(
    tmp_path: Path,
) -> None:
    reader, violations = Reader(Agent(LoNet(1), 1, tmp_path)), Violations()
    reader.take(Answer(503, {}, b""), "new", False)
    reader.take(Answer(200, {"kv-stale": "true"}, b"old"), "new", False)
    assert reader.take(Answer(200, {}, b"new"), "new", True)
    reader.judge(violations, reachable=True)
    assert violations == []
    reader.take(Answer(404, {"kv-stale": "true"}, b""), "new", False)
    reader.judge(violations, reachable=False)
    assert violations == []
    reader.judge(violations, reachable=True)
    assert len(violations) == 1
    reader.take(Answer(404, {}, b""), "new", True)
    reader.take(Answer(200, {}, b"old"), "new", True)
    found = Violations()
    reader.judge(found, reachable=False)
    assert len(found) == 2


# -- the router ----------------------------------------------------------------------------------


def packet(protocol: int, transport: bytes, payload: bytes) -> bytes:
    header = bytearray(20)
    header[0], header[9] = 0x45, protocol
    return bytes(header) + transport + payload


def checksum(octets: bytes) -> int:
    """The sum of the 16-bit words as IP, UDP and TCP make it."""
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize(
    ("protocol", "transport"), [(17, bytes(8)), (6, bytes(12) + b"\x80" + bytes(19))]
)
def test_a_swap_changes_the_payload_and_no_checksum(protocol: int, transport: bytes) -> None:
    before = packet(protocol, transport, bytes(range(200)))
    after = swapped(before, Random(1))
    assert after != before
    assert after[: 20 + len(transport)] == before[: 20 + len(transport)]
    assert checksum(after) == checksum(before)


def test_a_flip_changes_the_checksum() -> None:
    before = packet(17, bytes(8), bytes(200))
    assert checksum(flipped(before, Random(1))) != checksum(before)


def test_a_healed_way_carries_everything() -> None:
    way = Way(loss=1.0, delay_s=3.0, hole_bytes=100)
    way.heal()
    assert way == Way()


# -- scenarios and the suite ---------------------------------------------------------------------


@pytest.mark.parametrize("line", [*suite.SHORT, *suite.FULL])
def test_the_lists_name_scenarios_and_options_that_there_are(line: str) -> None:
    assert suite.Run(line).time_limit_s > 0


def test_every_scenario_is_in_the_full_list_and_says_what_it_does() -> None:
    assert {suite.Run(line).scenario.name for line in suite.FULL} == set(SCENARIOS)
    assert [each.name for each in SCENARIOS.values() if not each.summary] == []


def test_options_are_read_as_what_they_are() -> None:
    scenario = SCENARIOS["jepsen"]
    words = ["seconds=5", "data=0", "kinds=kills", "seed=7"]
    assert scenario.options(words) == {"seconds": 5.0, "data": False, "kinds": "kills", "seed": 7}
    for wrong in ("speed=1", "seed=fast", "data=maybe", "seed"):
        with pytest.raises(OptionError):
            scenario.options([wrong])


def test_what_is_broken_is_said_in_words() -> None:
    violations = Violations()
    violations.unless(True, "never")
    assert violations.result(count=1) == {"count": 1, "violation": ""}
    violations.unless(False, "one")
    violations.unless(False, "two")
    assert violations.result()["violation"] == "one; two"


def test_the_command_lists_explains_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "clock_glitch_pair" in capsys.readouterr().out
    assert main(["clone", "--help"]) == 0
    assert "pause_s=0.0" in capsys.readouterr().out
    assert main(["no-such"]) == 2
    assert main(["clone", "speed=1"]) == 2


def test_a_line_of_the_suite_says_why() -> None:
    assert suite.outcome(0, "{\n}") == ("ok", "")
    assert suite.outcome(77, "skipped: no root") == ("skipped", "no root")
    result = '{"violation": "lost", "file": "x.json"}'
    assert suite.outcome(1, result) == ("VIOLATION", "lost (x.json)")
    assert suite.outcome(1, "Traceback\nKeyError")[0] == "VIOLATION"
