"""A scenario: a coroutine that does something to a cluster, and says what was broken by it.

It returns facts, for people, and `violation`: what broke, in words; empty where nothing did.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
Run = Callable[..., Awaitable[Result]]
Option = str | int | float | bool

TAKEN_UP_AND_DOWN_S = 240.0
"""What a scenario may take beside the time that its options give it: a cluster's start, what it
waits for at most, and the judge."""


class UnavailableError(Exception):
    """This machine lacks something that the scenario needs."""


class OptionError(Exception):
    """A wrong word on the command line."""


class Violations(list[str]):
    """What was broken, each in words."""

    def unless(self, holds: bool, otherwise: str) -> None:
        """Adds `otherwise` where the promise does not hold."""
        if not holds:
            self.append(otherwise)

    def result(self, **facts: Any) -> Result:
        return {**facts, "violation": "; ".join(self)}


@dataclass(frozen=True, slots=True)
class Scenario:
    """`alone`: nothing else may run beside it, as it measures times, or mounts a disk. `limit_s`:
    see the options."""

    name: str
    run: Run
    limit_s: float
    alone: bool

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return self.description.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")

    @property
    def defaults(self) -> dict[str, Option]:
        parameters = inspect.signature(self.run).parameters
        return {name: each.default for name, each in parameters.items()}

    def options(self, words: list[str]) -> dict[str, Option]:
        """Of words such as `seconds=20`. Raises OptionError."""
        defaults, options = self.defaults, {}
        for word in words:
            name, sign, text = word.partition("=")
            if not sign or name not in defaults:
                known = ", ".join(f"{each}={value}" for each, value in defaults.items())
                raise OptionError(f"{self.name} has no option {word!r}; it has {known or 'none'}")
            options[name] = _read(name, text, defaults[name])
        return options

    def time_limit_s(self, options: dict[str, Option]) -> float:
        """After so long the scenario is stopped, and has failed."""
        given = {**self.defaults, **options}
        own_s = float(given.get("seconds", 0)) + 60 * float(given.get("minutes", 0))
        return self.limit_s + own_s


def _read(name: str, text: str, default: Option) -> Option:
    if isinstance(default, bool):
        if text not in ("0", "1"):
            raise OptionError(f"{name} is 0 or 1, not {text!r}")
        return text == "1"
    try:
        return type(default)(text)
    except ValueError:
        raise OptionError(f"{name} is a {type(default).__name__}, not {text!r}") from None


SCENARIOS: dict[str, Scenario] = {}


def scenario(*, limit_s: float = TAKEN_UP_AND_DOWN_S, alone: bool = False) -> Callable[[Run], Run]:
    """Registers a coroutine under its own name."""

    def register(run: Run) -> Run:
        name = run.__name__
        SCENARIOS[name] = Scenario(name, run, limit_s, alone)
        return run

    return register
