"""A backend of django-constance: its settings are keys under `constance/`, and what its admin page
writes every process reads at once.

    CONSTANCE_BACKEND = "kvgossip.contrib.constance.KVGossipBackend"
    KVGOSSIP_CACHE = "shop.config.config"

Laws
- A read writes nothing. Constance writes the default of a setting that its backend does not have;
  a process that has just started does not have any yet, and would write over what the cluster has.
  So a setting that is not there reads as its default here, and to set None is to delete.
- A value is plain JSON or text where it can be, so that others may write and read it. What JSON
  cannot say is as Constance says it: {"__type__": "decimal", "__value__": "1.50"}.
- One that Constance cannot read reads as its default, and is logged once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from kvgossip.contrib.django import config_cache
from kvgossip.extras import require
from kvgossip.protocol.model.plain_text import plain

require("constance", "kvgossip.contrib.constance")

from constance import config, settings, signals  # noqa: E402
from constance.backends import Backend  # noqa: E402
from constance.codecs import DEFAULT_DISCRIMINATOR, dumps, loads  # noqa: E402

PREFIX = "constance/"

log = logging.getLogger("kvgossip")


class KVGossipBackend(Backend):  # type: ignore[misc]  # Constance has no types
    #: the last value of each setting that cannot be read, of all backends: Constance makes several
    _unreadable: ClassVar[dict[str, Any]] = {}

    def get(self, key: str) -> Any:
        return self._read(config_cache().snapshot(), key)

    async def aget(self, key: str) -> Any:
        return self.get(key)

    def mget(self, keys: Iterable[str]) -> dict[str, Any]:
        seen = config_cache().snapshot()
        return {key: self._read(seen, key) for key in keys if PREFIX + key in seen}

    async def amget(self, keys: Iterable[str]) -> dict[str, Any]:
        return self.mget(keys)

    def set(self, key: str, value: Any) -> None:
        old = self.get(key)
        if value is None:
            config_cache().delete(PREFIX + key)
        else:
            config_cache().put(PREFIX + key, _plain(value))
        _tell(key, old, value)

    async def aset(self, key: str, value: Any) -> None:
        old = self.get(key)
        if value is None:
            await config_cache().adelete(PREFIX + key)
        else:
            await config_cache().aput(PREFIX + key, _plain(value))
        _tell(key, old, value)

    def _read(self, seen: Mapping[str, Any], key: str) -> Any:
        value = seen.get(PREFIX + key)
        if value is None:
            return _default(key)
        if not isinstance(value, dict | list):
            return value
        if self._unreadable.get(key) == value:
            return _default(key)
        try:
            return loads(json.dumps(value))
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            self._unreadable[key] = value
            log.warning(
                "%s%s is not read by Constance, and its default is: %s",
                PREFIX,
                plain(key),
                plain(repr(error)),
            )
            return _default(key)


def _default(key: str) -> Any:
    options = settings.CONFIG.get(key)
    return options[0] if options else None


def _plain(value: Any) -> Any:
    """What JSON can say: the value, or what Constance writes in its place."""
    written = json.loads(dumps(value))
    return written["__value__"] if written["__type__"] == DEFAULT_DISCRIMINATOR else written


def _tell(key: str, old: Any, new: Any) -> None:
    signals.config_updated.send(sender=config, key=key, old_value=old, new_value=new)
