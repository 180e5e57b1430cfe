"""Celery with its prefork pool: nothing to open and nothing to close. The first task of each worker
that reads opens the cache.

    pip install kvgossip celery
    celery --app celery_app worker --concurrency 4
    python -c 'from celery_app import quote; print(quote.delay(3).get())'
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from celery import Celery
from shop_config import config, limits

# a broker of files, so that the example needs no other server
folder = Path(os.environ.get("SHOP_BROKER_DIR", Path(tempfile.gettempdir(), "shop-broker")))
for each in ("queue", "control", "results"):
    (folder / each).mkdir(parents=True, exist_ok=True)
app = Celery("shop", broker="filesystem://", backend=(folder / "results").as_uri())
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "control_folder": str(folder / "control"),
}


@app.task  # type: ignore[untyped-decorator]
def quote(orders: int) -> dict[str, Any]:
    seen = config.snapshot()  # one state for all of the task
    return {
        "theme": seen["theme"],
        "price": orders * limits.value.rate,
        "worker": os.getpid(),
    }
