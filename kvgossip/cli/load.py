"""The command `load`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask_each
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.json_lines import BATCH_BYTES, Item, parse_item, show_progress
from kvgossip.cli.output import Format, Output, say
from kvgossip.cli.streams import stdin_octets

if TYPE_CHECKING:
    from kvgossip.client.client import Client

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
    done = 0
    writes = (partial(_write, batch=batch) for batch in _batches(items))
    for stored in ask_each(url, writes, BATCHES_AT_A_TIME):
        done += stored
        show_progress(f"{done} of {len(items)} keys are stored")
    say(
        {"loaded": len(items)},
        output,
        f"{len(items)} {'key is' if len(items) == 1 else 'keys are'} stored",
    )


def _read(source: str) -> list[Item]:
    try:
        octets = stdin_octets() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise CommandError(
            f"cannot read {source}: {error.strerror}",
            "name a file of JSON lines, or '-' for standard input",
        ) from error
    return list(_items(octets.splitlines()))


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


def _write(client: Client, batch: list[Item]) -> int:
    """How many it has stored."""
    first = batch[0]
    if len(first.value) > BATCH_BYTES:
        client.put(first.key, first.value, first.more.get("content_type"), first.more.get("ttl"))
    else:
        client.batch([item.operation() for item in batch])
    return len(batch)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(load)
