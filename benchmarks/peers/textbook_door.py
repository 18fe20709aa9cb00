"""The textbook's door: FastAPI, a pydantic model, one INSERT into an outbox for each post."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

INSERT = "INSERT INTO outbox (key, payload) VALUES ($1, $2)"
POOL_SIZE = 10


class Event(BaseModel):
    """A CloudEvent, as far as this stack looks at it."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]


@asynccontextmanager
async def with_pool(app: FastAPI) -> AsyncIterator[None]:
    """Connections for as long as the app runs."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=with_pool)


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/api/v1/events", status_code=202)
async def post_event(event: Event) -> dict[str, str]:
    await app.state.pool.execute(INSERT, event.subject, event.model_dump_json())
    return {"status": "accepted"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False, log_level="warning")
