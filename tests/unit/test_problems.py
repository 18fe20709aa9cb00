"""Errors over HTTP: what the client is told, and what only the log is."""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request

from headrace.errors import DependencyAwayError, TokenKeysAwayError
from headrace.events.problem_document import ProblemError, problem_body
from web.server.problems import Problem, common_headers, problems


class Writer(AbstractStreamWriter):
    """As much of an answer's writer as the middleware looks at."""

    def __init__(self, output_size: int) -> None:
        self.output_size = output_size

    async def write(self, chunk: object) -> None:
        raise NotImplementedError

    async def write_eof(self, chunk: bytes = b"") -> None:
        raise NotImplementedError

    async def drain(self) -> None:
        raise NotImplementedError

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise NotImplementedError

    def enable_chunking(self) -> None:
        raise NotImplementedError

    async def write_headers(self, status_line: str, headers: object) -> None:
        raise NotImplementedError


async def answer_to(error: BaseException, *, bytes_sent: int = 0) -> web.StreamResponse:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    return await problems(make_mocked_request("PUT", "/a%2Fpath?secret=1", writer=Writer(bytes_sent)), handler)


def members_of(response: web.StreamResponse) -> dict[str, Any]:
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    assert response.headers["Content-Type"] == "application/problem+json"
    members: dict[str, Any] = json.loads(response.body)
    assert members["request_id"]
    assert members["status"] == response.status
    assert members["type"] == f"urn:headrace:problem:{members['code']}"
    return members


async def test_a_problem_has_the_members_of_rfc_9457_and_a_code() -> None:
    problem = Problem(409, "id_conflict", "Taken", "Another one has it.", headers={"Retry-After": "3"})
    response = await answer_to(problem)
    members = members_of(response)
    assert members == {
        "type": "urn:headrace:problem:id_conflict",
        "title": "Taken",
        "status": 409,
        "detail": "Another one has it.",
        "code": "id_conflict",
        "request_id": members["request_id"],
    }
    assert response.headers["Retry-After"] == "3"


def test_errors_say_where_by_pointer_or_parameter() -> None:
    errors = [
        ProblemError(pointer="", code="a", detail="the body"),
        ProblemError(pointer="/id", code="b", detail="a member"),
        ProblemError(parameter="limit", code="c", detail="a parameter"),
    ]
    body = json.loads(bytes(problem_body(400, "bad", "Bad", "See errors.", errors=errors)))
    assert body["errors"] == [
        {"pointer": "", "code": "a", "detail": "the body"},
        {"pointer": "/id", "code": "b", "detail": "a member"},
        {"parameter": "limit", "code": "c", "detail": "a parameter"},
    ]


async def test_an_unknown_path_is_a_problem() -> None:
    assert members_of(await answer_to(web.HTTPNotFound()))["code"] == "not_found"


async def test_a_method_that_is_not_allowed_is_told_which_are() -> None:
    response = await answer_to(web.HTTPMethodNotAllowed("PUT", {"GET", "HEAD"}))
    assert members_of(response)["detail"] == "PUT is not allowed here; allowed: GET, HEAD."
    assert response.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize(
    "error",
    [
        web.HTTPRequestEntityTooLarge(max_size=1000, actual_size=1001),
        web.HTTPRequestEntityTooLarge(max_size=1000, actual_size=1001, text="More than 1000 bytes."),
    ],
)
async def test_a_body_that_is_too_large_is_told_the_limit(error: web.HTTPException) -> None:
    members = members_of(await answer_to(error))
    assert (members["status"], members["code"]) == (413, "too_large")
    assert "1000" in members["detail"]
    assert members["detail"].count(".") == 1


async def test_any_other_http_error_keeps_its_status() -> None:
    members = members_of(await answer_to(web.HTTPExpectationFailed()))
    assert (members["status"], members["code"]) == (417, "expectation_failed")


async def test_a_redirect_is_no_problem() -> None:
    with pytest.raises(web.HTTPFound):
        await answer_to(web.HTTPFound("/elsewhere"))


@pytest.mark.parametrize(
    "error",
    [
        DependencyAwayError(),
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.AdminShutdownError(),
        asyncpg.QueryCanceledError(),
        asyncpg.InterfaceError("pool is closing"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_is_away_is_503_with_retry_after(error: Exception) -> None:
    response = await answer_to(error)
    assert members_of(response)["code"] == "database_away"
    assert response.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert int(response.headers["Retry-After"]) > 0


async def test_keys_of_tokens_that_are_away_are_503_and_no_fault_of_the_database(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = await answer_to(TokenKeysAwayError())
    assert (response.status, members_of(response)["code"]) == (503, "token_keys_away")
    assert int(response.headers["Retry-After"]) > 0
    assert caplog.text == ""


async def test_what_nobody_foresaw_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await answer_to(asyncpg.UndefinedColumnError('column "password" does not exist'))
    members = members_of(response)
    assert response.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "password" not in json.dumps(members)
    assert members["instance"] == f"urn:headrace:request:{members['request_id']}"
    (record,) = caplog.records
    assert members["request_id"] in record.getMessage()
    assert "secret" not in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], asyncpg.UndefinedColumnError)


async def test_each_unforeseen_error_has_an_id_of_its_own() -> None:
    first, second = [members_of(await answer_to(ValueError())) for _ in range(2)]
    assert first["request_id"] != second["request_id"]


async def test_an_answer_that_has_begun_is_broken_off() -> None:
    with pytest.raises(ZeroDivisionError):
        await answer_to(ZeroDivisionError(), bytes_sent=1)


async def test_a_cancelled_request_stays_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        await answer_to(asyncio.CancelledError())


async def test_every_answer_carries_the_common_headers_and_no_banner() -> None:
    response = web.Response(headers={"Server": "Python aiohttp"})
    await common_headers(make_mocked_request("GET", "/"), response)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Server" not in response.headers


async def test_a_view_may_have_its_own_cache_control() -> None:
    response = web.Response(headers={"Cache-Control": "no-cache"})
    await common_headers(make_mocked_request("GET", "/"), response)
    assert response.headers.getall("Cache-Control") == ["no-cache"]
