"""What the options that several experiments share mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kvgossip.cli.errors import CommandError


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


def parameters_of(texts: Sequence[str]) -> dict[str, Any]:
    """What --parameter was given. Raises CommandError."""
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
