"""The output of commands: a table for people, the node's own JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from kvgossip.cli.errors import printable

DASH = "-"
"""A cell of which nothing is known."""


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


Output = Annotated[
    Format,
    typer.Option("--output", "-o", help="A table to read, or the node's JSON.", show_choices=True),
]


def print_json(document: Any) -> None:
    """What a terminal might obey is escaped, as JSON escapes it."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print("\n".join(map(_visible, text.split("\n"))))


def _visible(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table whose cells are taken literally."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE, pad_edge=False, show_edge=False)
    for row in rows:
        table.add_row(
            *(Text(printable("" if cell is None else str(cell)), overflow="fold") for cell in row)
        )
    # In a pipe there is no width to fit into: never cut or fold what a program may read.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    console.print(table)


def say(document: Any, output: Format, sentence: str) -> None:
    """The document for programs, the sentence for people."""
    if output is Format.JSON:
        print_json(document)
    else:
        print(printable(sentence))


def shown_ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return DASH
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
