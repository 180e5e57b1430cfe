"""Releases beside each other: a rolling upgrade, and the format from before"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..agent import Agent
from ..cluster import Cluster, lo_cluster
from ..http_client import ANSWER_S, HTTP_PORT, open_connection, parse_head
from ..judge import judge
from ..load import Load
from ..machine import ROOT, new_folder, run
from ..probe import NeverError, all_ready, eventually, seen_by
from ..scenario import Result, UnavailableError, Violations, scenario

FORMAT_2_COMMIT = Path(__file__).parents[1] / "FORMAT2_COMMIT"
"""A file with the hash of the first commit whose formats no later one may break."""
FORMAT_1_COMMIT = "35d09e8"
"""Release 0.1.0, the last one with format 1."""
SHOWN_S = 30.0
"""A member that has just come up is known to all by then, and asked again each second."""
REFUSED_S = 15.0
"""A node that wants to join tries again every few seconds."""


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """That commit's files, in a folder of their own. Raises UnavailableError without git, or where
    the commit is not in this clone."""
    folder = new_folder(f"checkout-{commit[:8]}") / "kvgossip"
    git = ("git", "-C", str(ROOT))
    try:
        run(*git, "worktree", "add", "--detach", str(folder), commit)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(f"there is no commit {commit} here: {error}") from None
    try:
        yield folder
    finally:
        run(*git, "worktree", "remove", "--force", str(folder), check=False)
        run(*git, "worktree", "prune", check=False)


@scenario()
async def upgrade(seconds: float = 40.0, seed: int = 1) -> Result:
    """Three nodes of the first commit of format 2 become nodes of this one, one after the other, on
    their disks and under load; then one of them goes back. Meanwhile the console of each shows all,
    and a counter is taken while all know what that is.

    The commit stands in tests/chaos/FORMAT2_COMMIT.
    """
    if not FORMAT_2_COMMIT.exists():
        nothing = f"there is no {FORMAT_2_COMMIT.relative_to(ROOT)} yet: nothing to upgrade from"
        return {"nothing": nothing, "violation": ""}
    violations = Violations()
    with checkout(FORMAT_2_COMMIT.read_text().strip()) as old:
        async with lo_cluster("upgrade", addresses=3) as (made, _):
            made.add_all(3, root=old)
            await made.start_all()
            load = Load(made.agents, seed)
            load.start()
            steps = [*((agent, ROOT) for agent in made.agents), (made.agents[0], old)]
            for agent, root in steps:
                await asyncio.sleep(seconds / 5)
                await _change(agent, root, violations)
                for each in made.agents:
                    violations += await _console_of(each, len(made.agents))
                violations += await _counted(made.agents)
            await asyncio.sleep(seconds / 5)
            await load.stop()
            result = await judge(load, made.agents)
            refused: Counter[str] = Counter()
            for agent in made.agents:
                refused.update(await agent.statistics("dropped", "refused"))
            violations += [result["violation"]] if result["violation"] else []
            facts = {"refused": refused, "bugs": made.bugs()}
            return {**result, **facts, "violation": "; ".join(violations)}


async def _change(agent: Agent, root: Path, violations: Violations) -> None:
    """The agent stops, and starts from another checkout; from its own again where it cannot."""
    which, before = "this commit" if root == ROOT else "the older one", agent.root
    code = await agent.stop()
    violations.unless(code == 0, f"{agent.name} ends with {code} before it runs {which}")
    agent.root = root
    agent.start()
    try:
        await all_ready([agent], 30)
    except NeverError:
        violations.append(f"{agent.name} is not ready as {which}: {agent.last_lines(2)}")
        agent.kill()
        agent.root = before
        agent.start()
        await all_ready([agent])


async def _console_of(agent: Agent, count: int) -> list[str]:
    """What the page of that agent could not show while members of two releases are up."""
    which = f"{agent.name}, which runs {'this commit' if agent.root == ROOT else 'the older one'},"
    broken = []
    for path in ("/ui/", "/ui/console.js", "/series"):
        answer = await agent.ask("GET", path)
        if answer.status != 200:
            broken.append(f"{which} answers {answer.status} to {path}")

    async def tells_of_all() -> bool:
        members = (await agent.ask("GET", "/cluster")).document["members"]
        return sum(bool(each["answered"] and each["said"]) for each in members) == count

    try:
        await eventually("/cluster has what all say", tells_of_all, SHOWN_S)
    except NeverError as error:
        broken.append(f"{which} does not show all members: {error}")
    try:
        async with asyncio.timeout(ANSWER_S):
            await _first_event(agent)
    except (TimeoutError, OSError, EOFError, ValueError) as error:
        broken.append(f"{which} streams no /events: {error!r}")
    return broken


async def _counted(agents: list[Agent]) -> list[str]:
    """What is wrong with the answers to who adds to a counter, on nodes that know what one is."""
    older = [agent.name for agent in agents if agent.root != ROOT]
    broken = []
    for agent in agents:
        if agent.root != ROOT:
            continue

        async def is_right(agent: Agent = agent) -> bool:
            answer = await agent.post("/kv/upgrade/counter", {"add": 1})
            if older:
                return answer.status == 409 and all(name in answer.text for name in older)
            return answer.status == 200

        wanted = f"refuses a counter for {', '.join(older)}" if older else "takes a counter"
        try:
            await eventually(f"{agent.name} {wanted}", is_right, SHOWN_S)
        except NeverError as error:
            broken.append(str(error))
    return broken


async def _first_event(agent: Agent) -> None:
    """Returns once the stream has shown one; a node keeps those of its members' coming."""
    reader, writer = await open_connection(agent)
    try:
        writer.write(b"GET /events?since=0 HTTP/1.1\r\nHost: chaos\r\n\r\n")
        status, _ = parse_head(await reader.readuntil(b"\r\n\r\n"))
        if status != 200:
            raise ValueError(f"status {status}")
        await reader.readuntil(b"\ndata: ")
    finally:
        writer.transport.abort()


