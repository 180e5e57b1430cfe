"""A project of Django, as its settings have it: once in a process."""

from __future__ import annotations

import datetime
from decimal import Decimal

import django
from django.conf import settings

from tests.contrib import program

CONSTANCE = {
    "GREETING": ("hello", "what a page begins with"),
    "LIMIT": (10, "of a page"),
    "PRICE": (Decimal("1.50"), "of a page", Decimal),
    "SINCE": (datetime.date(2026, 1, 1), "a day", datetime.date),
}


def set_up() -> None:
    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["kvgossip.contrib.django", "constance"],
            KVGOSSIP_CACHE=program.PATH,
            CONSTANCE_BACKEND="kvgossip.contrib.constance.KVGossipBackend",
            CONSTANCE_CONFIG=CONSTANCE,
            USE_TZ=True,
        )
        django.setup()
