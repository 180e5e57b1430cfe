"""Django, a project in one file. `manage.py check`, `migrate` and the reloader read nothing, so
they join nothing; the first request that reads opens the cache.

    pip install 'kvgossip[django]'
    python django_app.py check
    python django_app.py runserver
    curl http://127.0.0.1:8000/
"""

from __future__ import annotations

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from kvgossip.contrib.django import config_cache

if not settings.configured:
    settings.configure(
        DEBUG=True,
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["kvgossip.contrib.django"],
        KVGOSSIP_CACHE="shop_config.config",
        # with `pip install 'kvgossip[constance]'`, "constance" among the apps and CONSTANCE_CONFIG:
        # CONSTANCE_BACKEND="kvgossip.contrib.constance.KVGossipBackend",
    )


def page(request: HttpRequest) -> JsonResponse:
    # `from shop_config import config` is as good; an app that does not know the project has this
    config = config_cache()
    return JsonResponse({"theme": config["theme"], "worker": os.getpid()})


urlpatterns = [path("", page)]
application = get_wsgi_application()  # for gunicorn django_app:application

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
