"""A loader of Dynaconf: the keys of a cache as settings, `limits/rate` as `settings.limits.rate`.

    settings = Dynaconf(
        loaders=["kvgossip.contrib.dynaconf", "dynaconf.loaders.env_loader"],
        KVGOSSIP_FOR_DYNACONF="shop.config.config",
    )
    config.on_change("")(lambda change: settings.reload())

Dynaconf loads once, and what it has loaded stays: settings follow the cluster with the last line,
or one by one as `fresh_vars`, named in capitals, which are loaded anew with each
`settings.get("theme")`.

Laws
- What the cluster says is a value, and nothing else: `@jinja`, `@format`, `@read_file` and their
  like are text, and no key configures Dynaconf, which could have it load code.
"""

from __future__ import annotations

import json
from typing import Any

from kvgossip.contrib.named import cache_named
from kvgossip.contrib.nesting import nested
from kvgossip.extras import require

require("dynaconf", "kvgossip.contrib.dynaconf")

from dynaconf.loaders.base import SourceMetadata  # noqa: E402

SETTING = "KVGOSSIP_FOR_DYNACONF"
OWN = "DYNACONF"
"""Settings of Dynaconf itself have this in their names."""


def load(obj: Any, env: str | None = None, silent: bool = True, key: str | None = None) -> None:
    """Set all settings, or the one `key`. A `silent` failure is none here: ConfigError where
    KVGOSSIP_FOR_DYNACONF names no cache."""
    cache = cache_named(obj.get(SETTING), SETTING)
    source = SourceMetadata("kvgossip", cache.prefix, "global")
    parses = obj.get("AUTO_CAST_FOR_DYNACONF", True)
    mine = {
        name: _literal(value) if parses else value
        for name, value in cache.snapshot().items()
        if OWN not in name.upper() and key in (None, _first(name).upper())
    }
    # what other loaders have put beside them; what `fresh` would load is loaded here
    before = {_first(name): obj.get(_first(name), fresh=False) for name in mine if "/" in name}
    for first, value in nested({**before, **mine}).items():
        obj.set(first, value, loader_identifier=source, merge=False)


def _first(name: str) -> str:
    return name.partition("/")[0]


def _literal(value: Any) -> Any:
    """A value that Dynaconf parses to just this value."""
    if isinstance(value, str) and value.startswith("@"):
        return f"@json {json.dumps(value)}"
    if isinstance(value, dict):
        return {name: _literal(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    return value
