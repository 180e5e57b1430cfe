"""Flask, under gunicorn or its own server: nothing to open and nothing to close. The first read
opens the cache, in each worker after its fork, and the end of the process closes it. The first
requests have the last known values, or the defaults, until the cache has settled: nobody waits.

    pip install kvgossip flask gunicorn
    gunicorn --workers 4 --preload flask_app:app
    curl http://127.0.0.1:8000/
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, g
from shop_config import config, limits

app = Flask(__name__)


@app.before_request
def see() -> None:
    # all of one request sees one state, whatever arrives meanwhile
    g.seen = config.snapshot()


@app.get("/")
def page() -> dict[str, Any]:
    return {"theme": g.seen["theme"], "rate": limits.value.rate, "worker": os.getpid()}
