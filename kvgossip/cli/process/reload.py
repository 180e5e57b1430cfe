"""Reload: what an agent reads anew at SIGHUP, of an operator or of a terminal that closes.

The level of the log and the keys of the keyring file change while a node runs; the server has its
certificate read at the same time. Everything else in the file is what the node, its peers and its
disk go by, and needs a restart: the log names what differs. A mistake in a file changes nothing,
and never ends the process.
"""

from __future__ import annotations

import logging

from kvgossip.cli.settings import Sources, check_level
from kvgossip.config import PARAMETERS, Config
from kvgossip.errors import KVGossipError
from kvgossip.runtime.node import Node

log = logging.getLogger("kvgossip.agent")


class Reload:
    """`config`: what was read from `sources` at the start."""

    def __init__(self, sources: Sources, config: Config) -> None:
        self._sources, self._config = sources, config

    def __call__(self, node: Node) -> None:
        try:
            config, level = self._sources.read()
            keys = node.reload_keyring()
            logging.getLogger().setLevel(check_level(level))
        except KVGossipError as error:
            log.warning("%s reloads nothing: %s (%s)", node.name, error, error.hint)
            return
        log.info("%s has reloaded its log level, %s, %s", node.name, level, _shown(keys))
        given = [
            name for name in PARAMETERS if getattr(config, name) != getattr(self._config, name)
        ]
        if given:
            log.warning("%s must be restarted to take the new %s", node.name, ", ".join(given))


def _shown(keys: list[str]) -> str:
    return f"and its keys: {', '.join(keys)}, of which the first seals" if keys else "and no keys"
