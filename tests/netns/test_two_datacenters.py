"""Two datacenters of three real agents each, in network namespaces, with 80 ms and 1 % loss each
way between them.

Needs root, `ip` and /dev/net/tun, and is skipped without; KVGOSSIP_REQUIRE_NETNS=1 makes that a
failure. `pytest -m netns -s` prints how long each step took.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import Agent, World, eventually, missing

pytestmark = pytest.mark.netns

DELAY_S = 0.08
GATEWAYS = ["paris1", "paris2", "tokyo1", "tokyo2"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    why = missing()
    if why:
        (pytest.fail if os.environ.get("KVGOSSIP_REQUIRE_NETNS") == "1" else pytest.skip)(why)
    log = tmp_path / "agents.log"
    try:
        with World(("paris", "tokyo"), log, delay_s=DELAY_S, loss=0.01) as world:
            yield world
    finally:
        # shown by pytest when the test has failed
        print(log.read_text() if log.exists() else "no agent was started")


def test_two_datacenters_far_apart_share_writes_lose_gateways_and_heal(world: World) -> None:
    paris, tokyo = start(world)
    writes_cross(paris, tokyo)
    gateways_fail_over(world, paris, tokyo)
    a_cut_heals(world, paris, tokyo)
    the_last_gateways_are_lost_and_one_returns(world, paris, tokyo)


def start(world: World) -> tuple[list[Agent], list[Agent]]:
    """Three agents in each; the first two of each are gateways, and join those of Paris."""
    join_wan = ("--join-wan", "10.77.1.1", "--join-wan", "10.77.1.2")
    for place in (1, 2, 3):
        for number, datacenter in ((1, "paris"), (2, "tokyo")):
            join = f"10.77.{number}.{3 if place == 1 else 1}"
            world.add(
                f"{datacenter}{place}", datacenter, place, join, join_wan if place < 3 else ()
            )
    paris, tokyo = [
        [agent for agent in world.agents.values() if agent.datacenter == name]
        for name in ("paris", "tokyo")
    ]
    eventually("all are ready", lambda: all(agent.is_ready() for agent in (*paris, *tokyo)))
    eventually(
        "all gateways see each other",
        lambda: all(agent.alive("wan") == GATEWAYS for agent in gateways(paris, tokyo)),
    )
    eventually(
        "all nodes see each other",
        lambda: all(len(agent.alive("lan")) == 3 for agent in (*paris, *tokyo)),
    )
    return paris, tokyo


def gateways(paris: list[Agent], tokyo: list[Agent]) -> list[Agent]:
    return [*paris[:2], *tokyo[:2]]


def crosses(one: Agent, other: Agent, key: str) -> None:
    """A write on the one is read on the other, not before light could be there."""
    begin_s = time.monotonic()
    one.put(key, f"by {one.name}")
    eventually(
        f"{key}: from {one.name} to {other.name}", lambda: other.get(key) == f"by {one.name}"
    )
    assert time.monotonic() - begin_s >= DELAY_S


def writes_cross(paris: list[Agent], tokyo: list[Agent]) -> None:
    for number in range(5):
        crosses(paris[2], tokyo[2], f"out {number}")
        crosses(tokyo[2], paris[2], f"home {number}")
    paris[2].delete("home 0")
    eventually("the delete is in Tokyo", lambda: tokyo[2].get("home 0") is None)
    for agent in (paris[2], tokyo[2]):
        assert agent.alive("wan") == [], "only gateways talk to the other datacenter"
        assert not agent.status()["gateway"]


def gateways_fail_over(world: World, paris: list[Agent], tokyo: list[Agent]) -> None:
    paris[0].kill()
    tokyo[1].kill()
    crosses(paris[2], tokyo[2], "without the first gateways")
    crosses(tokyo[2], paris[2], "and back")
    eventually(
        "they are found dead",
        lambda: paris[1].alive("wan") == tokyo[0].alive("wan") == ["paris2", "tokyo1"],
    )
    paris[0].start()
    tokyo[1].start()
    eventually(
        "they are back",
        lambda: all(agent.alive("wan") == GATEWAYS for agent in gateways(paris, tokyo)),
    )
    eventually("with all data", lambda: all_equal([*paris, *tokyo]))


def a_cut_heals(world: World, paris: list[Agent], tokyo: list[Agent]) -> None:
    paris[2].put("deleted meanwhile", "1")
    eventually("it is in Tokyo", lambda: tokyo[2].get("deleted meanwhile") == "1")
    world.tell_router("cut")
    eventually(
        "each side holds the other one dead",
        lambda: (
            paris[0].alive("wan") == paris[1].alive("wan") == GATEWAYS[:2]
            and tokyo[0].alive("wan") == GATEWAYS[2:]
        ),
    )
    paris[2].put("both", "paris")
    tokyo[2].put("both", "tokyo, later")
    tokyo[2].delete("deleted meanwhile")
    for number in range(200):
        paris[number % 3].put(f"paris {number}", "1")
    assert tokyo[2].get("paris 0") is None, "the cut leaks"
    world.tell_router("mend")
    eventually(
        "all data is everywhere",
        lambda: all_equal([*paris, *tokyo]) and tokyo[2].get("paris 199") == "1",
    )
    assert [agent.get("both") for agent in (paris[2], tokyo[2])] == ["tokyo, later"] * 2
    assert paris[2].get("deleted meanwhile") is None
    eventually(
        "all gateways see each other",
        lambda: all(agent.alive("wan") == GATEWAYS for agent in gateways(paris, tokyo)),
    )


def the_last_gateways_are_lost_and_one_returns(
    world: World, paris: list[Agent], tokyo: list[Agent]
) -> None:
    paris[0].kill()
    paris[1].kill()
    paris[2].put("alone in Paris", "1")
    tokyo[2].put("alone in Tokyo", "2")
    eventually("the rest of Tokyo has it", lambda: tokyo[0].get("alone in Tokyo") == "2")
    assert (paris[2].get("alone in Tokyo"), tokyo[2].get("alone in Paris")) == (None, None)
    paris[1].start()
    eventually("Paris has caught up", lambda: paris[2].get("alone in Tokyo") == "2")
    eventually("and Tokyo too", lambda: tokyo[2].get("alone in Paris") == "1")
    eventually("all five agree", lambda: all_equal([*paris[1:], *tokyo]))


def all_equal(agents: list[Agent]) -> bool:
    return len({agent.status()["root"] for agent in agents}) == 1