# -- format 1 ------------------------------------------------------------------------------------


def zstandard(folder: Path) -> Path:
    """The package that release 0.1.0 needs and this one does not, in a folder to import from.
    Raises UnavailableError."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(folder), "zstandard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["it is not there"])[-1]
        raise UnavailableError(f"release 0.1.0 needs zstandard, which cannot be fetched: {why}")
    target = folder / "packages"
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(target)
    return target


def _command(agent: Agent, *words: str) -> None:
    """One of the command line's, of the agent's own release, to that agent. Raises RuntimeError."""
    url = f"http://{agent.host}:{HTTP_PORT}"
    paths = os.pathsep.join(filter(None, (str(agent.root), agent.env.get("PYTHONPATH"))))
    enter = ("ip", "netns", "exec", agent.namespace)
    there = ("env", "-C", str(agent.root), f"PYTHONPATH={paths}")
    run(*enter, *there, sys.executable, "-m", "kvgossip", *words, "--url", url)


@scenario()
async def from_format_1() -> Result:
    """Who comes from release 0.1.0 exports there and imports here; and each refuses the other's
    frames in words."""
    violations = Violations()
    with checkout(FORMAT_1_COMMIT) as old, tempfile.TemporaryDirectory() as folder:
        packages = await asyncio.to_thread(zstandard, Path(folder))
        async with lo_cluster("from-format-1", addresses=3) as (made, _):
            env = {"PYTHONPATH": str(packages)}
            before = made.add(1, name="before", root=old, env=env, data=False)
            after = made.add(2, name="after", data=False)
            await made.start_all()
            for number in range(100):
                await before.put(f"p/{number}", f"value {number}")
            await before.delete("p/7")
            await _move(made, before, after, violations)
            await _refuse(made, before, violations)
            logs = {agent.name: agent.last_lines(4) for agent in made.agents}
            return violations.result(logs=logs)


async def _move(made: Cluster, before: Agent, after: Agent, violations: Violations) -> None:
    file = str(made.folder / "export.ndjson.zst")
    try:
        await asyncio.to_thread(_command, before, "export", file)
        await asyncio.to_thread(_command, after, "import", file)
    except RuntimeError as error:
        violations.append(f"the export of 0.1.0 cannot be imported: {str(error)[-300:]}")
        return
    there, here = await before.entries(), await after.entries()
    text = f"{len(here)} keys were imported of {len(there)}"
    violations.unless(sorted(here) == sorted(there), text)
    values = [(await agent.get("p/8")).text for agent in (before, after)]
    violations.unless(len(set(values)) == 1, f"the values differ: {values}")


async def _refuse(made: Cluster, before: Agent, violations: Violations) -> None:
    """A node of this release wants to join the old one, and the other way round."""
    joins = made.add(3, name="joins", data=False, join=[made.address(1)])
    joins.start()
    await seen_by(joins, "p/8", REFUSED_S)
    members = await before.members()
    violations.unless("joins" not in members, "0.1.0 takes in a node of this release")
    for agent, other in ((joins, "0.1.0"), (before, "this release")):
        words = [line for line in agent.log_lines("format") if "WARN" in line]
        text = f"{agent.name} does not say in its log that frames of {other} are of another format"
        violations.unless(bool(words), text)
