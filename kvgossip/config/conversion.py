"""Values of parameters as they are written, converted to those that Config holds.

msgspec converts and checks by the annotations of Parameters. It does not know how text writes an
address, a list, a table, and "on" or "off".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from kvgossip.config.address import Address, parse_address
from kvgossip.config.description import (
    PARAMETERS,
    WAN_PARAMETERS,
    Parameter,
    did_you_mean,
    shown,
)
from kvgossip.config.unix_socket import is_unix
from kvgossip.errors import ConfigError

Values = msgspec.defstruct(
    "Values", [(p.name, p.annotation, p.default) for p in PARAMETERS.values()], kw_only=True
)
"""All parameters with the annotations of Parameters, as a class whose conversion runs no checks."""

ALL_NAMES = "`kvgossip config --schema` prints what there is"

_ADDRESSES = tuple(name for name, parameter in PARAMETERS.items() if parameter.is_address)
_LISTS = ("join", "join_wan", "coordinates", "http_also", "http_hosts")
_SWITCHES = {"on": True, "yes": True, "off": False, "no": False}


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a constructor, where a number must be one.

    Raises ConfigError for the first value that is wrong.
    """
    return _converted(values, strict=True)


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a file, the environment or the command line, where a number may be text.

    Raises ConfigError for the first value that is unknown or wrong.
    """
    given: dict[str, Any] = {}
    for name, value in _http_parted(values).items():
        if name not in PARAMETERS and isinstance(value, Mapping):
            raise ConfigError(
                f"there is no table {shown(name)}",
                f"write what it holds at the top of the file, without the line [{name}]",
            )
        if name not in PARAMETERS:
            text = f"unknown parameter {shown(name)}{did_you_mean(str(name), PARAMETERS)}"
            raise ConfigError(text, ALL_NAMES)
        given[name] = _trimmed(PARAMETERS[name], value) if isinstance(value, str) else value
    return _converted(given, strict=False)


def _http_parted(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where `http` has several addresses or a unix socket: the first of TCP as `http`, all others
    in `http_also`."""
    http, also = values.get("http"), values.get("http_also", ())
    parts = _parts_of(http) if isinstance(http, str) else http
    if not (isinstance(parts, list) and parts) or not all(isinstance(part, str) for part in parts):
        return values
    if len(parts) == 1 and not is_unix(parts[0]):
        return {**values, "http": parts[0]}
    first = next((part for part in parts if not is_unix(part)), None)
    others = [part for part in parts if part is not first]
    more = _parts_of(also) if isinstance(also, str) else list(also)
    return {**values, "http": first, "http_also": [*others, *more]}


def _parts_of(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", text) if part]


def wan_pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    """`wan_parameters` as pairs of name and converted value.

    `value` is a mapping, pairs, or text: `probe_interval_s=2, gossip_interval_s=0.3`.
    """
    parameter = PARAMETERS["wan_parameters"]
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if isinstance(value, str):
        parts = [text.partition("=") for text in value.split(",") if text.strip()]
        if not all(sign for _, sign, _ in parts):
            raise parameter.refusal(value, strict=False)
        pairs = [(name.strip(), setting.strip()) for name, _, setting in parts]
    try:
        given = dict(msgspec.convert(pairs, tuple[tuple[str, Any], ...]))
    except (msgspec.ValidationError, ValueError):
        raise parameter.refusal(value, strict=False) from None
    for name in given:
        if name not in WAN_PARAMETERS:
            known = WAN_PARAMETERS if name not in PARAMETERS else ()
            text = f"wan_parameters: {shown(name)} cannot be set for the WAN pool alone"
            raise ConfigError(f"{text}{did_you_mean(name, known)}", ALL_NAMES)
    try:
        return tuple(read(given).items())
    except ConfigError as error:
        raise ConfigError(f"wan_parameters: {error}", error.hint) from None


def address(name: str, text: str) -> Address:
    """The address that the text of this parameter writes. Raises ConfigError that names both."""
    try:
        return parse_address(text, PARAMETERS[name].extra("port"))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}", error.hint) from None


def _converted(values: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    given = dict(values)
    for name in _ADDRESSES:
        if isinstance(text := given.get(name), str):
            given[name] = address(name, text)
    for name in _LISTS:
        if isinstance(text := given.get(name), str):
            given[name] = _parts_of(text)
    if given.get("wan_parameters", ()) != ():
        given["wan_parameters"] = wan_pairs(given["wan_parameters"])
    try:
        taken = msgspec.convert(given, Values, strict=strict)
    except (msgspec.ValidationError, ValueError):
        raise _first_refusal(given, strict) from None
    return {name: getattr(taken, name) for name in given}


def _first_refusal(values: Mapping[str, Any], strict: bool) -> ConfigError:
    """The error for the first value that is wrong by itself."""
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, Values, strict=strict)
        except (msgspec.ValidationError, ValueError):
            return PARAMETERS[name].refusal(value, strict=strict)
    raise AssertionError("values that were refused together are refused alone")


def _trimmed(parameter: Parameter, text: str) -> Any:
    """Text of a switch or a number, as msgspec reads it; any other text as it is."""
    if parameter.type is bool:
        return _SWITCHES.get(text.strip().lower(), text.strip())
    return text.strip() if parameter.type in (int, float) else text
