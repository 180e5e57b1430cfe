"""A share of the fuzzer on every run: hostile frames raise nothing, and change nothing where the
attacker has no key."""

from __future__ import annotations

import pytest

from benchmarks import fuzz, seal
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.frame import UNITS_AT, Framing

FRAMES, BATCH = 12_000, 2_000


def test_hostile_frames_raise_nothing_and_change_nothing_without_the_key() -> None:
    found = fuzz.fuzz(FRAMES, seed=1, jobs=1, batch_frames=BATCH)
    assert fuzz.report(found).broken == []
    assert [(each.receiver, each.frames) for each in found] == [
        (name, FRAMES // 3) for name in fuzz.RECEIVERS
    ]
    assert [each.failures for each in found] == [[]] * 3
    dropped = {each.receiver: each.dropped for each in found}
    for reason in (
        "unknown_key",
        "unsealed",
        "replayed",
        "bad_seal",
        "bad_magic",
        "bad_checksum",
        "other_cluster",
        "other_pool",
        "unknown_format",
    ):
        assert dropped["stranger"][f"frames_dropped.{reason}"] > 0
    for receiver in ("open", "member"):
        for reason in ("bad_message", "truncated", "unknown_kind", "unexpected_question"):
            assert dropped[receiver][f"units_dropped.{reason}"] > 0


def test_a_batch_is_the_same_frames_every_time() -> None:
    one, other = (fuzz.run_batch(7, 0, 300) for _ in range(2))
    assert one.dropped == other.dropped
    frames = [fuzz.Attack("open", 7, 0).frame(False) for _ in range(2)]
    assert frames[0] == frames[1]


def test_the_fuzzer_sees_a_replica_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Replica.receive

    def stumbling(replica: Replica, data: bytes, *arguments: object, **named: object) -> object:
        if sum(data) % 97 == 0:
            raise KeyError("stumbled")
        return receive(replica, data, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Replica, "receive", stumbling)
    found = fuzz.run_batch(2, 0, 500)
    assert {failure for _, failure, _ in found.failures} == {"KeyError: 'stumbled'"}


def test_the_fuzzer_sees_a_door_that_takes_what_is_not_sealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Framing, "_unsealed", lambda framing, data, reliable, replays: memoryview(data)[UNITS_AT:]
    )
    found = fuzz.run_batch(1, fuzz.RECEIVERS.index("stranger"), 2000)
    assert any(
        "the state has changed" in failure or "an effect for a stranger" in failure
        for _, failure, _ in found.failures
    )


def test_what_sealing_costs_is_measured() -> None:
    rows = seal.measure(rounds=1, seconds=0.01)
    assert [row["frame"] for row in rows] == list(seal.loads())
    assert all(row["plain_per_s"] > 0 and row["sealed_per_s"] > 0 for row in rows)
