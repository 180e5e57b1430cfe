"""The loader, under Dynaconf: keys are settings, and no key is more than a value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dynaconf import Dynaconf

from kvgossip.errors import ConfigError
from tests.contrib import program

LOADERS = ["kvgossip.contrib.dynaconf", "dynaconf.loaders.env_loader"]
VALUES = {"limits/rate": 20, "limits/hosts": ["a", "b"], "debug": True, "nothing": None}


@pytest.fixture(autouse=True)
def _values() -> Iterator[None]:
    with program.config.override(VALUES):
        yield


def settings(**given: Any) -> Any:
    return Dynaconf(
        **{
            "loaders": LOADERS,
            "KVGOSSIP_FOR_DYNACONF": program.PATH,
            "envvar_prefix": "SHOP",
            "dotenv_override": False,
            **given,
        }
    )


def test_keys_are_settings_and_slashes_nest_them() -> None:
    found = settings()
    assert (found.THEME, found.theme, found.debug) == ("light", "light", True)
    assert (found.limits.rate, list(found.limits.hosts)) == (20, ["a", "b"])
    assert found.nothing is None


def test_a_file_comes_before_it_and_the_environment_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('theme = "file"\ncity = "paris"\n[limits]\nrate = 1\nburst = 2\n')
    monkeypatch.setenv("SHOP_DEBUG", "false")
    found = settings(settings_files=[str(file)])
    assert (found.theme, found.city, found.debug) == ("light", "paris", False)
    assert (found.limits.rate, found.limits.burst) == (20, 2)


def test_settings_follow_the_cluster_by_reload_and_by_fresh_vars() -> None:
    found, fresh = settings(), settings(fresh_vars=["THEME", "LIMITS"])
    assert (found.theme, fresh.theme) == ("light", "light")  # Dynaconf loads with the first read
    with program.config.override({"theme": "dark", "limits/rate": 30}):
        assert (found.theme, fresh.get("theme")) == ("light", "dark")
        assert fresh.get("limits").rate == 30
        found.reload()
        assert (found.theme, found.limits.rate) == ("dark", 30)
    found.reload()
    assert (found.theme, found.limits.rate) == ("light", 20)


@pytest.mark.parametrize(
    "text",
    [
        "@jinja {{ 1 + 1 }}",
        "@format {env[HOME]}",
        "@read_file /etc/passwd",
        "@int 3",
        "@str @jinja {{ 1 + 1 }}",
        "@merge a",
        "@none",
        "@",
        "@json 1",
    ],
)
def test_text_of_the_cluster_is_text_whatever_dynaconf_would_make_of_it(text: str) -> None:
    with program.config.override({"theme": text, "deep/er": {"a": [text]}}):
        found = settings()
        assert (found.theme, found.deep.er.a[0]) == (text, text)
        uncast = settings(AUTO_CAST_FOR_DYNACONF=False)
        assert (uncast.theme, uncast.deep.er.a[0]) == (text, text)


@pytest.mark.parametrize(
    "name",
    ["includes_for_dynaconf", "DYNACONF_INCLUDE", "dynaconf_include", "loaders_for_dynaconf"],
)
def test_no_key_configures_dynaconf(name: str, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("LOADED = 'by the cluster'\n")
    with program.config.override({name: [str(code)]}):
        assert settings().get("LOADED") is None


@pytest.mark.parametrize("path", [None, "nowhere.config"])
def test_a_program_that_names_no_cache_is_told_at_the_first_read(path: str | None) -> None:
    with pytest.raises(ConfigError, match="KVGOSSIP_FOR_DYNACONF"):
        settings(KVGOSSIP_FOR_DYNACONF=path).get("theme")
