"""PartitionWatch: most of the members gone at once is a suspected partition, few of them or one
after the other is not."""

from __future__ import annotations

from kvgossip.config import Config
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.model.member import MemberState
from tests.protocol.net import Network, logs, member

ALIVE, SUSPECT, DEAD, LEFT = MemberState
CONFIG = Config()
# of the LAN profile, for fewer than ten members
WINDOW_S = 24.0


class Losing:
    """A node among `others`, and its warnings when they go and come."""

    def __init__(self, others: str) -> None:
        self.watch = PartitionWatch(CONFIG)
        self.stretch = 1
        self._alive = dict.fromkeys(others)

    def becomes(self, name: str, state: MemberState, now_s: float = 0.0) -> str | None:
        old = member(name, state=ALIVE if name in self._alive else DEAD)
        if state is ALIVE:
            self._alive[name] = None
        else:
            self._alive.pop(name, None)
        return self.watch.changed(
            old, member(name, state=state), 1 + len(self._alive), self.stretch, now_s
        )


def test_losing_more_than_half_inside_one_suspicion_timeout_is_a_suspected_partition() -> None:
    side = Losing("bcde")
    assert side.becomes("b", DEAD, 1.0) is None
    assert side.becomes("c", DEAD, 2.0) is None
    text = side.becomes("d", DEAD, 1.0 + WINDOW_S)
    assert text is not None
    assert "lost 3 of 5 members" in text
    assert (side.watch.since_s, side.watch.lost, side.watch.count) == (
        1.0 + WINDOW_S,
        ["b", "c", "d"],
        1,
    )
    # said once, also when more go
    assert side.becomes("e", DEAD, 60.0) is None
    assert side.watch.lost == ["b", "c", "d", "e"]


def test_half_is_not_more_than_half_and_a_pair_that_loses_one_suspects_nothing() -> None:
    assert Losing("b").becomes("b", DEAD) is None
    side = Losing("bcd")
    assert [side.becomes(name, DEAD) for name in "bc"] == [None, None]
    assert side.watch.lost == []


def test_members_that_die_one_after_the_other_are_no_partition() -> None:
    side = Losing("bcde")
    for number, name in enumerate("bcde"):
        assert side.becomes(name, DEAD, number * (WINDOW_S + 1)) is None


def test_a_node_that_doubts_itself_probes_more_slowly_and_looks_back_as_much_longer() -> None:
    side = Losing("bcde")
    side.stretch = 9
    assert [
        side.becomes(name, DEAD, number * 2 * WINDOW_S) for number, name in enumerate("bc")
    ] == [None, None]
    assert side.becomes("d", DEAD, 4 * WINDOW_S) is not None


def test_members_that_leave_are_no_partition() -> None:
    side = Losing("bcde")
    assert [side.becomes(name, LEFT) for name in "bcde"] == [None] * 4


def test_a_suspected_partition_ends_when_the_missing_are_no_majority_and_may_come_again() -> None:
    side = Losing("bcde")
    for name in "bcd":
        side.becomes(name, DEAD)
    text = side.becomes("b", ALIVE, 600.0)
    assert text is not None
    assert "is over" in text
    assert (side.watch.since_s, side.watch.lost) == (None, [])
    assert side.becomes("b", DEAD, 700.0) is None
    assert side.becomes("e", DEAD, 701.0) is not None
    assert side.watch.count == 2


def test_the_missing_that_are_forgotten_or_forced_to_leave_are_not_missed_any_more() -> None:
    side = Losing("bcde")
    for name in "bcd":
        side.becomes(name, DEAD)
    side.becomes("b", LEFT)
    assert side.watch.since_s is None


def test_a_side_of_a_cut_that_lost_the_majority_reports_it_and_says_when_it_is_over() -> None:
    net = Network()
    net.cluster("a b c d e")
    net.partition("a b", "c d e")
    net.until(lambda: net.replicas["a"].pools.lan.partition.lost == ["c", "d", "e"])
    net.until(lambda: net.sees("c", "d", "e"))
    assert net.replicas["c"].pools.lan.partition.since_s is None
    assert net.replicas["a"].statistics()["partitions_suspected"] == 1
    net.run(300.0)
    assert sum("a partition is suspected" in text for text in logs(net.effects["a"])) == 1
    net.heal()
    net.until(lambda: net.sees("a", "b", "c", "d", "e"))
    assert net.replicas["a"].pools.lan.partition.since_s is None
    assert any("the suspected partition is over" in text for text in logs(net.effects["a"]))
