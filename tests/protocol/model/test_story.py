"""Stories of keys: what is kept, for how long, how much of it; and that it fits what happened."""

from __future__ import annotations

import pytest
from msgspec import msgpack

from kvgossip.protocol.anti_entropy.survey import Topic
from kvgossip.protocol.effect import StoryReported
from kvgossip.protocol.merging import BACKUP, CLIENT, Origin, Spread
from kvgossip.protocol.model.entry import HEAD_BYTES, make_record
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.story import (
    EVENTS_MAX,
    STEPS_MAX,
    STORY,
    Forgotten,
    Step,
    Story,
    Watch,
)
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.story_messages import AskStory
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import (
    LAN,
    STRANGER,
    Disk,
    Network,
    at,
    make_replica,
    record,
    told,
    version,
)

ALL = Watch("", for_s=60)


def story_of(watch: Watch = ALL) -> Story:
    story = Story(None, at())
    story.order(watch, at())
    return story


def wrote(story: Story, key: str, seconds: float = 0.0) -> None:
    origin = CLIENT
    story.heard(key, record(b"v"), at(seconds), origin.peer, by_exchange=False, shows=True)


def happened(story: Story, key: str) -> list[tuple[str, str]]:
    return [(step.what, step.peer) for step in story.of(key)]


def test_off_it_keeps_nothing_and_the_order_ends_by_itself() -> None:
    story = Story(None, at())
    assert (story.on, story.watch(at()), story.covers("k")) == (False, None, False)
    story.order(ALL, at())
    wrote(story, "k", 59.0)
    assert (story.on, story.watch(at(59.0))) == (True, Watch("", for_s=1))
    wrote(story, "k", 60.0)
    assert (story.on, story.watch(at(60.0)), len(story.of("k"))) == (False, None, 1)
    assert story.until_ms(at(99.0)) == at(60.0).wall_ms
    again = story_of()
    again.forgot([], at(60.0))
    assert not again.on
    story.order(Watch(), at(100.0))
    assert (story.on, story.of("k"), story.covers("k")) == (False, [], False)


def test_an_order_that_is_repeated_goes_on_and_another_one_begins_anew() -> None:
    story = story_of(Watch("a/", for_s=60))
    wrote(story, "a/k")
    story.order(Watch("a/", for_s=60), at(30.0))
    assert len(story.of("a/k")) == 1
    assert story.since_ms == at().wall_ms
    story.order(Watch("b/", for_s=60), at(31.0))
    assert (len(story), story.since_ms) == (0, at(31.0).wall_ms)
    # what came after the end of an order, and before it was given again, is missing
    story.order(Watch("b/", for_s=60), at(99.0))
    assert story.since_ms == at(99.0).wall_ms


def test_only_keys_under_the_prefix_are_kept_and_of_a_share_the_same_ones_everywhere() -> None:
    keys = [f"a/{number}" for number in range(2000)]
    stories = [story_of(Watch("a/", share=0.1, for_s=60)) for _ in range(2)]
    for story in stories:
        for key in [*keys, "b"]:
            wrote(story, key)
    one, other = ({key for key in keys if story.of(key)} for story in stories)
    assert one == other
    assert 100 < len(one) < 300
    assert all(stories[0].covers(key) == (key in one) for key in keys)
    assert not stories[0].of("b")


def test_it_is_bounded_and_says_from_when_on_nothing_is_missing() -> None:
    story = story_of()
    for number in range(EVENTS_MAX + 10):
        wrote(story, f"k{number % 2}", number / 1000)
    assert len(story) == EVENTS_MAX
    assert story.since_ms == at(0.009).wall_ms
    steps = story.of("k0")
    assert len(steps) == STEPS_MAX
    assert steps[-1].at_ms == at((EVENTS_MAX + 8) / 1000).wall_ms


def test_each_origin_has_its_word() -> None:
    story = story_of()
    wan = Peer(PoolKind.WAN, "g")
    for origin in (
        CLIENT,
        BACKUP,
        Origin(wan, Spread.NOW),
        Origin(wan, Spread.NONE),
        Origin(Peer(PoolKind.LAN, ""), Spread.NEXT_ROUND, shows=False),
    ):
        peer, spread, shows = origin
        by_exchange = spread is Spread.NONE
        story.heard("k", record(b"v"), at(), peer, by_exchange=by_exchange, shows=shows)
    gone = [Forgotten("expired", "k", record(b"v")), Forgotten("quarantined", "k", b"\0" * 17, "p")]
    story.forgot(gone, at(1.0))
    assert happened(story, "k") == [
        ("write", ""),
        ("import", ""),
        ("rumor", "g"),
        ("exchange", "g"),
        ("rumor", ""),
        ("expired", ""),
        ("quarantined", "p"),
    ]
    assert [step.pool for step in story.of("k")[2:4]] == ["wan", "wan"]


