"""The output of commands: a table for people, the node's own JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from kvgossip.cli.errors import printable

DASH = "-"
"""A cell of which nothing is known."""
GAP = 3
"""Blanks between two columns."""
LINE = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


Output = Annotated[
    Format,
    typer.Option("--output", "-o", help="A table to read, or the node's JSON.", show_choices=True),
]


def print_json(document: Any) -> None:
    """In ASCII: no locale changes it, and a terminal finds nothing in it to obey."""
    print(json.dumps(document, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], spare: int = 0) -> None:
    """A table whose cells are taken literally. In a terminal that is too narrow, the last `spare`
    columns are left out, and it says so."""
    cells = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    # In a pipe there is no width to fit into: never cut or fold what a program may read.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    shown = len(columns)
    if spare and _width([columns, *cells]) > width:
        shown -= spare
    lines = [row[:shown] for row in (columns, *cells)]
    is_plain = _width(lines) <= width and all(cell.isascii() for row in lines for cell in row)
    draws = (sys.stdout.encoding or "").lower().startswith("utf")
    print(_plain(lines) if is_plain and draws else _folded(lines, width), end="")
    if shown < len(columns):
        print(f"(no room for {', '.join(columns[shown:])}: see a wider terminal, or -o json)")


def _plain(rows: Sequence[Sequence[str]]) -> str:
    """The table of these rows, of which the first is the head. Cells are ASCII: what stands in one
    is as wide as it has characters."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *lines = ((" " * GAP).join(map(str.ljust, row, widths)) + "\n" for row in rows)
    return f"{head}{LINE * _width(rows)}\n{''.join(lines)}"


def _folded(rows: Sequence[Sequence[str]], width: int) -> str:
    """The same for a table that is too wide, has characters that a terminal shows wider, or goes to
    an encoding without lines. It loads rich, which costs as much as all else that `list` does."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=width)
    head, *lines = rows
    table = Table(*head, box=box.SIMPLE, pad_edge=False, show_edge=False, header_style="")
    for row in lines:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    # rich has its own end for a process whose reader has gone
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _width(rows: Sequence[Sequence[str]]) -> int:
    """That of a table of these rows, all its columns and what is between them."""
    return sum(max(map(len, column)) + GAP for column in zip(*rows, strict=True)) - GAP


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
