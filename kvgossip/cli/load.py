"""The command `load`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.json_lines import BATCH_BYTES, Item, parse_item, show_progress
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.api.client import Client

BATCHES_AT_A_TIME = 4
BATCH_KEYS = 64


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
    is written: where a line does not fit, the error has its number, and nothing is. Keys are
    written in batches of up to 64: a load that is cut off has stored some of them, and may be
    repeated.

    Examples:

    - `kvgossip load keys.ndjson`
    - `kvgossip dump app/ --url http://old:7480 | kvgossip load - --url http://new:7480`
    """
    items = _read(source)
    ask(url, lambda client: _store(client, items))
    say({"loaded": len(items)}, output, f"{len(items)} keys are stored")


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
                yield parse_item(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                text = f"line {number} does not fit: {error}"
                raise CommandError(
                    text,
                    'nothing was stored; write {"key": "a", "value": "text"} or {"key": "a", '
                    '"base64": "AAEC"}',
                ) from None


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in batches, in order: a batch has each key once. A value that is too large for a
    batch stands alone."""
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
            show_progress(f"{done} of {len(items)} keys are stored")

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


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(load)
