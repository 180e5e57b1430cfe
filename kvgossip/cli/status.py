"""The command `status`."""

from __future__ import annotations

from typing import Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, print_table


def status(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Show a node's own view of itself: whether it has settled, its digest root, how many keys, its
    counters."""
    document = ask(url, lambda client: client.document("/status"))
    if output is Format.JSON:
        return print_json(document)
    print_table(("what", "value"), _flat(document))


def _flat(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in document.items():
        rows += (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(f"{prefix}{name}", _shown(value))]
        )
    return rows


def _shown(value: Any) -> Any:
    """As people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(status)
