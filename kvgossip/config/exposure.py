"""Exposure: what of a node is open to whoever reaches its addresses."""

from __future__ import annotations

import ipaddress

from kvgossip.config.address import Address, parse_address
from kvgossip.config.config import Config
from kvgossip.config.unix_socket import is_unix

OPEN_DOORS = {
    "http": "HTTP is open: whoever reaches it may read and change everything (make tokens and name "
    "them with --tokens FILE, or listen on 127.0.0.1 or a unix socket, without --open-http)",
    "gossip": "gossip is open: whoever reaches it is a member, and reads and changes everything "
    "(seal it with --keyring FILE, which `kvgossip keygen FILE` makes)",
}
"""What it means that a door is open, and what to do."""

PROTECTED = "in protected mode: it serves clients of its own machine alone"
WAYS_OUT = (
    "three ways out: start it with --tokens FILE, so that it knows who may do what; or "
    "reach it by a unix socket or through a tunnel (--http unix:/run/kvgossip/"
    "http.sock); or say with --open-http that whoever reaches it may do everything"
)
"""Of protected mode."""


def has_tokens(config: Config) -> bool:
    """True if clients of HTTP must show who they are."""
    return bool(config.tokens)


def is_protected(config: Config) -> bool:
    """True in protected mode."""
    return not (config.open_http or has_tokens(config))


def bars_others(config: Config) -> bool:
    """True if other machines reach HTTP, and get nothing but the ways out."""
    return is_protected(config) and _beyond_loopback(_http_addresses(config))


def open_doors(config: Config) -> tuple[str, ...]:
    """Those of OPEN_DOORS that are open: HTTP that is served beyond this machine to
    everybody, gossip beyond this machine that no keyring seals."""
    gossip = [config.gossip, *([config.wan] if config.gateway else [])]
    is_open = {
        "http": config.open_http
        and not has_tokens(config)
        and _beyond_loopback(_http_addresses(config)),
        "gossip": not config.keyring and _beyond_loopback(gossip),
    }
    return tuple(door for door, opened in is_open.items() if opened)


def _http_addresses(config: Config) -> list[Address]:
    http = [parse_address(text, 0) for text in config.http_also if not is_unix(text)]
    return http + ([config.http] if config.http is not None else [])


def _beyond_loopback(addresses: list[Address]) -> bool:
    return not all(is_loopback(each.host) for each in addresses)


def is_loopback(host: str) -> bool:
    """An empty host stands for all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
