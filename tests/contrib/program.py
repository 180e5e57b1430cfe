"""The cache of a program, as a setting of a library names it."""

from __future__ import annotations

from kvgossip.cache.config_cache import ConfigCache

#: for settings of Django, which a process has but once
config = ConfigCache.static({"theme": "light"}, "shop/")

PATH = f"{__name__}.config"
