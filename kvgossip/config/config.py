"""The configuration of a node: its parameters, and the checks that need more than one of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvgossip.config.conversion import address, checked, read
from kvgossip.config.description import PARAMETERS, did_you_mean
from kvgossip.config.parameters import KEY_PATTERN, Parameters
from kvgossip.config.profiles import PROFILES
from kvgossip.errors import ConfigError

DATAGRAM_BYTES_MIN_SEALED = 1280


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Parameters):
    """All that a node needs to know before it starts; see Parameters for each of them.

    `Config()` is the `lan` profile. Raises ConfigError, which names the parameter and what it
    takes, for a value of another type or out of its bounds.
    """

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in PARAMETERS}
        for name, value in checked(given).items():
            if value is not given[name]:
                object.__setattr__(self, name, value)
        if not all(math.isfinite(number) for number in self.coordinates):
            raise PARAMETERS["coordinates"].refusal(self.coordinates, strict=True)
        if self.probe_timeout_s >= self.probe_interval_s:
            raise ConfigError(
                f"probe_timeout_s = {self.probe_timeout_s} is not below "
                f"probe_interval_s = {self.probe_interval_s}",
                "an indirect probe needs the rest of the interval",
            )
        self._check_security()
        for name in ("join", "join_wan"):
            for target in getattr(self, name):
                address(name, target)
        if self.join_wan and not self.gateway:
            raise ConfigError(
                "join_wan is for gateways, and this node is none",
                "set gateway too (--gateway), or leave join_wan out",
            )
        if self.gateway or self.wan_parameters:
            wan_config(self)

    def _check_security(self) -> None:
        if not isinstance(self.keyring, str) and not all(map(KEY_PATTERN.fullmatch, self.keyring)):
            # the error shows neither the key nor its place
            raise ConfigError(
                "keyring has a key that is not 64 hexadecimal digits",
                "`kvgossip keygen` makes one, in a file to name here",
            )
        if self.require_identity and not self.identity:
            raise ConfigError(
                "require_identity is set, and this node has no identity itself",
                "name the file of one with --identity",
            )
        if self.keyring and self.datagram_bytes_max < DATAGRAM_BYTES_MIN_SEALED:
            raise ConfigError(
                f"datagram_bytes_max = {self.datagram_bytes_max} is too small with a keyring",
                f"choose {DATAGRAM_BYTES_MIN_SEALED} to 65507: a seal needs room, and so does the "
                "longest key",
            )


def config_from(values: Mapping[str, Any], profile: str = "lan") -> Config:
    """A Config of a profile's name and plain values: of a TOML file, the environment, the options.

    Addresses may be `HOST:PORT` text, numbers may be text, `join` may be a list, or text with
    commas or blanks. Raises ConfigError for an unknown profile or name, or a wrong value.
    """
    if profile not in PROFILES:
        problem = did_you_mean(profile, PROFILES)
        raise ConfigError(
            f"unknown profile {profile!r}{problem}", f"choose one of {', '.join(PROFILES)}"
        )
    return Config(**{**PROFILES[profile], **read(values)})


def wan_config(config: Config) -> Config:
    """The configuration of the WAN pool of a gateway.

    It is `config` with the wan profile over it, `wan_parameters` over that, and addresses of its
    own. An interval of probes that leaves no room for the profile's timeout shortens that too, to
    the share of the interval that the profile gives it. Raises ConfigError for a parameter that
    does not fit the others.
    """
    addresses: dict[str, Any] = {
        "gossip": config.wan,
        "advertise": config.advertise_wan,
        "join": config.join_wan,
        "gateway": False,
        "join_wan": (),
        "wan_parameters": (),
    }
    profile, given = PROFILES["wan"], dict(config.wan_parameters)
    values = {**profile, **given}
    interval_s = values["probe_interval_s"]
    if "probe_timeout_s" not in given and interval_s <= profile["probe_timeout_s"]:
        share = profile["probe_timeout_s"] / profile["probe_interval_s"]
        values["probe_timeout_s"] = share * interval_s
    try:
        return dataclasses.replace(config, **values, **addresses)
    except ConfigError as error:
        raise ConfigError(f"wan_parameters: {error}", error.hint) from None
