"""API keys over HTTP: list, make, rotate and revoke. For the scope `admin`, which may make a key of any scope.

They exist only where keys authenticate: otherwise anybody could make a key for later.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiohttp import hdrs, web

from headrace.access import key_request
from headrace.access.access_log import Action
from headrace.access.key_request import DEFAULT_EXPIRES, DEFAULT_OVERLAP, InvalidKeyError
from headrace.events.problem_document import ProblemError
from tables.access import access_log, keys
from tables.access.keys import Key, KeyExistsError, UnknownKeyError
from tables.database import AnyConnection, Database, can_hold
from web.access.credentials import caller_of
from web.access.who_did_what import WhoDidWhat
from web.requests.bodies import read_json
from web.requests.query_parameters import QueryParameters, refuse_parameters
from web.server.problems import Problem

PATH = "/api/v1/keys"
JSON = "application/json"

Body = TypeVar("Body")

encode = msgspec.json.Encoder().encode


class KeysAnswer(msgspec.Struct):
    """Keys without their secrets."""

    items: list[Key]


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key to make. `sources`, `subjects` and `types`: prefixes that end in /, or exact values; null: all."""

    name: str
    scopes: list[str]
    sources: list[str] | None = None
    subjects: list[str] | None = None
    types: list[str] | None = None
    certificate: str | None = None
    """A subject alternative name of a client certificate that authenticates as this key."""
    expires: str = DEFAULT_EXPIRES


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key stays valid, and how long the new one lasts."""

    overlap: str = DEFAULT_OVERLAP
    expires: str = DEFAULT_EXPIRES


class MadeKey(Key, frozen=True):
    """A key that was just made."""

    key: str = ""
    """The secret. It is shown this once."""


# msgspec's message has the member's name: no answer repeats what was sent.
_UNKNOWN_MEMBER = re.compile(r"unknown field `.*`", re.DOTALL)
_new_key = msgspec.json.Decoder(NewKey)
_rotation = msgspec.json.Decoder(Rotation)


def key_routes(database: Database, log: WhoDidWhat | None = None) -> list[web.RouteDef]:
    """List, make, show, rotate and revoke, all of which `log` records.

    The application needs the middleware `problems`, and a gate.
    """
    views = _KeyViews(database, log or WhoDidWhat())
    return [
        web.get(PATH, views.page),
        web.post(PATH, views.create),
        web.get(PATH + "/{key}", views.show),
        web.post(PATH + "/{key}/rotate", views.rotate),
        web.post(PATH + "/{key}/revoke", views.revoke),
    ]


class _KeyViews:
    def __init__(self, database: Database, log: WhoDidWhat) -> None:
        self._database = database
        self._log = log

    async def page(self, request: web.Request) -> web.Response:
        """Live keys, in order of name; with `all=true` expired and revoked keys too."""
        parameters = QueryParameters(request.rel_url.raw_query_string, frozenset({"all"}), "Allowed is all.")
        with_ended = parameters.given.get("all", "false")
        if with_ended not in {"true", "false"}:
            parameters.note("all", "invalid_value", "all is true or false.")
        parameters.check()
        async with self._database.acquire("rows") as connection:
            found = await keys.list_keys(connection, with_ended=with_ended == "true")
        self._log.read(request, Action.KEYS_READ)
        return _answer(KeysAnswer(found))

    async def show(self, request: web.Request) -> web.Response:
        """The key of an id, or the keys of a name, newest first."""
        refuse_parameters(request.rel_url.raw_query_string)
        key = _key(request)
        try:
            async with self._database.acquire("rows") as connection:
                found = await keys.show(connection, key)
        except UnknownKeyError:
            raise _unknown() from None
        self._log.read(request, Action.KEYS_READ)
        return _answer(KeysAnswer(found))

    async def create(self, request: web.Request) -> web.Response:
        """Make a key."""
        asked = _read(await read_json(request), _new_key.decode)
        try:
            wanted = key_request.checked(
                asked.name,
                asked.scopes,
                sources=asked.sources,
                subjects=asked.subjects,
                types=asked.types,
                certificate=asked.certificate,
                expires=asked.expires,
            )
            async with self._recorded(request, Action.KEY_CREATED, asked.name) as (connection, detail):
                made, secret = await keys.create(connection, wanted, _maker(request))
                detail.update(made.summary)
        except InvalidKeyError as error:
            raise _invalid(error) from None
        except KeyExistsError as error:
            raise Problem(409, "key_exists", "Key exists", str(error)) from None
        return _made(made, secret)

    async def rotate(self, request: web.Request) -> web.Response:
        """Make another key of the same name that may do the same; the old one ends after the overlap."""
        asked = _read(await read_json(request), _rotation.decode)
        key = _key(request)
        try:
            lasts = key_request.duration("expires", asked.expires, least=key_request.UNITS["m"])
            overlap = key_request.duration("overlap", asked.overlap)
            async with self._recorded(request, Action.KEY_ROTATED, key) as (connection, detail):
                made, secret = await keys.rotate(connection, key, _maker(request), expires=lasts, overlap=overlap)
                detail.update(made.summary)
        except InvalidKeyError as error:
            raise _invalid(error) from None
        except UnknownKeyError:
            raise _unknown() from None
        return _made(made, secret)

    async def revoke(self, request: web.Request) -> web.Response:
        """End the key of an id, or all keys of a name; those that this request ended are answered."""
        key = _key(request)
        try:
            async with self._recorded(request, Action.KEY_REVOKED, key) as (connection, detail):
                revoked = await keys.revoke(connection, key)
                detail["ids"] = ", ".join(one.id for one in revoked)
        except UnknownKeyError:
            raise _unknown() from None
        return _answer(KeysAnswer(revoked))

    @asynccontextmanager
    async def _recorded(
        self, request: web.Request, action: Action, target: str
    ) -> AsyncIterator[tuple[AnyConnection, dict[str, str | int]]]:
        """A transaction in which the access log says what is done, if it is done; the dict is the detail."""
        detail: dict[str, str | int] = {}
        async with self._database.acquire("rows") as connection, connection.transaction():
            yield connection, detail
            await access_log.record(connection, self._log.entry(request, action, target, detail=detail))


def _key(request: web.Request) -> str:
    key = request.match_info["key"]
    if not can_hold(key):
        raise _unknown()
    return key


def _maker(request: web.Request) -> str:
    caller = caller_of(request).id
    return caller if ":" in caller else f"key:{caller}"


def _read(body: bytes, decode: Callable[[bytes], Body]) -> Body:
    try:
        return decode(body)
    except ValueError as error:
        detail = _UNKNOWN_MEMBER.sub("unknown member", str(error))
        raise Problem(400, "invalid_body", "Body not valid", f"{detail.rstrip('.')}.") from None


def _answer(found: KeysAnswer) -> web.Response:
    return web.Response(body=encode(found), content_type=JSON)


def _made(made: Key, secret: str) -> web.Response:
    body = encode(MadeKey(**{name: getattr(made, name) for name in Key.__struct_fields__}, key=secret))
    return web.Response(status=201, body=body, content_type=JSON, headers={hdrs.LOCATION: f"{PATH}/{made.id}"})


def _invalid(error: InvalidKeyError) -> Problem:
    found = ProblemError(code="invalid_value", detail=f"Allowed: {error.detail}.", pointer=f"/{error.field}")
    return Problem(400, "invalid_body", "Body not valid", f"{error}.", errors=[found])


def _unknown() -> Problem:
    return Problem(404, "unknown_api_key", "Key not found", "No live key has this id or name.")
