"""A setting names a cache, or is one clear line."""

from __future__ import annotations

import pytest

from kvgossip.contrib.named import cache_named
from kvgossip.errors import ConfigError
from tests.contrib import program


@pytest.mark.parametrize("path", [program.PATH, "tests.contrib.program:config"])
def test_a_setting_names_a_cache_which_is_not_opened(path: str) -> None:
    assert cache_named(path, "CACHE") is program.config


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (None, "CACHE does not name a ConfigCache, but is None"),
        ("", "CACHE does not name a ConfigCache, but is ''"),
        (program.config, "CACHE does not name a ConfigCache, but is <ConfigCache"),
        ("not a name", "CACHE names 'not a name', which is not there"),
        ("nowhere.config", "CACHE names 'nowhere.config', which is not there: No module named"),
        ("tests.contrib.program.none", "CACHE names 'tests.contrib.program.none', which is not"),
        (
            "tests.contrib.program.PATH",
            "CACHE names 'tests.contrib.program.PATH', a str and no ConfigCache",
        ),
    ],
)
def test_a_setting_that_names_no_cache_is_a_line_and_a_hint(path: object, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cache_named(path, "CACHE")
    assert str(caught.value).startswith(line)
    assert "shop.config.config" in caught.value.hint
