"""A report: what one run of a benchmark has found, in one shape for all of them.

As JSON it is {"benchmark", "tables": [{"title", "rows"}], "laws", "targets", "skipped"}; each row
of a table is an object, whose names are the columns.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Row = dict[str, Any]
"""The cells of one line by the names of their columns: numbers, text, or None for an empty one."""


class Table(msgspec.Struct, frozen=True):
    """`rows` may lack columns that others have."""

    title: str
    rows: Sequence[Row]

    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def is_text(self, name: str) -> bool:
        return any(isinstance(row.get(name), str) for row in self.rows)

    def cells(self) -> list[list[str]]:
        """The lines of the table as text, the names of the columns first."""
        names = self.columns()
        return [names, *([cell(row.get(name)) for name in names] for row in self.rows)]


class Report(msgspec.Struct, frozen=True):
    """What was measured.

    `laws` are statements that hold on any machine, `targets` those that a slow one may miss, each
    with whether it holds; `skipped` says what was not measured, and why.
    """

    benchmark: str
    tables: Sequence[Table]
    laws: Mapping[str, bool] = {}
    targets: Mapping[str, bool] = {}
    skipped: Sequence[str] = ()

    @property
    def broken(self) -> list[str]:
        return [law for law, holds in self.laws.items() if not holds]


def cell(value: Any) -> str:
    """Three digits of a number are enough to compare; counts are written in full."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 100):
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def as_json(report: Report) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def from_json(text: str | bytes) -> Report:
    """Raises msgspec.DecodeError, also where the shape is another."""
    return msgspec.json.decode(text, type=Report)


def as_text(report: Report) -> str:
    lines = []
    for table in report.tables:
        cells = table.cells()
        lines.append(table.title)
        columns = []
        for name, column in zip(table.columns(), zip(*cells, strict=True), strict=True):
            width = max(map(len, column))
            pad = str.ljust if table.is_text(name) else str.rjust
            columns.append([pad(text, width) for text in column])
        lines += ["  " + "   ".join(row).rstrip() for row in zip(*columns, strict=True)]
    lines += [f"{law}: {'yes' if holds else 'NO'}" for law, holds in report.laws.items()]
    lines += [f"{target}: {'met' if met else 'MISSED'}" for target, met in report.targets.items()]
    lines += [f"not measured: {text}" for text in report.skipped]
    return "\n".join(lines)


def as_markdown(report: Report) -> str:
    """The tables, and what does not hold."""
    parts = []
    for table in report.tables:
        names, *rows = table.cells()
        lines = [f"**{table.title}**", "", "| " + " | ".join(names) + " |"]
        rule = ("---" if table.is_text(name) else "--:" for name in names)
        lines.append("|" + "|".join(rule) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        parts.append("\n".join(lines))
    parts += [f"Broken: {law}." for law in report.broken]
    parts += [f"Missed: {target}." for target, met in report.targets.items() if not met]
    parts += [f"Not measured: {text}." for text in report.skipped]
    return "\n\n".join(parts)


def finish(report: Report, *, json: bool) -> None:
    """Prints the report. Ends the process with 1 where a law is broken."""
    print(as_json(report) if json else as_text(report))
    if report.broken:
        sys.exit(1)


def is_there(command: str, package: str, skipped: list[str]) -> bool:
    """Whether a peer is installed; where not, `skipped` and standard error say so in one line."""
    if shutil.which(command) is not None:
        return True
    text = f"{command} is not installed (Debian: apt-get install {package})"
    if text not in skipped:
        skipped.append(text)
        print(f"not measured: {text}", file=sys.stderr)
    return False


def need(*commands: str, cores: int = 1) -> None:
    """Ends the process with one line where this machine lacks one of them."""
    lacking = [command for command in commands if shutil.which(command) is None]
    if (os.cpu_count() or 1) < cores:
        lacking.append(f"{cores} processors")
    if lacking:
        sys.exit(f"this benchmark needs {', '.join(lacking)}, and this machine has none")
