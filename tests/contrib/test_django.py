"""The app of Django: a check that opens nothing, and the cache of the project."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from kvgossip.cache.config_cache import ConfigCache
from tests.cache.sources import FakeSource, cache_of
from tests.contrib import program
from tests.contrib.project import set_up

set_up()

from kvgossip.contrib.django import config_cache  # noqa: E402

source = FakeSource({"theme": "dark"})
unread = cache_of(source)


def test_the_cache_of_the_project_is_the_one_that_its_settings_name() -> None:
    assert config_cache() is program.config
    with override_settings(KVGOSSIP_CACHE=f"{__name__}.unread"):
        assert config_cache() is unread


def test_a_check_of_the_project_opens_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(KVGOSSIP_CACHE=f"{__name__}.unread"):
        call_command("check")
    assert "no issues" in capsys.readouterr().out
    assert (source.opened, repr(unread)) == (0, "<ConfigCache 'shop/', not open>")


def __getattr__(name: str) -> Any:
    if name == "wrong":  # made when it is looked for, as the module of a program is
        return ConfigCache("shop/", cluster="shop", join=["not an address"])
    raise AttributeError(name)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (None, "KVGOSSIP_CACHE does not name a ConfigCache"),
        ("nowhere.config", "KVGOSSIP_CACHE names 'nowhere.config', which is not there"),
        (f"{__name__}.wrong", "not an address"),
    ],
)
def test_what_is_wrong_with_the_cache_is_an_error_of_the_check(path: str | None, line: str) -> None:
    with override_settings(KVGOSSIP_CACHE=path):
        (error,) = checks.run_checks(tags=["kvgossip"])
        assert (error.id, error.level) == ("kvgossip.E001", checks.ERROR)
        assert line in error.msg
        assert error.hint
        with pytest.raises(SystemCheckError, match=r"kvgossip\.E001"):
            call_command("check")
