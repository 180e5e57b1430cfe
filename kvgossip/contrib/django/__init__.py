"""An app of Django: the cache of the project, and a system check of it.

    INSTALLED_APPS = [..., "kvgossip.contrib.django"]
    KVGOSSIP_CACHE = "shop.config.config"

    config_cache()["theme"]

Nothing here opens the cache, so that `manage.py check` and `migrate` join nothing. Values are read
from the cache, and are never put into `django.conf.settings`, which must not change while a process
runs.

apps    the app, and its system check
"""

from __future__ import annotations

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.contrib.named import cache_named
from kvgossip.extras import require

require("django", "kvgossip.contrib.django")

from django.conf import settings  # noqa: E402

SETTING = "KVGOSSIP_CACHE"


def config_cache() -> ConfigCache:
    """The cache that KVGOSSIP_CACHE names, as it is set now: tests may name another. Raises
    ConfigError where there is none."""
    return cache_named(getattr(settings, SETTING, None), SETTING)
