"""Figures: curves into a PNG or SVG file, for --plot. matplotlib is the extra `[sim]` and is
imported only here, when a figure is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kvgossip.cli.errors import CommandError
from kvgossip.extras import require

SUFFIXES = (".png", ".svg")
# Told apart by all kinds of eyes, also in grey: Okabe and Ito's palette, and a marker for each.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"


@dataclass(frozen=True, slots=True)
class Curve:
    """`theory`: dashed and without markers, in the colour of the curve before it."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    theory: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    label: str
    logarithmic: bool = False


def check_plot(path: Path) -> None:
    """Raises CommandError or MissingPackageError before the work, not after it, if a figure could
    not be drawn."""
    if path.suffix not in SUFFIXES:
        raise CommandError(
            f"--plot {path} is neither a .png nor a .svg file",
            f"for example --plot {path.stem or 'figure'}.svg",
        )
    require("matplotlib", "--plot")


def plot(path: Path, title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> None:
    """Writes the figure; the same curves give the same bytes. Raises CommandError if the file
    cannot be written."""
    matplotlib: Any = import_module("matplotlib")
    # Text stays text, and no date: an SVG that is small, searchable, and changes only when the
    # curves do.
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "kvgossip", "font.size": 9}
    ):
        figure = import_module("matplotlib.figure").Figure(figsize=(7, 4.5), layout="constrained")
        _draw(figure.subplots(), title, x, y, curves)
        try:
            figure.savefig(
                path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None
            )
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from error


def _draw(axes: Any, title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> None:
    place = -1
    for curve in curves:
        place += not curve.theory
        color = COLORS[max(place, 0) % len(COLORS)]
        style = (
            {"ls": "--", "lw": 0.8, "alpha": 0.7}
            if curve.theory
            else {"marker": MARKERS[place % len(MARKERS)], "ms": 4.5, "lw": 1.2}
        )
        axes.plot(curve.xs, curve.ys, label=curve.label, color=color, **style)
    axes.set(title=title, xlabel=x.label, ylabel=y.label)
    axes.set_xscale("log" if x.logarithmic else "linear")
    axes.set_yscale("log" if y.logarithmic else "linear")
    axes.grid(True, which="major", lw=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
