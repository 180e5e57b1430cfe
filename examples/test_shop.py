"""pytest: a program is tested without a node, a socket and a wait, by `ConfigCache.static` in the
place of its cache, or by `override` of single values.

    pip install kvgossip flask pytest
    pytest test_shop.py
"""

from __future__ import annotations

from collections.abc import Iterator

import flask_app
import pytest
from shop_config import Limits, config

from kvgossip import ConfigCache, Refused


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> ConfigCache:
    """A cache that is nowhere but here, in the place of the real one: for all that a test reads."""
    static = ConfigCache.static({"theme": "light", "limits/rate": 5}, "shop/")
    monkeypatch.setattr(flask_app, "config", static)
    monkeypatch.setattr(flask_app, "limits", static.bind(Limits, "limits/"))
    return static


@pytest.fixture
def dark() -> Iterator[None]:
    """One value is another one, and the rest is as it was. Nothing is opened for it."""
    with config.override(theme="dark"):
        yield


def test_a_page_has_the_theme_and_the_rate_of_the_shop(shop: ConfigCache) -> None:
    page = flask_app.app.test_client().get("/").get_json()
    assert (page["theme"], page["rate"]) == ("light", 5)


def test_a_page_follows_what_is_written(shop: ConfigCache) -> None:
    shop.put("limits/rate", 6)
    assert flask_app.app.test_client().get("/").get_json()["rate"] == 6


def test_a_rate_that_is_no_number_is_refused(shop: ConfigCache) -> None:
    with pytest.raises(Refused, match="rate"):
        shop.put("limits/rate", "many")


def test_a_value_is_overridden(dark: None) -> None:
    assert config["theme"] == "dark"
    assert repr(config) == "<ConfigCache 'shop/', not open>"
