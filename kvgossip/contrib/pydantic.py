"""A source of pydantic-settings: a field is a key, and a model within is the keys under its name.

    class Settings(BaseSettings):
        theme: str = "light"

        @classmethod
        def settings_customise_sources(cls, settings_cls, **sources):
            return sources["init_settings"], KVGossipSettingsSource(settings_cls, config)

A settings object is one state of the cluster, and stays as it is. Who wants it to follow changes
binds a model to the cache (`config.bind`), or makes another object in a callback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.contrib.nesting import nested
from kvgossip.extras import require

require("pydantic_settings", "kvgossip.contrib.pydantic")

from pydantic import AliasChoices, AliasPath  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource  # noqa: E402


class KVGossipSettingsSource(PydanticBaseSettingsSource):
    """The keys under this prefix of a cache, or all. Keys that are no fields are left alone."""

    def __init__(
        self, settings_cls: type[BaseSettings], cache: ConfigCache, prefix: str = ""
    ) -> None:
        super().__init__(settings_cls)
        self._cache, self._prefix = cache, prefix
        self._values: Mapping[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        # all from one state
        self._values = nested(self._cache.snapshot(), self._prefix)
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if key in self._values:
                found[key] = value
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value; the name under which the model takes it; and that it is decoded."""
        names = [*_aliases(field), field_name]
        key = next((name for name in names if name in self._values), names[0])
        return self._values.get(key), key, False


def _aliases(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias] if alias else []
    first = [choice.path[0] if isinstance(choice, AliasPath) else choice for choice in choices]
    return [name for name in first if isinstance(name, str)]
