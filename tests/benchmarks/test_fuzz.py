"""A share of the fuzzer on every run: hostile frames and requests break no law; and each law is
shown to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from benchmarks import fuzz, seal
from benchmarks.fuzzing import answers, exchanges, frames, servers, victim
from benchmarks.fuzzing.outcome import Outcome
from kvgossip.api.keys import Keys
from kvgossip.protocol.anti_entropy.responder import Responder
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.wire.frame import UNITS_AT, Framing

FRAMES, BATCH = 9_000, 1_500
LIES, REQUESTS = 2_000, 1_500
SAID_IN_EXCHANGES = (
    "Sketch", "Decoded", "Symbols", "Want", "Entries", "Compare", "Differ", "Leaves", "Push",
    "Merged", "Conclude", "Concluded",
)  # fmt: skip


def fuzzed(names: Iterable[str], inputs: int, seed: int = 1) -> dict[str, Outcome]:
    """Of each of these receivers."""
    trials = [
        trial
        for place, name in enumerate(names)
        for trial in [lambda name=name, place=place: fuzz.run_batch(name, seed, place, inputs)]
    ]
    found = fuzz.fuzz(trials, 1, lambda outcome: None)
    assert [failure for each in found for failure in each.failures] == []
    assert fuzz.report(found).broken == []
    return {each.receiver: each for each in found}


def test_hostile_frames_break_no_law_and_change_nothing_without_the_key() -> None:
    found = fuzzed(frames.RECEIVERS * (FRAMES // BATCH // 3), BATCH)
    assert {name: each.inputs for name, each in found.items()} == dict.fromkeys(
        frames.RECEIVERS, FRAMES // 3
    )
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
        assert found["stranger"].counts[reason] > 0
    for receiver in ("open", "member"):
        for reason in ("bad_message", "truncated", "unknown_kind", "unexpected_question"):
            assert found[receiver].counts[reason] > 0


def test_lies_at_any_moment_of_an_exchange_break_no_law() -> None:
    for outcome in fuzzed(exchanges.RECEIVERS, LIES).values():
        assert outcome.counts["exchanges_completed"] > 0
        for name in SAID_IN_EXCHANGES:
            assert outcome.counts[name] > 0, name


def test_whatever_arrives_http_answers_and_both_lanes_alike() -> None:
    found = fuzzed(servers.RECEIVERS, REQUESTS)
    for status in ("200", "400", "404", "405", "412", "413", "431"):
        assert found["http-open"].counts[status] > 0, status
    for status, name in (("501", "http-open"), ("401", "http-tokens"), ("403", "http-tokens")):
        assert found[name].counts[status] > 0, status


@pytest.mark.parametrize("name", ["open", "exchange-sealed"])
def test_a_batch_is_the_same_inputs_every_time(name: str) -> None:
    one, other = (fuzz.run_batch(name, 7, 0, 300) for _ in range(2))
    assert (one.counts, one.failures) == (other.counts, [])


# -- each law is looked at -------------------------------------------------------------------------

Receive = Callable[..., list[Effect]]


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Replica, bytes], object]) -> None:
    """From now on each replica does this before it takes a frame."""
    receive: Receive = Replica.receive

    def spoiling(replica: Replica, data: bytes, *arguments: object, **named: object) -> object:
        spoil(replica, data)
        return receive(replica, data, *arguments, **named)

    monkeypatch.setattr(Replica, "receive", spoiling)


def failure_of(name: str, inputs: int = 600) -> str:
    (failure,) = fuzz.run_batch(name, 2, 0, inputs).failures
    return failure.text


def test_the_fuzzer_sees_a_replica_that_raises_and_writes_down_what_repeats_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble(replica: Replica, data: bytes) -> None:
        if sum(data) % 97 == 0:
            raise KeyError("stumbled")

    spoiled(monkeypatch, stumble)
    for name in ("member", "exchange-open"):
        assert failure_of(name) == "KeyError: 'stumbled'"
    command = "python -m benchmarks.fuzz --seed 2 --batch 600 --again member:0"
    told = fuzz.Teller(600, tmp_path, "python -m benchmarks.fuzz --seed 2")
    found = fuzz.fuzz([lambda: fuzz.run_batch("member", 2, 0, 600)], 1, told)
    assert fuzz.report(found).broken
    written = (tmp_path / "member-0.txt").read_text()
    assert command in capsys.readouterr().err
    assert command in written
    assert found[0].failures[0].data.hex() in written


def test_the_fuzzer_sees_a_door_that_takes_what_is_not_sealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Framing, "_unsealed", lambda framing, data, reliable, replays: memoryview(data)[UNITS_AT:]
    )
    failure = failure_of("stranger", 2000)
    assert "a stranger has changed the state" in failure or "an effect for a stranger" in failure


def test_the_fuzzer_sees_a_law_of_the_replica_that_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def set_back(replica: Replica, data: bytes) -> None:
        replica.hlc.latest -= 1

    spoiled(monkeypatch, set_back)
    assert "the HLC went back" in failure_of("open")


def test_the_fuzzer_sees_an_input_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def toil(replica: Replica, data: bytes) -> None:
        for number in range(victim.STEPS_MAX):
            divmod(number, 7)

    spoiled(monkeypatch, toil)
    assert "steps" in failure_of("exchange-open", 50)


def test_the_fuzzer_sees_memory_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(victim, "HELD_BYTES_MAX", 4 * 2**20)

    def hoard(replica: Replica, data: bytes) -> None:
        # no limit is asked
        replica.batches._kept[str(len(replica.batches._kept))] = ((data.hex(), bytes(100_000)),)

    monkeypatch.setattr(Batches, "age", lambda batches, now: None)
    assert fuzz.run_batch("member", 2, 0, 300).failures == []
    spoiled(monkeypatch, hoard)
    assert "bytes are held beside the data" in failure_of("member")


def test_the_fuzzer_sees_an_exchange_that_never_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(victim, "PATIENCE_S", 20.0)
    monkeypatch.setattr(Responder, "on_question", lambda *arguments: None)
    assert "an honest newcomer does not come to the same data" in failure_of("open", 50)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda keys, *arguments, **options: 1 / 0, "an answer with 500"),
        (
            lambda keys, *arguments, **options: keys._answers.json(200, {}),
            "the lanes answer differently",
        ),
    ],
)
def test_the_fuzzer_sees_what_http_may_not_do(
    spoil: Callable[..., object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, express = Keys.get, [True]

    def spoiling(keys: Keys, *arguments: object, **options: object) -> object:
        # one lane alone: each calls it in turn
        express[0] = not express[0]
        answering: Callable[..., object] = get if express[0] else spoil
        return answering(keys, *arguments, **options)

    monkeypatch.setattr(Keys, "get", spoiling)
    text = failure_of("http-open")
    assert words in text or "the lanes answer differently" in text


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/2",
        b"garbage",
    ],
)
def test_what_is_no_answer_is_told_from_answers(data: bytes) -> None:
    with pytest.raises(answers.NotAnAnswerError):
        answers.split(data)


def test_answers_are_told_apart_whatever_they_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    found = answers.split(head + head + b"abc" + chunked + interim + head)
    assert [each.body for each in found] == [b"", b"abc", b"ab", b"", b""]
    known = answers.whole(interim + head + head + b"abc", ["HEAD", "GET", "GET"])
    assert [each.body for each in known] == [b"", b"abc"]


def test_what_sealing_costs_is_measured() -> None:
    rows = seal.measure(rounds=1, seconds=0.01)
    assert [row["frame"] for row in rows] == list(seal.loads())
    assert all(row["plain_per_s"] > 0 and row["sealed_per_s"] > 0 for row in rows)
