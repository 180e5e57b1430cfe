"""The app, and its system check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks

from kvgossip.contrib.django import config_cache
from kvgossip.errors import ConfigError


class KVGossipConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    name = "kvgossip.contrib.django"
    label = "kvgossip"
    verbose_name = "kvgossip"

    def ready(self) -> None:
        checks.register(check_cache, "kvgossip")


def check_cache(app_configs: Sequence[Any] | None, **given: Any) -> list[checks.CheckMessage]:
    """What is wrong with the cache, as far as can be seen without opening it."""
    try:
        config_cache()
    except ConfigError as error:
        return [checks.Error(str(error), hint=error.hint, id="kvgossip.E001")]
    return []
