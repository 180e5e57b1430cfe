"""The declaration of a parameter in words: its section, unit and bounds, and its refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import msgspec

from kvgossip.config.address import Address
from kvgossip.config.parameters import Parameters
from kvgossip.errors import ConfigError

UNITS = {"_per_s": "per second", "_s": "of seconds", "_bytes_max": "of bytes"}
"""By the end of a parameter's name, the unit as it follows the word "number"."""
PORT_MAX = 65535
SHOWN_MAX = 80
"""Characters of a wrong value that an error shows at most."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, as Parameters declares it."""

    name: str
    #: The annotation, with all its metadata: the type that msgspec converts to
    annotation: Any
    default: Any
    #: Its own metadata, of which the later goes before the earlier
    metadata: tuple[msgspec.Meta, ...]

    @property
    def type(self) -> Any:
        """The bare type, without bounds."""
        return get_args(self.annotation)[0]

    @property
    def description(self) -> str:
        return next(meta.description for meta in self.metadata if meta.description is not None)

    @property
    def help(self) -> str:
        """The description, with the default where there is one."""
        if self.default in ("", (), None, False):
            return self.description
        return f"{self.description} Default: {self.default}."

    @property
    def low(self) -> float | None:
        """The least number that is taken, None for what is no number."""
        return next((meta.ge for meta in self.metadata if meta.ge is not None), None)

    @property
    def high(self) -> float | None:
        """The largest number that is taken, None for what is no number."""
        return next((meta.le for meta in self.metadata if meta.le is not None), None)

    @property
    def section(self) -> str:
        return str(self.extra("section"))

    @property
    def per_pool(self) -> bool:
        """True if the WAN pool of a gateway may have another value."""
        return bool(self.extra("per_pool"))

    @property
    def own(self) -> bool:
        """True if its value on one member is no concern of the others."""
        return bool(self.extra("own"))

    @property
    def is_path(self) -> bool:
        return self.extra("metavar") in ("FILE", "DIR")

    @property
    def is_address(self) -> bool:
        return self.type == Address or Address in get_args(self.type)

    @property
    def kind(self) -> str:
        """The kind of value that is expected, as it follows "is not"."""
        if get_origin(self.type) is Literal:
            return f"one of {', '.join(get_args(self.type))}"
        if self.is_address:
            return "an address"
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        return str(self.extra("kind") or kinds[self.type])

    @property
    def takes(self) -> str:
        """All that a value must be: kind, unit, bounds."""
        if self.low is not None:
            unit = next((f" {unit}" for end, unit in UNITS.items() if self.name.endswith(end)), "")
            return f"{self.kind}{unit} from {self.low} to {self.high}"
        if self.is_address:
            return "text such as 10.0.0.5:7481 or [::1]:7481"
        return str(self.extra("takes") or self.kind)

    def extra(self, key: str) -> Any:
        """The extra of the metadata under this key, None where there is none."""
        values = [meta.extra[key] for meta in self.metadata if meta.extra and key in meta.extra]
        return values[-1] if values else None

    def refusal(self, value: Any, *, strict: bool) -> ConfigError:
        """The error for a value that was not taken. It never shows a secret."""
        what = self.name if self.extra("secret") else f"{self.name} = {shown(value)}"
        if self.low is not None and _is_number(value, self.type, strict):
            problem = "out of bounds"
        else:
            problem = self.extra("problem") or f"not {self.kind}"
        takes = "" if self.takes == self.kind else f": it takes {self.takes}"
        if self.is_address and type(value) is int and 0 <= value <= PORT_MAX:
            host = "127.0.0.1" if self.name == "http" else "0.0.0.0"
            return ConfigError(
                f"{what} is a port alone{takes}", f'write {self.name} = "{host}:{value}"'
            )
        return ConfigError(f"{what} is {problem}{takes}", self.description)


def described() -> dict[str, Parameter]:
    """Every parameter by its name, in the order of their declaration."""
    return {
        field.name: Parameter(field.name, field.type, field.default, get_args(field.type)[1:])
        for field in dataclasses.fields(Parameters)
    }


PARAMETERS = described()
WAN_PARAMETERS = tuple(name for name, parameter in PARAMETERS.items() if parameter.per_pool)
"""The parameters that may differ between the pools of a gateway: all but those of the store behind
them."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the most similar of the known names, empty when none is similar."""
    from difflib import get_close_matches

    similar = get_close_matches(name, list(known), n=1)
    return f": did you mean {similar[0]!r}?" if similar else ""


def shown(value: Any) -> str:
    """The value for an error message, shortened."""
    try:
        text = repr(value)
    except Exception:  # such as a number of more digits than Python writes
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 3]}..."


def _is_number(value: Any, kind: type, strict: bool) -> bool:
    """True if the value would be taken if there were no bounds."""
    if isinstance(value, int) and not isinstance(value, bool):
        return True  # also one that is larger than any float
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        return False
    return True
