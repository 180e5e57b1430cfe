"""Names and addresses: clones, pods that move, operators who prune and rotate keys"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from pathlib import Path

from ..agent import GOSSIP_PORT, JSON, Agent
from ..cluster import lo_cluster
from ..http_client import HttpClient, NoAnswerError, Place
from ..namespace import cut_off
from ..probe import NeverError, all_equal, all_ready, eventually, heals
from ..scenario import Result, Violations, scenario

NOTICED_S = 10.0
"""A node that others refuse has found it out by then: it probes one of them every second."""
DEAD_S = 15.0
"""With the profile `local`, a node that is cut off is dead for the others by then."""


class Twin:
    """One of two nodes that claim the same name: what it is asked, and what becomes of it."""

    def __init__(self, agent: Agent, label: str) -> None:
        self.agent, self._label = agent, label
        self.answers: Counter[int | str] = Counter()
        self._acknowledged: list[tuple[str, float]] = []

    async def write(self) -> None:
        key = f"by-{self._label}/{self.answers.total()}"
        try:
            status = (await self.agent.put(key, "1", timeout=2)).status
        except NoAnswerError:
            self.answers["no answer"] += 1
            return
        self.answers[status] += 1
        if status in (200, 202):
            self._acknowledged.append((key, time.monotonic()))

    async def judge(self, violations: Violations, other: Agent, since_s: float) -> None:
        """At the end of the run: who is ready acknowledges nothing that reaches nobody; and if this
        is the one that the others refuse, it says so."""
        at_home = await _is_home(other, self.agent)
        found = await other.entries(f"by-{self._label}/")
        late = [key for key, at_s in self._acknowledged if at_s > since_s]
        lost = [key for key in late if key not in found]
        ready = self.agent.runs and await self.agent.ready()
        text = f"{self._label} acknowledged {len(late)} writes, of which {len(lost)} reach nobody"
        violations.unless(not (ready and lost), f"{text}; and it is ready")
        if not at_home and self.agent.runs:
            words = self.agent.log_lines("WARN")
            violations.unless(bool(words), f"{self._label} is refused, and its log has no WARNING")


async def _is_home(seer: Agent, whom: Agent) -> bool:
    """True where the name is alive at that node's own address."""
    return any(
        each["name"] == whom.name
        and each["state"] == "alive"
        and each["address"].startswith(f"{whom.host}:")
        for each in await seer.member_list()
    )


async def _answers_or_ended(agent: Agent) -> bool:
    return not agent.runs or bool(await agent.status())


@scenario()
async def clone(pause_s: float = 0.0, seconds: float = 30.0, profile: str = "lan") -> Result:
    """The directory of n1 is copied and started on another machine under the same name, as a cloned
    virtual machine is.

    One of the two is refused by the others: it says so in its log, and it is not ready where what
    it acknowledges reaches nobody; the doctor of a member finds it, or its own. pause_s: n1 stands
    still for so long when its twin starts. At the end the twin goes, and all is well.
    """
    async with lo_cluster("clone", 3, addresses=4, profile=profile) as (made, _):
        n1, n2, n3 = made.agents
        for number in range(50):
            await n1.put(f"p/{number}", "1")
        await all_equal(made.agents)
        n1.kill()
        copy = await asyncio.to_thread(n1.copy_data, made.folder / "copy")
        n1.start()
        await all_ready([n1])
        await asyncio.sleep(3)
        how = {"name": "n1", "data_dir": copy, "profile": profile, "join": made.addresses(3)}
        twin = made.add(4, log=made.folder / "twin.log", **how)
        twins = [Twin(n1, "n1"), Twin(twin, "the twin")]
        if pause_s:
            n1.pause()
        twin.start()
        if pause_s:
            await asyncio.sleep(pause_s)
            n1.resume()
        await eventually("the twin answers, or has ended", lambda: _answers_or_ended(twin))
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + seconds:
            for each in twins:
                await each.write()
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        violations = Violations()
        for each in twins:
            await each.judge(violations, n2, begin_s + NOTICED_S)
        doctor = await n2.doctor()
        if doctor["healthy"]:
            doctor = await twin.doctor()
        violations.unless(not doctor["healthy"], "two nodes are n1, and no doctor finds it")
        twin.kill()
        healed_s = await all_equal([n1, n2, n3], 120)
        home_s = await eventually("n1 is alive at home", lambda: _is_home(n2, n1))
        return violations.result(
            answers=[each.answers for each in twins],
            findings=[each["text"] for each in doctor["findings"]],
            healed_s=healed_s,
            home_s=home_s,
            log_twin=twin.last_lines(),
            log_n1=n1.last_lines(),
            bugs=made.bugs(),
        )


