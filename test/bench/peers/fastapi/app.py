"""Peer: FastAPI on uvicorn (uvloop, httptools), asyncpg and orjson, set up as well as their manuals allow.

orjson answers are returned as they are, so no response model is applied; asyncpg prepares and keeps its statements,
resets no connection on release, and leaves uuids as text; no access log; one worker, as everywhere in the bench.
"""

import asyncio
import os
from contextlib import asynccontextmanager
from random import randint

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, Response

SELECT_WORLD = "SELECT id, randomnumber FROM world WHERE id = $1"
UPDATE_WORLDS = """
    UPDATE world SET randomnumber = new.randomnumber
    FROM unnest($1::int[], $2::int[]) AS new (id, randomnumber) WHERE world.id = new.id
"""
SELECT_ITEMS = """
    SELECT id, name, note, quantity, version, created_at AS "createdAt", updated_at AS "updatedAt"
    FROM items ORDER BY id DESC LIMIT $1
"""
WORLD_ROWS = 10_000


async def prepare_connection(connection):
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str)


async def keep_state(connection):
    """Takes the place of asyncpg's reset query, which would be a second round trip for every request."""


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=8, max_size=8, init=prepare_connection, reset=keep_state
    ) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


def json(value):
    return Response(orjson.dumps(value), media_type="application/json")


def random_integer():
    return randint(1, WORLD_ROWS)


async def random_worlds(connection, count):
    rows = [await connection.fetchrow(SELECT_WORLD, random_integer()) for _ in range(count)]
    return [{"id": row["id"], "randomNumber": row["randomnumber"]} for row in rows]


def clamp_count(queries):
    return min(500, max(1, int(queries) if queries.isdigit() else 1))


@app.get("/json")
async def hello():
    return json({"message": "Hello, World!"})


@app.get("/work/wait")
async def wait(ms: int):
    await asyncio.sleep(ms / 1000)
    return json({"ms": ms})


@app.get("/db")
async def one_world():
    async with app.state.pool.acquire() as connection:
        worlds = await random_worlds(connection, 1)
    return json(worlds[0])


@app.get("/queries")
async def several_worlds(queries: str = "1"):
    async with app.state.pool.acquire() as connection:
        worlds = await random_worlds(connection, clamp_count(queries))
    return json(worlds)


@app.get("/updates")
async def update_worlds(queries: str = "1"):
    async with app.state.pool.acquire() as connection:
        worlds = await random_worlds(connection, clamp_count(queries))
        worlds.sort(key=lambda world: world["id"])  # one lock order for everyone: no deadlocks
        for world in worlds:
            world["randomNumber"] = random_integer()
        await connection.execute(
            UPDATE_WORLDS, [world["id"] for world in worlds], [world["randomNumber"] for world in worlds]
        )
    return json(worlds)


@app.get("/items")
async def list_items(limit: int = 20):
    async with app.state.pool.acquire() as connection:
        rows = await connection.fetch(SELECT_ITEMS, limit)
    return json({"items": [dict(row) for row in rows]})


if __name__ == "__main__":
    uvicorn.run(
        app,
        host=os.environ["HOST"],
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
