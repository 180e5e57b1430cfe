"""The commands for many keys at once: load and dump, as lines of JSON that people can read and
edit.

A line is {"key": KEY, "value": TEXT} or {"key": KEY, "base64": BYTES}, and may have a
"content_type", a "ttl" and "flags".
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.api.client import Client

AT_A_TIME = 64
BATCHES_AT_A_TIME = 4
BATCH_KEYS, BATCH_BYTES = 64, 128 * 1024
PAGE = 1000


class Item(NamedTuple):
    """One line, with what it says beside key and value, as POST /batch takes it."""

    key: str
    value: bytes
    more: dict[str, Any]

    def operation(self) -> dict[str, Any]:
        return {"put": self.key, **_told(self.value), **self.more}


def load(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="Lines of JSON; '-' reads standard input.")
    ],
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Store many keys: one line of JSON for each, as `kvgossip dump` writes them.

    A line is {"key": "a/b", "value": "text"} or {"key": "a/b", "base64": "AAEC"}, and may have a
    "content_type", a "ttl" such as "30s" and "flags", a number. All lines are read before anything
    is written: a line that does not fit is told by its number, and then nothing is. Keys are
    written in batches of up to 64: a load that is cut off has stored some of them, and may be
    repeated.

    Examples:

    - `kvgossip load keys.ndjson`
    - `kvgossip dump app/ --url http://old:7480 | kvgossip load - --url http://new:7480`
    """
    items = _read(source)
    ask(url, lambda client: _store(client, items))
    say({"loaded": len(items)}, output, f"{len(items)} keys are stored")


def dump(
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="Only keys that start with this.")
    ] = "",
    url: Url = DEFAULT_URL,
) -> None:
    """Print keys and their values as lines of JSON, in order; values that are no text as base64.

    What expires has the time that it has left as "ttl".

    Each value is what the node has when it is read: a dump is no snapshot of one moment, and has no
    versions. `export` writes backups.

    Examples:

    - `kvgossip dump > keys.ndjson`
    - `kvgossip dump app/ | grep theme`
    """
    ask(url, lambda client: _print_all(client, prefix))


def _read(source: str) -> list[Item]:
    with ExitStack() as stack:
        try:
            lines = (
                sys.stdin.buffer if source == "-" else stack.enter_context(Path(source).open("rb"))
            )
        except OSError as error:
            raise CommandError(
                f"cannot read {source}: {error.strerror}",
                "name a file of JSON lines, or '-' for standard input",
            ) from error
        return list(_items(lines))


def _items(lines: Iterable[bytes]) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _item(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                text = f"line {number} does not fit: {error}"
                raise CommandError(
                    text,
                    'nothing was stored; write {"key": "a", "value": "text"} or {"key": "a", '
                    '"base64": "AAEC"}',
                ) from None


def _item(document: Any) -> Item:
    if not isinstance(document, dict):
        raise TypeError("it is no JSON object")
    known = {"key", "value", "base64", "content_type", "ttl", "flags"}
    if unknown := sorted(document.keys() - known):
        raise ValueError(f"unknown field {unknown[0]!r}")
    key, value, encoded = (document.get(name) for name in ("key", "value", "base64"))
    more = {
        name: document[name]
        for name in ("content_type", "ttl", "flags")
        if document.get(name) is not None
    }
    if not isinstance(key, str) or not all(
        isinstance(more.get(name, ""), str) for name in ("content_type", "ttl")
    ):
        raise TypeError('"key", "content_type" and "ttl" are text')
    if type(more.get("flags", 0)) is not int:
        raise TypeError('"flags" is a number')
    if (value is None) == (encoded is None) or not isinstance(value or encoded or "", str):
        raise TypeError('it needs one of "value" and "base64", as text')
    octets = (
        value.encode("utf-8", "surrogatepass")
        if value is not None
        else base64.b64decode(encoded or "", validate=True)
    )
    if len(octets) > BATCH_BYTES and "flags" in more:
        raise ValueError(f"a value of more than {BATCH_BYTES} bytes cannot have flags")
    return Item(key, octets, more)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """What can be written at once, in order: a batch has each key once. A value that is too large
    for a batch stands alone."""
    batch: dict[str, Item] = {}
    size = 0
    for item in items:
        if batch and (
            item.key in batch or len(batch) == BATCH_KEYS or size + len(item.value) > BATCH_BYTES
        ):
            yield list(batch.values())
            batch, size = {}, 0
        batch[item.key] = item
        size += len(item.value)
    if batch:
        yield list(batch.values())


async def _store(client: Client, items: list[Item]) -> None:
    """Several at a time; the first refusal ends it."""
    waiting = _batches(items)
    done = 0

    async def work() -> None:
        nonlocal done
        for batch in waiting:
            await _write(client, batch)
            done += len(batch)
            _progress(f"{done} of {len(items)} keys are stored")

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(BATCHES_AT_A_TIME):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _write(client: Client, batch: list[Item]) -> None:
    first = batch[0]
    if len(first.value) > BATCH_BYTES:
        await client.put(
            first.key, first.value, first.more.get("content_type"), first.more.get("ttl")
        )
    else:
        await client.batch([item.operation() for item in batch])


async def _print_all(client: Client, prefix: str) -> None:
    after: str | None = ""
    printed = 0
    while after is not None:
        page = await client.page(prefix, PAGE, after)
        for start in range(0, len(page["entries"]), AT_A_TIME):
            some = page["entries"][start : start + AT_A_TIME]
            for line in await asyncio.gather(*(_line(client, entry) for entry in some)):
                print(line, end="")
        printed += len(page["entries"])
        after = page["after"]
        if after is not None:
            _progress(f"{printed} keys are printed")


async def _line(client: Client, entry: dict[str, Any]) -> str:
    """Empty for a key that was deleted meanwhile."""
    from kvgossip.api.client import RefusedError

    try:
        value = (await client.get(entry["key"])).body
    except RefusedError as error:
        if error.status == 404:
            return ""
        raise
    document = {"key": entry["key"], **_told(value)}
    if entry["content_type"] is not None:
        document["content_type"] = entry["content_type"]
    if entry.get("expires_ms") is not None:
        document["ttl"] = f"{max(entry['expires_ms'] - time.time_ns() // 1_000_000, 1)}ms"
    if entry.get("flags"):
        document["flags"] = entry["flags"]
    return json.dumps(document, ensure_ascii=False) + "\n"


def _told(value: bytes) -> dict[str, Any]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


def register(app: typer.Typer) -> None:
    for command in (load, dump):
        app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(command)
