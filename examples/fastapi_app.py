"""FastAPI: the lifespan opens the cache, waits a moment until it has settled, and closes it.
Workers of uvicorn are processes, which share one member.

    pip install kvgossip fastapi uvicorn
    uvicorn fastapi_app:app --workers 4
    curl http://127.0.0.1:8000/
    curl -X PUT -H 'Content-Type: application/json' -d 20 http://127.0.0.1:8000/limits/rate
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException
from shop_config import config, limits

from kvgossip import Refused


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with config:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def page() -> dict[str, Any]:
    # a read is one look-up in this process, so it needs no await
    return {"theme": config["theme"], "rate": limits.value.rate, "worker": os.getpid()}


@app.put("/limits/{name}")
async def limit(name: str, value: Annotated[Any, Body()]) -> dict[str, str]:
    try:
        return {"version": await config.aput(f"limits/{name}", value)}
    except Refused as error:  # the model does not take it, and it was not written
        raise HTTPException(422, str(error)) from None
