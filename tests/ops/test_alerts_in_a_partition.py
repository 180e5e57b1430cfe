"""An alert of ops/alerts.yml in a real run: agents in a network namespace that are cut off from
each other, and a Prometheus beside them that scrapes what they say."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from tests.chaos.cluster import Cluster, lo_cluster
from tests.chaos.http_client import HTTP_PORT
from tests.chaos.namespace import cut_off
from tests.chaos.probe import all_equal, eventually
from tests.chaos.scenario import UnavailableError
from tests.netns.router import inside

pytestmark = pytest.mark.outside

ALERTS = Path(__file__).parents[2] / "ops" / "alerts.yml"
ALERT = "KVGossipMembersDisagree"
PORT = 29090
"""In the namespace nobody else listens."""
NODES, LONE = 3, 3
EVERY = "1s"
PATIENCE_S = 120.0


def rules() -> dict[str, Any]:
    """Those of ops/, but that they wait a second where operators wait for minutes."""
    found: dict[str, Any] = yaml.safe_load(ALERTS.read_text())
    for group in found["groups"]:
        for rule in group["rules"]:
            rule["for"] = EVERY
    return found


class Prometheus:
    """It listens at the address of the first agent."""

    def __init__(self, made: Cluster) -> None:
        self._namespace, self._host = made.net.namespace_of(1), made.net.host(1)

    async def states(self) -> list[str]:
        """Of the alert: "pending" or "firing" of each of its instances."""
        alerts = await asyncio.to_thread(self._ask, "alerts")
        return [each["state"] for each in alerts if each["labels"]["alertname"] == ALERT]

    async def scrapes_all(self) -> bool:
        targets = await asyncio.to_thread(self._ask, "targets")
        return [each["health"] for each in targets] == ["up"] * NODES

    def _ask(self, what: str) -> list[dict[str, Any]]:
        url = f"http://{self._host}:{PORT}/api/v1/{what}"
        try:
            with inside(self._namespace), urlopen(url, timeout=10) as answer:
                data = json.load(answer)["data"]
        except OSError as error:
            raise ValueError(f"Prometheus does not answer: {error}") from None
        return list(data["activeTargets" if what == "targets" else what])


@asynccontextmanager
async def prometheus(made: Cluster) -> AsyncIterator[Prometheus]:
    folder = made.folder / "prometheus"
    folder.mkdir()
    targets = [f"{agent.host}:{HTTP_PORT}" for agent in made.agents]
    configuration = {
        "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "kvgossip", "static_configs": [{"targets": targets}]}],
    }
    (folder / "rules.yml").write_text(yaml.safe_dump(rules()))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = ["ip", "netns", "exec", made.net.namespace_of(1), "prometheus"]
    command += [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address={made.net.host(1)}:{PORT}"]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield Prometheus(made)
    finally:
        process.kill()
        await process.wait()


async def test_members_that_are_cut_off_disagree_until_the_network_heals() -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus: apt-get install prometheus")
    try:
        await _run()
    except UnavailableError as why:
        pytest.skip(str(why))


async def _run() -> None:
    async with lo_cluster("alerts", NODES) as (made, net), prometheus(made) as watching:
        one, lone = made.agents[0], made.agents[LONE - 1]
        await eventually("all nodes are scraped", watching.scrapes_all, PATIENCE_S)

        async def quiet() -> bool:
            return not await watching.states()

        async def fires() -> bool:
            for agent, value in ((one, "there"), (lone, "here")):
                assert (await agent.put(f"by/{agent.name}", value)).status == 200
            return "firing" in await watching.states()

        await eventually("who sees all agrees with all", quiet, PATIENCE_S)
        cut_off(net, LONE, NODES)
        await eventually(f"{ALERT} fires", fires, PATIENCE_S)
        net.heal()
        await eventually(f"{ALERT} is resolved", quiet, PATIENCE_S)
        await all_equal(made.agents)
        assert (await one.get(f"by/{lone.name}")).text == "here"
        assert (await lone.get(f"by/{one.name}")).text == "there"
