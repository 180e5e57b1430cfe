"""Reload: what an agent reads anew at SIGHUP, of an operator or of a terminal that closes.

The level of the log and the keys of the keyring file change while a node runs; the server has its
tokens and its certificate read at the same time. Everything else in the file is what the node, its
peers and its disk go by, and needs a restart: the log names what differs.

Each file is read by itself. One that cannot be used leaves in force what is, in words, keeps nobody
from taking the others, and never ends the process. A line says of each what it has changed.
"""

from __future__ import annotations

import logging

from kvgossip.cli.settings import Settings, Sources
from kvgossip.config import PARAMETERS
from kvgossip.errors import KVGossipError
from kvgossip.runtime.node import Node

log = logging.getLogger("kvgossip.agent")


class Reload:
    """`settings`: what was read from `sources` at the start."""

    def __init__(self, sources: Sources, settings: Settings) -> None:
        self._sources, self._started = sources, settings
        self._level = settings.own["log_level"]

    def __call__(self, node: Node) -> None:
        try:
            self._take(self._sources.read(), node)
        except KVGossipError as error:
            log.warning("%s keeps its configuration: %s (%s)", node.name, error, error.hint)
        before = _keys(node)
        try:
            node.reload_keyring()
        except KVGossipError as error:
            log.warning("%s keeps its keys: %s (%s)", node.name, error, error.hint)
            return
        if after := _keys(node):
            text = "%s has read its keyring again: keys %s, of which the first seals%s"
            was = "" if after == before else f"; they were {', '.join(before)}"
            log.info(text, node.name, ", ".join(after), was)

    def _take(self, settings: Settings, node: Node) -> None:
        before, self._level = self._level, settings.own["log_level"]
        # told at the level that tells more of the two
        levels = [logging.getLevelName(level.upper()) for level in (before, self._level)]
        logging.getLogger().setLevel(min(levels))
        was = "" if before == self._level else f"; it was {before}"
        log.info("%s has read its configuration again: log level %s%s", node.name, self._level, was)
        logging.getLogger().setLevel(self._level.upper())
        now, then = settings.config, self._started.config
        differing = [name for name in PARAMETERS if getattr(now, name) != getattr(then, name)]
        if settings.own["log_format"] != self._started.own["log_format"]:
            differing.append("log_format")
        if differing:
            log.warning("%s must be restarted to take the new %s", node.name, ", ".join(differing))


def _keys(node: Node) -> list[str]:
    """The ids of its keys, that of the one that seals first."""
    keyring = node.status()["keyring"]
    return [] if keyring is None else list(keyring["keys"])
