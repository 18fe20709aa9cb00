"""Tokens for OAUTHBEARER: from a token endpoint (grant `client_credentials`), or from a file that is renewed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

REQUEST_SECONDS = 10.0
MAX_BYTES = 65_536
# A token is used for this share of its life, so that it is still good when the broker checks it.
USED_SHARE = 0.8
# Of a token whose endpoint does not say when it expires.
UNKNOWN_LIFE_SECONDS = 60.0
MAX_LIFE_SECONDS = 86_400.0


class TokenEndpoint(AbstractTokenProvider):  # type: ignore[misc]  # mypy does not follow aiokafka
    """Asks for a token when there is none, or when it soon expires. Used in several event loops."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        scope: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        login = aiohttp.encode_basic_auth(quote_plus(client_id), quote_plus(client_secret))
        self._headers = {"Accept": "application/json", "Authorization": login}
        self._form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        self._clock = clock
        self._token, self._used_until = "", float("-inf")

    async def token(self) -> str:
        """A token that does not expire soon. Raises KafkaConnectionError."""
        asked_at = self._clock()
        if asked_at >= self._used_until:
            answer = await self._answer()
            self._token, self._used_until = answer["access_token"], asked_at + _life_seconds(answer) * USED_SHARE
        return self._token

    async def _answer(self) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)) as session,
                session.post(self._url, data=self._form, headers=self._headers, allow_redirects=False) as response,
            ):
                body = await _read(response)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise KafkaConnectionError(f"The token endpoint {self._url} does not answer: {reason}") from error
        answer = _object(body)
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str) or not _is_token(token):  # noqa: PLR2004 - HTTP
            told = answer.get("error")
            reason = (
                f"{status} {told}" if isinstance(told, str) and told.isprintable() else f"{status}, without a token"
            )
            raise KafkaConnectionError(
                f"The token endpoint {self._url} gives no token ({reason[:200]}): check KAFKA_TOKEN_CLIENT_ID, "
                "KAFKA_TOKEN_CLIENT_SECRET and KAFKA_TOKEN_SCOPE"
            )
        return answer


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # mypy does not follow aiokafka
    """Reads the file at each login."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """The content of the file. Raises KafkaConnectionError."""
        try:
            token = await asyncio.to_thread(self._read)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise KafkaConnectionError(f"KAFKA_TOKEN_FILE={self._path}: cannot be read ({reason})") from error
        if not _is_token(token):
            raise KafkaConnectionError(f"KAFKA_TOKEN_FILE={self._path}: not a token")
        return token

    def _read(self) -> str:
        with self._path.open("rb") as file:
            return file.read(MAX_BYTES).decode().strip()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
    return body


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_token(text: str) -> bool:
    """Whether it can be sent in the message of OAUTHBEARER: ASCII without spaces and control characters."""
    return bool(text) and text.isascii() and all("!" <= letter <= "~" for letter in text)


def _life_seconds(answer: dict[str, Any]) -> float:
    try:
        seconds = float(answer.get("expires_in", UNKNOWN_LIFE_SECONDS))
    except (TypeError, ValueError):
        return UNKNOWN_LIFE_SECONDS
    return min(max(seconds, 0.0), MAX_LIFE_SECONDS) if seconds == seconds else UNKNOWN_LIFE_SECONDS  # noqa: PLR0124 - NaN
