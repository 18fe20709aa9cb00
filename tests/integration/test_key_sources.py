"""The keys of tokens from a file and over HTTP: real files, a real server, real certificates."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from headrace.errors import TokenKeysAwayError
from web.access import jwks
from web.access.claims import ClaimNames
from web.access.jwks import TokenKeys
from web.access.key_set import MAX_BYTES
from web.access.key_sources import FileSource, KeySource, UrlSource
from web.access.tokens import TokenVerifier

from tests.support.data.issuer import full_set, jwk, key_set, private_key, token
from tests.support.data.token_verifiers import ALL, EXPECTED, Clock
from tests.support.servers.fresh import free_port
from tests.support.servers.key_server import KeyServer, key_server
from tests.support.waiting import until

OLD = token("ES256")
ROTATED = token("ES256", header={"kid": "next"})
ROTATED_SET = key_set(jwk("ES256", private_key("ES256"), "next"))


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server(full_set()) as running:
        yield running


def verifier(source: KeySource, clock: Clock | None = None) -> TokenVerifier:
    keys = TokenKeys(source, ALL, refresh_seconds=3600, clock=clock or Clock())
    return TokenVerifier(keys, ALL, EXPECTED, ClaimNames())


async def accepts(source: KeySource) -> bool:
    return await verifier(source).caller(OLD) is not None


async def test_keys_are_read_over_http_with_nothing_that_names_us(server: KeyServer) -> None:
    assert await accepts(UrlSource(server.url))
    (request,) = server.requests
    assert request.method == "GET"
    assert not {"Cookie", "Authorization", "Referer"} & request.headers.keys()


async def test_rotated_keys_are_found_and_old_tokens_refused(server: KeyServer) -> None:
    clock = Clock()
    checked = verifier(UrlSource(server.url), clock)
    assert await checked.caller(OLD) is not None
    assert await checked.caller(ROTATED) is None
    server.keys = ROTATED_SET
    clock.now += 60
    assert await checked.caller(ROTATED) is not None
    assert checked.known(OLD) is None
    assert await checked.caller(OLD) is None
    assert len(server.requests) == 2


async def test_an_application_reads_the_keys_when_it_starts_and_ends_the_read_when_it_ends(server: KeyServer) -> None:
    publish, server.answer = server.answer, be_silent
    checked = verifier(UrlSource(server.url))
    application = web.Application()
    application.on_startup.append(checked.on_startup)
    application.on_cleanup.append(checked.on_cleanup)
    runner = web.AppRunner(application)
    await runner.setup()

    async def is_asked() -> bool:
        return len(server.requests) == 1

    await until(is_asked, 30)
    await runner.cleanup()
    server.answer = publish
    assert [task for task in asyncio.all_tasks() if "TokenKeys" in repr(task.get_coro())] == []


async def redirect(request: web.Request) -> web.StreamResponse:
    if request.path == "/keys":
        raise web.HTTPFound("/elsewhere")
    return web.Response(body=full_set())


async def fail(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500, body=full_set())


async def be_missing(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


async def be_too_large(_: web.Request) -> web.StreamResponse:
    return web.Response(body=full_set() + b" " * MAX_BYTES)


async def never_end(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 10_000)
        await asyncio.sleep(0)


async def be_silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError


async def trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def compress(_: web.Request) -> web.StreamResponse:
    response = web.Response(body=full_set())
    response.enable_compression(web.ContentCoding.gzip)
    return response


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"keys": [')
    assert request.transport is not None
    request.transport.abort()
    return response


async def greet(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>Log in</html>", content_type="text/html")


BAD_ANSWERS: list[tuple[Callable[[web.Request], Awaitable[web.StreamResponse]], str]] = [
    (redirect, "answers 302"),
    (fail, "answers 500"),
    (be_missing, "answers 404"),
    (be_too_large, "has more than 65536 bytes"),
    (never_end, "has more than 65536 bytes"),
    (be_silent, "no answer within"),
    (trickle, "no answer within"),
    (compress, "answers compressed"),
    (break_off, "ClientPayloadError"),
    (greet, "is no JWK set"),
]


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_bad_answer_is_no_key_set(
    server: KeyServer,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(jwks, "READ_SECONDS", 1.0 if "answer within" in reason else 30.0)
    clock = Clock()
    checked = verifier(UrlSource(server.url), clock)
    publish, server.answer = server.answer, answer
    with pytest.raises(TokenKeysAwayError):
        await checked.caller(OLD)
    assert reason in caplog.text
    assert len(server.requests) == 1
    server.answer = publish
    clock.now += 5
    assert await checked.caller(OLD) is not None
    server.answer = answer
    clock.now += 3600
    assert await checked.caller(OLD) is not None


async def test_a_server_that_is_away_is_no_key_set(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TokenKeysAwayError):
        await accepts(UrlSource(f"http://127.0.0.1:{free_port()}/keys?secret=s3cret"))
    assert "ClientConnectorError" in caplog.text
    assert "s3cret" not in caplog.text


def context_of(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


async def test_a_certificate_of_the_authority_is_believed(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with key_server(full_set(), context_of(authority, "localhost")) as running:
        assert await accepts(UrlSource(running.url, str(tmp_path / "ca.pem")))


@pytest.mark.parametrize("wrong", ["host", "authority", "system"])
async def test_another_certificate_is_not_believed(
    wrong: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    believed = trustme.CA() if wrong == "authority" else authority
    believed.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = context_of(authority, "other.example" if wrong == "host" else "localhost")
    async with key_server(full_set(), context) as running:
        with pytest.raises(TokenKeysAwayError):
            await accepts(UrlSource(running.url, "" if wrong == "system" else str(tmp_path / "ca.pem")))
        assert running.requests == []
    assert "ertificate" in caplog.text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(full_set())
    return path


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_file_that_changes_is_read_again(file: Path, is_replaced: bool) -> None:
    clock = Clock()
    checked = verifier(FileSource(str(file)), clock)
    assert await checked.caller(OLD) is not None
    clock.now += 1
    assert await checked.caller(ROTATED) is None
    if is_replaced:
        (file.parent / "new").write_bytes(ROTATED_SET)
        (file.parent / "new").rename(file)
    else:
        file.write_bytes(ROTATED_SET)
    clock.now += 1
    assert await checked.caller(ROTATED) is not None
    assert await checked.caller(OLD) is None


@pytest.mark.parametrize("becomes", ["deleted", "empty", "too large", "a pipe", "a folder"])
async def test_a_file_that_becomes_unreadable_changes_nothing(
    file: Path, becomes: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    checked = verifier(FileSource(str(file)), clock)
    assert await checked.caller(OLD) is not None
    file.unlink()
    match becomes:
        case "empty":
            file.touch()
        case "too large":
            file.write_bytes(full_set() + b" " * MAX_BYTES)
        case "a pipe":
            os.mkfifo(file)
        case "a folder":
            file.mkdir()
    clock.now += 1
    assert await checked.caller(OLD) is not None
    assert f"The keys of tokens cannot be read from {file}" in caplog.text
    with pytest.raises(TokenKeysAwayError):
        await accepts(FileSource(str(file)))
