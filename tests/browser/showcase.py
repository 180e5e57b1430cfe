"""The console over twenty real members, as pictures for people to look at.

    python -m tests.browser.showcase [--folder build/console]

Sixteen agents and four caches, in a network namespace, as root. One agent is killed, one is alive
but cut off while both sides are written to, and a check of one cache refuses the release that all
others apply. Every page is then shown as n1 has it, and Cluster as the one that is cut off has it:
narrow and wide, in light and dark.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvgossip import ConfigCache, Refused
from tests.browser.chromium import browsing
from tests.chaos.agent import GOSSIP_PORT, Agent
from tests.chaos.cluster import Cluster, lo_cluster
from tests.chaos.http_client import HTTP_PORT
from tests.chaos.namespace import cut_off
from tests.chaos.probe import eventually
from tests.netns.router import inside

if TYPE_CHECKING:
    from playwright.async_api import Browser

SHOTS = Path(__file__).parents[2] / "build" / "console"
AGENTS, CACHES = 16, 4
MEMBERS = AGENTS + CACHES
ASKED, CUT, KILLED, REFUSING = "n1", "n15", "n16", "n18"
ZONES = ("a", "b", "c")
RATE_MAX = 100
PROBES: dict[str, Any] = {"probe_interval_s": 2.0, "probe_timeout_s": 1.5}
"""Twenty members and a browser share the processors of one machine."""
LOOKS = [*product((400, 1440), ("light", "dark"))]
PATIENCE_MS = 60_000
ALONE_S = 180.0
"""Who is alone has to miss all others, one in each protocol period."""
# something that only the data of the cluster can bring to each page
SIGNS = {
    "cluster": f".find:has-text('{KILLED}')",
    "keys?in=config%2F&key=config%2Flimits": "li.present",
    "convergence": ".exchange >> nth=0",
    "releases?in=shop%2F": f"tr:has-text('{REFUSING}'):has-text('refused')",
    "safety": f"p:has-text('{KILLED}')",
}
OTHER_SIGNS = {"cluster": "td .dot.bad"}


@dataclass(frozen=True)
class Limits:
    rate: int = 0


@contextmanager
def caches(made: Cluster) -> Iterator[list[ConfigCache]]:
    """Members that are caches, of which one takes no great rate."""
    with ExitStack() as stack:
        opened = []
        for number in range(AGENTS + 1, MEMBERS + 1):
            name = f"n{number}"
            cache = ConfigCache(
                "shop/",
                cluster="chaos",
                name=name,
                zone=zone_of(number),
                gossip=f"{made.net.host(number)}:{GOSSIP_PORT}",
                join=[made.address(1)],
                data_dir=made.folder / name,
                profile="local",
                **PROBES,
            )
            if name == REFUSING:
                cache.bind(Limits).check(_is_not_too_much)
            opened.append(stack.enter_context(cache))
        yield opened


def _is_not_too_much(new: Limits) -> None:
    if new.rate > RATE_MAX:
        raise Refused(f"a rate over {RATE_MAX} is too much for this machine")


def zone_of(number: int) -> str:
    return ZONES[number % len(ZONES)]


async def fill(agents: list[Agent]) -> None:
    """Folders with keys, of several writers, and one key with a history."""
    rng = random.Random(1)
    folders = ("app/web/", "app/worker/", "config/", "feature/", "user/")
    for agent, folder in zip(agents, folders, strict=False):
        puts = [
            {"put": f"{folder}{number:04}", "value": json.dumps({"size": rng.randrange(1000)})}
            for number in range(240)
        ]
        await agent.batch(puts)
    for number, agent in enumerate(agents[:4]):
        await agent.put("config/limits", json.dumps({"rate": 10 * number, "burst": 50}))
        await agent.put("config/theme", "dark")
    for name, rate in (("2026-11-30.1", RATE_MAX), ("2026-11-30.2", 2 * RATE_MAX)):
        body = json.dumps({"values": {"rate": rate, "theme": "dark"}}).encode()
        answer = await agents[0].ask("PUT", f"/releases/shop/?name={name}", body)
        assert answer.status == 200, answer.text


async def break_it(made: Cluster) -> None:
    """One dies, one is cut off; both sides write and delete on. Returns once they are missed."""
    by_name = {agent.name: agent for agent in made.agents}
    asked, cut = by_name[ASKED], by_name[CUT]
    cut_off(made.net, cut.number, MEMBERS)
    by_name[KILLED].kill()
    for number in range(30):
        await asked.put(f"app/web/new-{number}", "there")
        await asked.delete(f"feature/{number:04}")
    for number in range(5):
        await cut.put(f"app/worker/own-{number}", "here")

    async def missed() -> bool:
        seen, other = await asked.members(), await cut.members()
        return seen[CUT] == seen[KILLED] == "dead" in other.values()

    await eventually("each side misses the other", missed, ALONE_S)


async def shoot(
    browser: Browser, agent: Agent, signs: dict[str, str], folder: Path, suffix: str = ""
) -> None:
    for width, scheme in LOOKS:
        size = {"width": width, "height": 900}
        look: Any = {"viewport": size, "color_scheme": scheme, "reduced_motion": "reduce"}
        context = await browser.new_context(**look)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        for place, sign in signs.items():
            await page.goto(f"http://{agent.host}:{HTTP_PORT}/ui/#{place}")
            await page.wait_for_selector(sign)
            name = f"{place.partition('?')[0]}{suffix}-{width}-{scheme}.png"
            await page.screenshot(path=folder / name, full_page=True)
            print(folder / name)
        await context.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=SHOTS, help="where the pictures go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("kvgossip").setLevel(logging.ERROR)
    async with lo_cluster("showcase", addresses=MEMBERS) as (made, net):
        for number in range(1, AGENTS + 1):
            given = {"zone": zone_of(number), **PROBES}
            env = {f"KVGOSSIP_{name.upper()}": str(value) for name, value in given.items()}
            made.add(number, join=[made.address(1)], env=env)
        await made.start_all()
        # what is started in here, the browser too, has the network of the cluster
        with inside(net.namespace), caches(made):
            await fill(made.agents)
            await break_it(made)
            async with browsing() as browser:
                agents = {agent.name: agent for agent in made.agents}
                await shoot(browser, agents[ASKED], SIGNS, folder)
                await shoot(browser, agents[CUT], OTHER_SIGNS, folder, "-cut-off")


if __name__ == "__main__":
    asyncio.run(main())
