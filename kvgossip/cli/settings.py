"""The sources of an agent's parameters: options, then environment, file, profile, default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kvgossip.config import (
    HTTP_PORT,
    PARAMETERS,
    Address,
    Config,
    check_no_key,
    config_from,
)
from kvgossip.config.description import did_you_mean
from kvgossip.errors import ConfigError

PREFIX = "KVGOSSIP_"
OTHER_SOURCES = (
    "url", "token", "token_file", "ca", "cert", "cert_key", "config", "profile", "log_level",
)  # fmt: skip
LEVELS = ("debug", "info", "warning", "error")
LOG_LEVEL, DEFAULT_LEVEL = "log_level", "info"
DEFAULT_HTTP = Address("127.0.0.1", HTTP_PORT)
# Names that are ours but no parameter of a node; and what Kubernetes and Docker set for a service
# that is called kvgossip.
_OTHER_VARIABLES = re.compile(
    r"(URL|TOKEN|TOKEN_FILE|CA|CERT|CERT_KEY|CONFIG|PROFILE|LOG_LEVEL|IMAGE|TEST_.*)"
    r"|.*(SERVICE|PORT|PORT_\d+_\w+|SERVICE_(HOST|PORT)\w*)"
)


def variable_of(name: str) -> str:
    """The environment variable of a parameter."""
    return PREFIX + name.upper()


def load_config(
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None,
    profile: str | None,
) -> Config:
    """The agent's Config. `options` are those of the command line, None or empty if not given.

    Raises ConfigError that names the place of the mistake: the file, the environment or the
    command line.
    """
    written = _read_file(file) if file else {}
    in_file = str(written.pop("profile", "lan"))
    check_level(str(written.pop(LOG_LEVEL, DEFAULT_LEVEL)))
    places = {
        str(file): written,
        "environment": _from_environment(environment),
        "command line": {name: value for name, value in options.items() if value},
    }
    values: dict[str, Any] = {"http": DEFAULT_HTTP}
    for place in places.values():
        values.update(place)
    try:
        return config_from(values, profile or in_file)
    except ConfigError as error:
        hint = error.hint or "`kvgossip config schema` prints what each parameter takes"
        raise ConfigError(_located(error, places), hint) from error


def check_level(level: str) -> str:
    """The level as logging calls it. Raises ConfigError for an unknown one."""
    if level.lower() not in LEVELS:
        raise ConfigError(f"unknown log level {level!r}", f"choose one of {', '.join(LEVELS)}")
    return level.upper()


class Sources(NamedTuple):
    """Where the parameters of an agent, and the level of its log, come from: all that is read again
    when it is told to reload. `log_level`: of the command line or the environment, None: not
    given."""

    options: Mapping[str, Any]
    environment: Mapping[str, str]
    file: Path | None
    profile: str | None
    log_level: str | None

    def read(self) -> tuple[Config, str]:
        """The parameters and the level. Raises ConfigError."""
        config = load_config(self.options, self.environment, self.file, self.profile)
        in_file = _read_file(self.file).get(LOG_LEVEL) if self.file else None
        level = self.log_level or in_file or DEFAULT_LEVEL
        return config, level


def nearest_variable(variable: str) -> str:
    """A question that names the variable that was probably meant; empty where none is like it."""
    names = [variable_of(name) for name in (*PARAMETERS, *OTHER_SOURCES)]
    return did_you_mean(variable, names)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and mean nothing: probably misspelt."""
    names = [name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX)]
    return [
        PREFIX + name
        for name in names
        if name.lower() not in PARAMETERS and not _OTHER_VARIABLES.fullmatch(name)
    ]


def _read_file(file: Path) -> dict[str, Any]:
    check_no_key("the name of the configuration file", str(file))
    hint = "write parameters as in `kvgossip agent --help`, one a line: probe_interval_s = 2.0"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        text = f"cannot read the configuration file {file}: {error.strerror}"
        raise ConfigError(text, "name a readable TOML file") from error
    except (ValueError, RecursionError) as error:  # a syntax, a number or a nesting beyond reading
        raise ConfigError(f"{file} is not valid TOML: {error}", hint) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    # An empty variable is one that a compose file left open: not given.
    given = {name: environment.get(variable_of(name), "") for name in PARAMETERS}
    return {name: text for name, text in given.items() if text}


def _located(error: ConfigError, places: Mapping[str, Mapping[str, Any]]) -> str:
    """The error's text after the place that makes the same mistake by itself."""
    for name, values in places.items():
        try:
            config_from(values)
        except ConfigError as alone:
            if str(alone) == str(error):
                return f"{name}: {error}"
    return str(error)