def test_a_later_life_on_the_same_disk_goes_on_with_it_and_says_what_the_disk_had() -> None:
    net = Network()
    net.disks["a"] = Disk()
    a = net.add("a")
    net.perform("a", a.survey(1, net.now("a"), Topic.STORY, Watch("k", for_s=60)))
    net.put("a", "k1", b"v")
    net.put("a", "other", b"v")
    net.crash("a")
    net.run(20.0)
    a = net.add("a", 0)
    assert happened(a.story, "k1") == [("disk", "")]
    assert a.story.of("other") == []
    assert a.story.watch(net.now("a")) == Watch("k", for_s=40)
    net.crash("a")
    net.run(41.0)
    a = net.add("a", 0)
    assert (a.story.on, a.story.of("k1"), a.story.covers("k1")) == (False, [], False)
    net.perform("a", a.survey(1, net.now("a"), Topic.STORY, Watch()))
    assert STORY not in net.disks["a"].facts


def stories(net: Network, name: str, subject: str | Watch) -> dict[str, StoryReported]:
    first = len(net.effects[name])
    net.perform(name, net.replicas[name].survey(1, net.now(name), Topic.STORY, subject))
    net.run(0.5)
    net.perform(name, net.replicas[name].cancel(1, net.now(name)))
    found = [each for each in net.effects[name][first:] if isinstance(each, StoryReported)]
    return {each.peer.name: each for each in found}


def test_an_order_reaches_all_members_and_one_node_hears_the_story_of_all() -> None:
    net = Network()
    net.skew_ms = {"c": 250}
    net.cluster("a b c")
    watch = Watch("k", for_s=600)
    assert [each.story.watch for each in stories(net, "a", watch).values()] == [watch, watch]
    net.put("b", "k", b"v")
    net.run(1.0)
    net.delete("b", "k")
    net.run(1.0)
    found = stories(net, "a", "k")
    written = net.replicas["b"].store["k"][1:HEAD_BYTES]
    for name in ("b", "c"):
        story = found[name].story
        assert (story.covers, story.holds, story.deleted) == (True, written, True)
        assert [step.deleted for step in story.steps] == [False, True]
    assert [step.what for step in found["b"].story.steps] == ["write", "write"]
    (first, _), (at_c, _) = found["b"].story.steps, found["c"].story.steps
    assert (at_c.what, at_c.peer in ("a", "b"), at_c.pool) == ("rumor", True, "lan")
    assert 250 <= at_c.at_ms - first.at_ms < 300
    assert happened(net.replicas["a"].story, "k")[0] == ("rumor", "b")
    assert stories(net, "a", "other")["b"].story.covers is False


def test_what_expires_and_is_collected_is_in_the_story() -> None:
    a = make_replica(found=True)
    a.tick(at())
    a.survey(1, at(), Topic.STORY, Watch("", for_s=3600))
    a.put("k", b"v", at(), ttl_s=1.0)
    for second in range(1, 300):
        a.tick(at(float(second)))
    assert [step.what for step in a.story.of("k")] == ["write", "expired", "collected"]


def asked(replica: Replica, message: AskStory) -> list[object]:
    effects = replica.receive(LAN.frame([encode(message)]), STRANGER, at(), reliable=True)
    return [answer for _, answer in told(LAN, effects)]


@pytest.mark.parametrize("watch", [None, Watch("", for_s=60)])
def test_a_stranger_hears_nothing_and_orders_nothing(watch: Watch | None) -> None:
    a = make_replica(found=True)
    a.tick(at())
    assert asked(a, AskStory(1, "nobody", "k", watch)) == []
    assert not a.story.on


def test_a_step_keeps_its_words_and_unknown_ones_of_newer_releases() -> None:
    step = Step(at().wall_ms, "dreamt", make_record(version(), b"v")[1:HEAD_BYTES], peer="b")
    assert msgpack.decode(msgpack.encode(step), type=Step) == step
