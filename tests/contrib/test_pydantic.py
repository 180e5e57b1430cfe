"""The source, under pydantic-settings: fields are keys, beside the other sources of a program."""

from __future__ import annotations

import pytest
from pydantic import AliasChoices, BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.contrib.pydantic import KVGossipSettingsSource
from tests.cache.sources import FakeSource, cache_of

config = ConfigCache.static(
    {
        "theme": "dark",
        "limits/rate": 20,
        "limits/hosts": ["a", "b"],
        "limits": {"rate": 10, "burst": 5},
        "no/field": 1,
        "count": 7,
    }
)


class Limits(BaseModel):
    rate: int = 1
    burst: int = 1
    hosts: tuple[str, ...] = ()


class Sourced(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, KVGossipSettingsSource(settings_cls, config)


class Settings(Sourced):
    theme: str = "light"
    limits: Limits = Limits()
    absent: int = 3
    number: int = Field(default=0, validation_alias=AliasChoices("amount", "count"))


def test_fields_are_keys_and_models_are_what_is_under_them() -> None:
    settings = Settings()
    assert settings.theme == "dark"
    assert settings.limits == Limits(rate=20, burst=5, hosts=("a", "b"))
    assert (settings.absent, settings.number) == (3, 7)


def test_other_sources_come_before_it_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_THEME", "blue")
    monkeypatch.setenv("SHOP_LIMITS", '{"rate": 1}')
    assert (Settings().theme, Settings(theme="red").theme) == ("blue", "red")
    assert Settings().limits == Limits(rate=1, burst=5, hosts=("a", "b"))


def test_a_settings_object_stays_and_the_next_one_has_what_is_new() -> None:
    before = Settings()
    with config.override(theme="blue"):
        assert (before.theme, Settings().theme) == ("dark", "blue")


def test_a_value_that_does_not_validate_is_pydantics_error() -> None:
    with config.override({"limits/rate": "many"}), pytest.raises(ValidationError, match="rate"):
        Settings()


def test_a_prefix_is_a_part_of_the_cache_and_a_class_opens_nothing() -> None:
    source = FakeSource({"limits/rate": "5", "rate": "6"})
    cache = cache_of(source)

    class OfLimits(BaseSettings):
        rate: int = 1

    given = KVGossipSettingsSource(OfLimits, cache, "limits/")
    assert source.opened == 0
    assert given() == {"rate": 5}
    cache.close()
