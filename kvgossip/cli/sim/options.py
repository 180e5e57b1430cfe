"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kvgossip.cli.errors import CommandError
from kvgossip.protocol.rumors.policy import Mode

MEASURED = "Exit code: 0 measured; 2 wrong usage."
CHECKED = (
    "Exit code: 0 every check held and all agreed; 1 not so, and the failing seed is "
    "printed; 2 wrong usage."
)

SYNCHRONOUS = "Epidemics in synchronous cycles"
"""The panel of the commands that measure them."""

Runs = Annotated[
    int,
    typer.Option(
        min=1, help="How often to repeat each experiment; printed are means ± standard error."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same numbers.")]
RunSeed = Annotated[int, typer.Option(help="Decides everything that is random.")]
FirstSeed = Annotated[
    int, typer.Option(help="The first seed; each decides everything about its run.")
]
Seeds = Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes to share the runs. Default: one a processor.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table; as -o json.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.png|.svg", help="Draw it, too. Needs the extra [sim]."),
]
Trace = Annotated[int, typer.Option(metavar="N", min=0, help="Show the last N events of a run.")]
Talk = Annotated[
    Mode,
    typer.Option(help="Which side of a contact sends.", show_choices=True),
]


def sizes_of(text: str, bounds: tuple[int, int]) -> list[int]:
    """One number or several, each once. Raises CommandError."""
    low, high = bounds
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise CommandError(
            f"--nodes {text} is no number or list of numbers", "write --nodes 10 or --nodes 5,10,20"
        )
    sizes = [int(part) for part in text.split(",")]
    if not all(low <= size <= high for size in sizes):
        raise CommandError(f"--nodes {text} is out of bounds", f"choose {low} to {high}")
    return list(dict.fromkeys(sizes))


def range_of(text: str, option: str, low: int, high: int) -> tuple[int, int]:
    """`5`, or `5-20`: at least and at most. Raises CommandError."""
    parts = text.split("-")
    if not all(part.isdecimal() for part in parts) or len(parts) > 2:
        raise CommandError(
            f"{option} {text} is neither a number nor a range", f"write {option} 5 or {option} 5-20"
        )
    first, last = int(parts[0]), int(parts[-1])
    if not low <= first <= last <= high:
        raise CommandError(
            f"{option} {text} is out of bounds", f"choose {low} to {high}, the smaller number first"
        )
    return first, last


def numbers_of(text: str, option: str, whole: bool = False) -> list[float]:
    """`3`, `1,2,5`, `0.5,2` or, for whole numbers, `1-5`. Raises CommandError for anything else."""
    pattern = r"\d+" if whole else r"\d+(?:\.\d+)?|\.\d+"
    if whole and (found := re.fullmatch(r"(\d+)-(\d+)", text)) and int(found[1]) <= int(found[2]):
        return [float(number) for number in range(int(found[1]), int(found[2]) + 1)]
    parts = text.split(",")
    if not all(re.fullmatch(pattern, part) for part in parts):
        raise CommandError(
            f"{option} {text} is no number or list of numbers",
            f"write {'3, 1-5 or 1,2,5' if whole else '2 or 0.5,1,2'}",
        )
    return [float(part) for part in parts]


def parameters_of(texts: Sequence[str]) -> dict[str, Any]:
    """The parameters of all options --parameter. Raises CommandError."""
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(
                f"--parameter {text} has no value",
                "write --parameter NAME=VALUE, as --parameter probe_interval_s=0.5",
            )
        parameters[name] = value
    return parameters


def check_plot_option(path: Path | None) -> None:
    """Raises CommandError before the work, not after it, if a figure could not be drawn."""
    if path is not None:
        from kvgossip.cli.sim.figures import check_plot

        check_plot(path)
