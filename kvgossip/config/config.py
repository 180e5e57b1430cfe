"""The configuration of a node: its parameters, and the checks that need more than one of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from kvgossip.config.address import (
    GOSSIP_PORT,
    HTTP_PORT,
    WAN_PORT,
    Address,
    overlap,
    unreachable,
)
from kvgossip.config.conversion import address, checked, read
from kvgossip.config.description import PARAMETERS, did_you_mean
from kvgossip.config.parameters import KEY_LIKE, KEY_PATTERN, Parameters
from kvgossip.config.profiles import PROFILES
from kvgossip.config.unix_socket import is_unix, unix_path
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
        self._check_addresses()
        if self.gateway or self.wan_parameters:
            wan_config(self)

    def _check_addresses(self) -> None:
        for name in ("join", "join_wan"):
            for target in getattr(self, name):
                check_target(name, address(name, target))
        for name in ("advertise", "advertise_wan"):
            given = getattr(self, name)
            # without a host it is the one that peers see
            if given is not None and given.host and (problem := unreachable(given.host)):
                raise ConfigError(
                    f"{name} = {given}: {problem}, so no peer reaches this node there",
                    f"name an address of this node that its peers can reach, or leave {name} out: "
                    "then it is the one that they see",
                )
        for name in ("join_wan", "advertise_wan", "wan"):
            if getattr(self, name) != PARAMETERS[name].default and not self.gateway:
                raise ConfigError(
                    f"{name} is for gateways, and this node is none",
                    f"set gateway too (--gateway), or leave {name} out",
                )
        listens = [("gossip", self.gossip), ("http", self.http)]
        for text in self.http_also:
            if is_unix(text):
                unix_path(text)
            else:
                listens.append(("http_also", address("http_also", text)))
        if self.gateway:
            listens.append(("wan", self.wan))
        for (one, here), (other, there) in combinations(listens, 2):
            if here is not None and there is not None and overlap(here, there):
                raise ConfigError(
                    f"{one} = {here} and {other} = {there} are one address for two things",
                    f"give one of them another port; by default gossip is {GOSSIP_PORT}, http "
                    f"{HTTP_PORT}, wan {WAN_PORT}",
                )

    def _check_security(self) -> None:
        if not isinstance(self.keyring, str) and not all(map(KEY_PATTERN.fullmatch, self.keyring)):
            # the error shows neither the key nor its place
            raise ConfigError(
                "keyring has a key that is not 64 hexadecimal digits",
                "`kvgossip keygen` makes one, in a file to name here",
            )
        for name in ("keyring", "identity", "data_dir", "tokens"):
            check_no_key(name, getattr(self, name))
        if self.require_identity and not self.identity:
            raise ConfigError(
                "require_identity is set, and this node has no identity itself",
                "name the file of one with --identity",
            )
        for name in ("tls_key", "tls_client_ca"):
            if getattr(self, name) and not self.tls_cert:
                raise ConfigError(
                    f"{name} is set, and tls_cert is not",
                    "name the certificate with --tls-cert, or leave it out: then HTTP is plain",
                )
        if self.keyring and self.datagram_bytes_max < DATAGRAM_BYTES_MIN_SEALED:
            raise ConfigError(
                f"datagram_bytes_max = {self.datagram_bytes_max} is too small with a keyring",
                f"choose {DATAGRAM_BYTES_MIN_SEALED} to 65507: a seal needs room, and so does the "
                "longest key",
            )


def check_no_key(name: str, given: object) -> None:
    """Raises ConfigError, which does not repeat it, where a key is given for a path. `name`: of the
    parameter or the argument."""
    if isinstance(given, str) and KEY_LIKE.search(given) and "/" not in given:
        raise ConfigError(
            f"{name} is a key, where a path is expected",
            "write it into a file (`kvgossip keygen FILE` makes one), name that, and take another "
            "key: others may have seen this one on the command line",
        )


def check_target(name: str, target: Address) -> None:
    """Raises ConfigError for an address at which no member can be joined. `name`: of the
    parameter."""
    problem = (unreachable(target.host) if target.host else "it names no host") or (
        "port 0 is none" if not target.port else ""
    )
    if problem:
        raise ConfigError(
            f"{name}: nobody is found at {target}: {problem}",
            "name a member by an address that this node can reach, for example 10.0.0.5:7481; on "
            "one machine that is 127.0.0.1",
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
        "wan": PARAMETERS["wan"].default,
        "advertise_wan": None,
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
