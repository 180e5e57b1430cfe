"""What is too long for a member is left out, named and counted, and everything else reaches it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvgossip.config import Config
from kvgossip.protocol.anti_entropy.left_out import LeftOut
from kvgossip.protocol.doctor.diagnosis import diagnose
from kvgossip.protocol.effect import Examined, Log
from kvgossip.protocol.model.entry import value_in
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.causal_context import CausalContext
from kvgossip.protocol.wire.frame import entry_bytes_max, frame_bytes_max
from kvgossip.protocol.wire.message import Notice
from tests.protocol.net import Disk, Network, address_of, at, logs

LARGE = 4 * 2**20
SMALL = 2**20
BIG = bytes(range(256)) * (3 * 2**20 // 256)
SEED = str(address_of(0))


def two_limits() -> Network:
    """Of a, b and c, the last one takes less; it comes when the others have everything."""
    net = Network()
    net.cluster("a b", value_bytes_max=LARGE)
    for number in range(300):
        net.put("a", f"p/{number}", b"x" * 100)
    net.put("a", "big", BIG)
    net.run(5.0)
    net.disks["c"] = Disk()
    net.add("c", 2, join=(SEED,), value_bytes_max=SMALL)
    return net


def test_lesson_07_a_value_over_a_members_limit_is_left_out_and_the_member_settles_with_the_rest() -> (
    None
):
    net = two_limits()
    net.until(lambda: net.replicas["c"].settled, seconds=10.0)
    net.run(10.0)
    c = net.replicas["c"]
    assert c.statistics()["keys"] == 300
    assert c.statistics()["entries_left_out"] == 1
    (warning,) = [text for text in logs(net.effects["c"]) if "left out" in text]
    assert "'big', 3,145,7" in warning
    assert "value_bytes_max is 1,048,576" in warning
    assert all(
        replica.statistics()["exchanges_cut"] == replica.statistics()["exchanges_futile"] == 0
        for replica in net.replicas.values()
    )


def test_any_number_of_entries_that_are_left_out_are_one_line_a_minute_with_their_count() -> None:
    outbox, store = Outbox(), Store(DigestTree(2, 7))
    left_out = LeftOut(Config(), store, CausalContext(7), outbox)
    for number in range(1200):
        left_out.heard([Notice(f"k{number}", 5, 1, SMALL)], "b", at(number // 10))
    lines = [effect.text for effect in outbox.drain() if isinstance(effect, Log)]
    assert len(lines) == 2
    assert "'k0', 1,048,576 bytes" in lines[0]
    assert "599 others" in lines[1]
    assert len(left_out.keys) == 1024


def test_the_doctor_finds_who_lacks_what_is_too_long_for_it() -> None:
    net = two_limits()
    net.run(15.0)
    net.perform("a", net.replicas["a"].examine(net.now("a")))
    net.run(5.0)
    (examined,) = [effect for effect in net.effects["a"] if isinstance(effect, Examined)]
    (finding,) = [each for each in diagnose(examined.report) if each.code == "left_out"]
    assert finding.members == ("c",)
    assert "such as 'big'" in finding.text


@pytest.mark.parametrize("written", ["before", "after"])
def test_lesson_07_what_was_left_out_comes_when_the_limit_is_raised_and_is_not_taken_for_collected(
    written: str,
) -> None:
    net = two_limits()
    net.run(15.0)
    if written == "after":
        net.put("b", "big", BIG + b"2")
    for number in range(50):
        net.delete("a", f"p/{number}")
    net.run(60.0)
    net.add("c", 2, join=(SEED,), value_bytes_max=LARGE)
    net.until(net.converged)
    expected = BIG if written == "before" else BIG + b"2"
    for replica in net.replicas.values():
        held = replica.store.record("big")
        assert held is not None
        assert value_in(held) == expected
    assert net.replicas["c"].statistics()["entries_left_out"] == 0


def test_a_delete_of_what_was_left_out_reaches_the_member() -> None:
    net = two_limits()
    net.run(15.0)
    net.delete("b", "big")
    net.until(lambda: net.replicas["c"].statistics()["entries_left_out"] == 0, seconds=10.0)
    net.until(net.converged, seconds=30.0)


def limits() -> Iterator[Config]:
    for value_bytes_max in (1, 2**10, 2**20, 64 * 2**20):
        for message_bytes_max in (128 * 1024, 256 * 1024, 16 * 2**20):
            yield Config(value_bytes_max=value_bytes_max, message_bytes_max=message_bytes_max)


@pytest.mark.parametrize("config", [*limits()], ids=range(12))
def test_nothing_that_a_member_may_write_itself_is_too_long_for_it(config: Config) -> None:
    key_and_head = 4 * 1024 + 4096 + 64
    assert config.value_bytes_max + key_and_head <= entry_bytes_max(frame_bytes_max(config))