@scenario()
async def addresses_swap() -> Result:
    """Two nodes are killed and come back at each other's address, as pods do."""
    async with lo_cluster("swap", 4) as (made, _):
        one, other, *_ = made.agents
        await one.put("p/1", "1", "?wait=all&timeout=5s")
        one.kill()
        other.kill()
        one.host, other.host = other.host, one.host
        one.start()
        other.start()
        await all_ready(made.agents)

        async def all_know() -> bool:
            agents = made.agents
            homes = [await _is_home(seer, whom) for seer in agents for whom in agents]
            return all(homes)

        known_s = await eventually("all know where all are", all_know)
        held = (await one.put("p/2", "1", "?wait=all&timeout=5s")).document["held_by"]
        violations = Violations()
        violations.unless(len(held) == 4, f"wait=all is held by {len(held)} of 4")
        return violations.result(known_s=known_s)


class Hosts:
    """/etc/hosts of one namespace."""

    def __init__(self, namespace: str) -> None:
        self._folder = Path("/etc/netns") / namespace
        self._folder.mkdir(parents=True)
        self._file = self._folder / "hosts"

    def point(self, host: str) -> None:
        """kv.example is there now. In place, since the file is mounted."""
        text = f"127.0.0.1 localhost\n{host} kv.example\n"
        with self._file.open("r+" if self._file.exists() else "w") as file:
            file.truncate()
            file.write(text)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@scenario()
async def names_move() -> Result:
    """A peer is joined by its DNS name. It dies, and comes back elsewhere under that name.

    The other one finds it by looking the name up again, also where it joins nobody itself.
    """
    async with lo_cluster("names-move", addresses=4) as (made, net):
        hosts = Hosts(net.namespace)
        try:
            hosts.point(net.host(1))
            a = made.add(1, name="a", data=False)
            b = made.add(2, name="b", data=False, join=[f"kv.example:{GOSSIP_PORT}"])
            await made.start_all()
            await b.put("p/1", "1", "?wait=all&timeout=5s")
            a.kill()
            hosts.point(net.host(3))
            moved = made.add(3, name="a", data=False, join=[made.address(2)])
            moved.start()
            joined_s = await all_ready([moved])
            has = (await moved.get("p/1")).status
            moved.kill()
            await asyncio.sleep(DEAD_S)
            hosts.point(net.host(4))
            other = made.add(4, name="a2", data=False)
            other.start()

            async def found() -> bool:
                return (await other.get("p/1")).status == 200

            found_s = await eventually("b finds it by its name", found, 90)
        finally:
            hosts.remove()
    violations = Violations()
    violations.unless(has == 200, f"a, which moved and joined b, answers {has}")
    return violations.result(joined_s=joined_s, found_s=found_s)


