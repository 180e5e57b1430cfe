"""The judge, after everything was healed and the load has stopped: nothing acknowledged is lost,
nothing deleted comes back, nothing is there that nobody wrote, and all nodes and watchers agree."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

from .agent import Agent
from .http_client import HttpClient, NoAnswerError
from .load import Load
from .probe import NeverError, all_equal
from .record import Record, Write
from .scenario import Result

WATCHERS_S = 12.0
"""How long a watcher may lag behind its node: it connects again, and resyncs, well within that."""
TTL_S = 12.0
"""Longer than the longest time to live of a load."""
MAJORITY_OF_FIVE = 3


async def judge(
    load: Load, agents: list[Agent], *, patience_s: float = 90.0, lossy: bool = False
) -> Result:
    """`lossy`: nodes had no disk and have lost what they had, so an acknowledged write may be gone,
    unless a majority was said to hold it. The result has `violation`."""
    record = load.record
    converged_s = await _converge(record, agents, patience_s)
    if load.mix.ttl:
        await asyncio.sleep(TTL_S)
    listings = {agent.name: await agent.entries() for agent in agents}
    found = listings[agents[0].name]
    compare(record, listings)
    values = await _values(agents[0], [key for key in found if key in record.by_key])
    check_writes(record, found, values, lossy=lossy)
    await _check_watchers(load, found)
    return {
        "converged_s": converged_s,
        "writes": len(record.writes),
        "acknowledged": sum(write.acknowledged for write in record.writes),
        "keys": len(found),
        "statuses": dict(record.statuses),
        "notes": dict(record.notes),
        "faults": dict(record.faults),
        "examples": dict(record.examples),
        "memory_kb": [agent.memory_kb() for agent in agents],
        "violation": record.violation,
    }


async def _converge(record: Record, agents: list[Agent], patience_s: float) -> float | None:
    try:
        return await all_equal(agents, patience_s)
    except NeverError as error:
        record.fault("no convergence", str(error)[:300])
        for agent in agents:
            try:
                status = await agent.status()
                facts = {name: status[name] for name in ("root", "keys", "members", "settled")}
                record.note("unequal", f"{agent.name}: {facts}")
            except NoAnswerError as silence:
                record.note("unequal", f"{agent.name}: {silence}")
        return None


async def _values(agent: Agent, keys: list[str]) -> dict[str, str]:
    """The values by key; a key that is not there is missing."""
    client, values = HttpClient(agent), {}
    for key in keys:
        answer = await client.ask("GET", f"/kv/{quote(key)}")
        if answer.status == 200:
            values[key] = answer.text
    client.close()
    return values


def compare(record: Record, listings: dict[str, dict[str, str]]) -> None:
    """Versions by key of each node: all are the same."""
    (first, found), *rest = listings.items()
    for name, listing in rest:
        keys = sorted(found.keys() | listing.keys())
        differing = [key for key in keys if found.get(key) != listing.get(key)]
        if differing:
            text = f"{first} and {name} in {len(differing)} keys, such as {differing[:3]}"
            record.fault("nodes differ", text)


def check_writes(
    record: Record, found: dict[str, str], values: dict[str, str], *, lossy: bool = False
) -> None:
    """`found` and `values` are what the nodes have at the end: versions and values by key."""
    for key, writes in record.by_key.items():
        if key.startswith("t/"):
            continue
        version = found.get(key, "")
        if version and key not in values:
            record.fault("listed and not found", f"{key}@{version}")
        elif version:
            _check_value(record, writes, version, values[key])
        _check_newest(record, writes, version, lossy)
        if lossy:
            _check_majority(record, writes, version)


def _check_value(record: Record, writes: list[Write], version: str, value: str) -> None:
    """Somebody wrote this value, and under this version if anybody was answered so."""
    key, acknowledged = writes[0].key, [write for write in writes if write.acknowledged]
    author = next((write for write in acknowledged if write.version == version), None)
    if author is not None:
        if author.value != value:
            text = f"{author.text}: {value[:40]!r} instead of {str(author.value)[:40]!r}"
            record.fault("wrong value", text)
    elif value not in [write.value for write in writes if not write.acknowledged]:
        known = value in [write.value for write in acknowledged]
        what = "of another version" if known else "of nobody"
        record.fault("phantom", f"{key}@{version} = {value[:40]!r} is {what}")


def _check_newest(record: Record, writes: list[Write], version: str, lossy: bool) -> None:
    """The newest acknowledged write is there, unless a newer one is."""
    acknowledged = [write for write in writes if write.acknowledged]
    newest = max(acknowledged, key=lambda write: write.version, default=None)
    if newest is None or version >= newest.version:
        return
    if newest.value is None:
        if version:
            record.fault("back from the dead", f"deleted: {newest.text}, and all have {version}")
        return
    # Only a delete whose answer nobody got may have taken it.
    deleted = not version and any(
        write.value is None and not write.acknowledged for write in writes
    )
    if not lossy and not deleted:
        record.fault("lost", f"{newest.text}, all have {version or 'nothing'}")


def _check_majority(record: Record, writes: list[Write], version: str) -> None:
    """What a majority was said to hold is not lost with one node."""
    held = [
        write
        for write in writes
        if write.status == 200
        and write.wait in ("all", "majority")
        and len(write.holders) >= MAJORITY_OF_FIVE
    ]
    newest = max(held, key=lambda write: write.version, default=None)
    if newest is not None and version < newest.version:
        text = f"{newest.text}, all have {version or 'nothing'}"
        record.fault("lost though a majority held it", text)


async def _check_watchers(load: Load, found: dict[str, str]) -> None:
    end_s = time.monotonic() + WATCHERS_S
    while True:
        wrong = _wrong_tables(load, found)
        if not wrong or time.monotonic() > end_s:
            break
        await asyncio.sleep(0.5)
    for name, texts in wrong.items():
        load.record.fault("watcher differs", f"{name}: {texts}")
    for watch in load.watchers:
        await watch.stop()


def _wrong_tables(load: Load, found: dict[str, str]) -> dict[str, list[str]]:
    """Examples of what the tables of watchers have wrong, by node."""
    wrong = {}
    for watch in load.watchers:
        keys = sorted(watch.table.keys() | found.keys())
        differing = [key for key in keys if watch.table.get(key) != found.get(key)]
        if differing:
            wrong[watch.agent.name] = [
                f"{key}: heard {watch.table.get(key)}, is {found.get(key)}" for key in differing[:3]
            ]
    return wrong
