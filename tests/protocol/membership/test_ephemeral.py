"""Members that come and go: the names of the gone cost nothing for long, and keep nobody out."""

from __future__ import annotations

from typing import Any

import pytest

from kvgossip.protocol.model.member import FORGET_S_MAX, MemberState
from kvgossip.protocol.pools.shared import EPHEMERAL_S
from kvgossip.protocol.wire.unit import encode
from tests.protocol.membership.workers import come_and_go, write_cost
from tests.protocol.net import (
    LAN,
    STRANGER,
    WALL_MS,
    Disk,
    Network,
    address_of,
    at,
    logs,
    make_replica,
    member,
    prove,
)

SEED = str(address_of(0))
DEAD = MemberState.DEAD


@pytest.mark.parametrize(
    ("config", "forget_s"),
    [
        ({}, 72 * 3600),
        ({"forget_after_s": 90.5}, 91),
        ({"forget_after_s": 366 * 86400}, FORGET_S_MAX),
        ({"ephemeral": True}, EPHEMERAL_S),
        ({"ephemeral": True, "forget_after_s": 10}, 10),
    ],
)
def test_a_members_record_says_how_long_it_wants_to_be_remembered(
    config: dict[str, Any], forget_s: int
) -> None:
    assert make_replica("a", **config).member.forget_s == forget_s


def waiting(net: Network) -> list[float]:
    return [net.replicas[name].statistics()["certificates_waiting"] for name in "ab"]


def test_a_minute_after_the_death_of_a_worker_a_write_costs_as_before_and_no_tombstone_waits() -> (
    None
):
    net = Network()
    net.cluster("a b")
    before = write_cost(net)
    net.add("w", 2, join=(SEED,), ephemeral=True)
    net.until(lambda: net.sees("a", "b", "w") and net.sees("b", "a", "w"))
    net.put("a", "k", b"v")
    net.run(5.0)
    net.crash("w")
    net.delete("a", "k")
    net.run(60.0)
    assert waiting(net) == [0, 0]
    assert net.state("a", "w") is net.state("b", "w") is None
    assert write_cost(net) == before


def test_a_write_is_forwarded_for_a_dead_member_for_a_bounded_time_only() -> None:
    net = Network()
    net.cluster("a b c d")
    net.crash("d")
    net.until(lambda: all(net.state(name, "d") is DEAD for name in "abc"))
    during = write_cost(net)
    net.run(35.0)
    assert net.state("a", "d") is DEAD
    assert write_cost(net) == 2 < during


@pytest.mark.parametrize("ephemeral", [True, False])
def test_lesson_29_workers_that_come_and_go_for_ever_are_all_taken_in(ephemeral: bool) -> None:
    found = come_and_go(40, ephemeral=ephemeral, members_max=24 if ephemeral else 12)
    assert (found.refused, found.unsettled) == (0, 0)
    assert found.members <= (24 if ephemeral else 12)
    if ephemeral:
        assert found.waiting == 0
        assert found.write_cost[0] == found.write_cost[1]


def test_names_beyond_members_max_are_refused_with_a_warning_once_a_minute() -> None:
    replica = make_replica("a", members_max=3)
    texts: list[str] = []
    for number in range(6):
        news = LAN.frame([encode(member(f"n{number}", number + 1))])
        texts += logs(replica.receive(news, STRANGER, at(number)))
        if f"n{number}" in replica.pools.lan.membership.members:
            prove(replica, f"n{number}")
    (warning,) = [text for text in texts if "members_max" in text]
    assert "beyond the 3 names" in warning


def test_a_worker_that_was_forgotten_while_it_was_cut_off_is_asked_for_its_record() -> None:
    net = Network()
    net.cluster("a b", push_pull_interval_s=3600.0)
    net.add("w", 2, join=(SEED,), ephemeral=True, push_pull_interval_s=3600.0, join_retry_s=600.0)
    net.until(lambda: net.sees("a", "b", "w") and net.sees("b", "a", "w"))
    net.partition("a b", "w")
    net.until(lambda: net.state("a", "w") is net.state("b", "w") is None)
    net.heal()
    net.until(lambda: net.sees("a", "b", "w") and net.sees("b", "a", "w"), seconds=10.0)


def test_a_generation_that_lies_years_ahead_is_refused_in_words_and_not_carried_on() -> None:
    net = Network()
    net.cluster("a b")
    years_ms = 11 * 366 * 86_400_000
    net.skew_ms["c"] = years_ms
    net.disks["c"] = Disk()
    net.add("c", 2, join=(SEED,))
    net.run(5.0)
    assert net.state("a", "c") is None
    assert any("years from now: set the clock" in text for text in logs(net.effects["c"]))
    net.skew_ms["c"] = 0
    back = net.add("c", 2, join=(SEED,))
    assert any("is not carried on" in text for text in logs(net.effects["c"]))
    assert back.member.generation < WALL_MS + years_ms
    net.until(lambda: net.sees("a", "b", "c") and net.sees("c", "a", "b"), seconds=10.0)