@scenario()
async def rotation_in_partition() -> Result:
    """Keys are replaced while a node is cut off.

    It comes back by itself, or it is not ready, and says why in its log.
    """
    orders = []

    async def order(agent: Agent, action: str, key: str) -> None:
        # the keyring is changed from the agent's own machine alone
        client = HttpClient(Place(agent.namespace, socket_of(agent.name)))
        body = json.dumps({"action": action, "key": key}).encode()
        try:
            answer = await client.ask("POST", "/keyring", body, JSON, 30.0)
        finally:
            client.close()
        orders.append((agent.name, action, answer.status, answer.text[:160]))

    async def keys_of(agent: Agent) -> list[str]:
        return list((await agent.status())["keyring"]["keys"])

    def socket_of(name: str) -> str:
        return f"unix:{folder / name}.sock"

    async with lo_cluster("rotation", addresses=3) as (made, net):
        folder = made.folder
        for number in (1, 2, 3):
            args = [*made.keyring(f"keys{number}"), "--http", socket_of(f"n{number}")]
            made.add(number, join=made.addresses(3), args=args)
        await made.start_all()
        n1, _, n3 = made.agents
        old = await keys_of(n1)
        cut_off(net, 3, 3)
        await order(n1, "install", "22" * 32)
        (new, *_) = [key for key in await keys_of(n1) if key not in old] or ["00000000"]
        await asyncio.sleep(DEAD_S)
        await order(n1, "use", new)
        await order(n1, "remove", old[0])
        await n1.put("cut", "1")
        net.heal()
        healed_s = await heals(made.agents, 30)
        violations = Violations()
        if healed_s is None:
            violations.unless(not await n3.ready(), "n3 missed a rotation, is alone, and is ready")
            words = [line for line in n3.log_lines("WARN") if "key" in line]
            violations.unless(bool(words), "n3 is alone, and its log does not name the keyring")
        return violations.result(orders=orders, healed_s=healed_s, log_n3=n3.log_lines("key")[-4:])


@scenario()
async def pruned_alive(
    wait_s: float = 90.0, writes: bool = False, profile: str = "local"
) -> Result:
    """A living node is blocked by all others and pruned; unblocked, it is a member again.

    What it wrote meanwhile is there, and nothing that was deleted meanwhile. writes=1: under load.
    """
    async with lo_cluster("prune", 3, profile=profile) as (made, _):
        n1, n2, n3 = made.agents
        for number in range(40):
            await n1.put(f"d/{number}", "old", "?wait=all&timeout=5s")
        for agent in (n1, n2):
            await agent.post("/block", {"target": "n3"})
        pruned = await n1.post("/force-leave", {"name": "n3", "prune": True})
        for number in range(0, 40, 2):
            await n1.delete(f"d/{number}")
        for number in range(1, 40, 4):
            await n3.put(f"d/{number}", "by n3, blocked")
        await n3.put("p/by-n3", "1")
        await asyncio.sleep(20)
        for agent in (n1, n2):
            await agent.post("/unblock", {"target": "n3"})
        healed_s = await heals(made.agents)
        back = [key for key in await n1.entries("d/") if int(key[2:]) % 2 == 0]

        async def is_member() -> bool:
            if writes:
                await n1.put("p/load", str(time.monotonic()))
            return all(["n3" in await agent.members() for agent in (n1, n2)])

        violations, member_s = Violations(), None
        try:
            member_s = await eventually("n1 and n2 know n3 again", is_member, wait_s, 1.0)
        except NeverError as error:
            violations.append(str(error))
        held = (await n1.put("p/after", "1", "?wait=all&timeout=5s")).document["held_by"]
        violations.unless(healed_s is not None, "it does not heal")
        violations.unless(not back, f"deleted keys are back: {back}")
        there = (await n1.get("p/by-n3")).status == 200
        violations.unless(there, "n1 does not have what n3 wrote while it was blocked")
        violations.unless(len(held) == 3, f"afterwards wait=all of n1 is held by {len(held)} of 3")
        return violations.result(
            pruned=(pruned.status, pruned.text[:100]),
            healed_s=healed_s,
            member_s=member_s,
            logs={agent.name: agent.last_lines(4) for agent in made.agents},
        )
