"""Named: the cache that a setting names, for libraries that are configured by text. The cache stays
in a module of the program, where all others import it."""

from __future__ import annotations

import pkgutil

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.errors import ConfigError


def cache_named(path: object, setting: str) -> ConfigCache:
    """The cache at `shop.config.config`; it is not opened. Raises ConfigError where there is
    none."""
    hint = f'set {setting} to where your ConfigCache is, such as "shop.config.config"'
    if not isinstance(path, str) or not path:
        raise ConfigError(f"{setting} does not name a ConfigCache, but is {path!r}", hint)
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{setting} names {path!r}, which is not there: {error}", hint) from error
    if not isinstance(found, ConfigCache):
        kind = type(found).__name__
        raise ConfigError(f"{setting} names {path!r}, a {kind} and no ConfigCache", hint)
    return found
