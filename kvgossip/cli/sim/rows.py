"""The rows of experiments: settings and figures by name, each mean beside its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvgossip.cli.output import print_json, print_table

Row = dict[str, Any]


def mean_of(name: str, values: Sequence[float | None]) -> Row:
    """The mean of the values, None where there are none, and its error as `NAME_error`."""
    from kvgossip.sim.papers.epidemic import estimate

    happened = [value for value in values if value is not None]
    if not happened:
        return {name: None, f"{name}_error": None}
    found = estimate(happened)
    return {name: found.mean, f"{name}_error": found.error}


def means_of(outcomes: Sequence[Any], names: Sequence[str]) -> Row:
    """The means of these attributes of the outcomes."""
    row: Row = {}
    for name in names:
        row |= mean_of(name, [getattr(outcome, name) for outcome in outcomes])
    return row


def cell(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    if f"{name}_error" not in row:
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.4g} ±{row[f'{name}_error']:.1g}"


def show(rows: Sequence[Row], columns: Sequence[str], as_json: bool) -> None:
    """As JSON one experiment is an object, several are a list of them."""
    if as_json:
        print_json(rows[0] if len(rows) == 1 else list(rows))
    else:
        print_table(columns, [[cell(row, column) for column in columns] for row in rows])
