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
    PROFILES,
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
    "log_format",
)  # fmt: skip
LEVELS = ("debug", "info", "warning", "error")
CHOICES = {"log_level": LEVELS, "log_format": ("text", "json")}
AGENTS_OWN = {"profile": "lan", "log_level": "info", "log_format": "text"}
"""What the same places say that is no parameter of a node, with its default."""
DEFAULT_HTTP = Address("127.0.0.1", HTTP_PORT)
# Names that are ours but no parameter of a node; and what Kubernetes and Docker set for a service
# that is called kvgossip.
_OTHER_VARIABLES = re.compile(
    r"(URL|TOKEN|TOKEN_FILE|CA|CERT|CERT_KEY|CONFIG|PROFILE|LOG_LEVEL|LOG_FORMAT|IMAGE|TEST_.*)"
    r"|.*(SERVICE|PORT|PORT_\d+_\w+|SERVICE_(HOST|PORT)\w*)"
)


def variable_of(name: str) -> str:
    """The environment variable of a parameter."""
    return PREFIX + name.upper()


class Sources(NamedTuple):
    """Where the parameters of an agent, its profile, and how it logs come from: all that is read
    again when it is told to reload. `options`: of the command line, by name; None or empty is not
    given."""

    options: Mapping[str, Any]
    environment: Mapping[str, str]
    file: Path | None = None

    def read(self) -> Settings:
        """Raises ConfigError that names the place of the mistake: the file, the environment or the
        command line."""
        places = {
            str(self.file): _read_file(self.file) if self.file else {},
            "environment": _from_environment(self.environment),
            "command line": {name: value for name, value in self.options.items() if value},
        }
        own, values = dict(AGENTS_OWN), {"http": DEFAULT_HTTP}
        for place in places.values():
            own |= {name: str(place[name]) for name in AGENTS_OWN if name in place}
            values |= _parameters_in(place)
        for name in CHOICES:
            own[name] = _choice(name, own[name])
        try:
            config = config_from(values, own["profile"])
        except ConfigError as error:
            hint = error.hint or "`kvgossip config --schema` prints what each parameter takes"
            raise ConfigError(_located(error, places), hint) from error
        return Settings(config, own, places)


class Settings(NamedTuple):
    """What an agent goes by. `own`: AGENTS_OWN as they are effective. `places`: what each place
    says, the weakest first."""

    config: Config
    own: Mapping[str, str]
    places: Mapping[str, Mapping[str, Any]]

    def origin(self, name: str) -> str:
        """Where this value is from: `default`, `profile`, the path of the file, `environment` or
        `command line`."""
        # several addresses of `http` are parted into one and others
        names = {name, "http"} if name == "http_also" and self.config.http_also else {name}
        for place in reversed(list(self.places)):
            if names & self.places[place].keys():
                return place
        return "profile" if name in PROFILES[self.own["profile"]] else "default"


def load_config(
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None,
    profile: str | None,
) -> Config:
    """The agent's Config of these sources. Raises ConfigError."""
    return Sources({**options, "profile": profile}, environment, file).read().config


def check_level(level: str) -> None:
    """Raises ConfigError for an unknown one."""
    _choice("log_level", level)


def _choice(name: str, value: str) -> str:
    if value.lower() not in CHOICES[name]:
        text = f"unknown {name.replace('_', ' ')} {value!r}"
        raise ConfigError(text, f"choose one of {', '.join(CHOICES[name])}")
    return value.lower()


def _parameters_in(place: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in place.items() if name not in AGENTS_OWN}


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
    names = (*PARAMETERS, *AGENTS_OWN)
    given = {name: environment.get(variable_of(name), "") for name in names}
    return {name: text for name, text in given.items() if text}


def _located(error: ConfigError, places: Mapping[str, Mapping[str, Any]]) -> str:
    """The error's text after the place that makes the same mistake by itself."""
    for name, values in places.items():
        try:
            config_from(_parameters_in(values))
        except ConfigError as alone:
            if str(alone) == str(error):
                return f"{name}: {error}"
    return str(error)
