"""Where the keys of tokens are read from: a file, or a URL of the issuer."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, hdrs

from headrace.errors import HeadraceError
from headrace.process.secrets import redacted
from web.access.key_set import MAX_BYTES

_CHUNK = 16_384
_HEADERS = {hdrs.ACCEPT: "application/jwk-set+json, application/json", hdrs.ACCEPT_ENCODING: "identity"}


class KeySourceError(HeadraceError):
    """The source does not have what can be used."""


class KeySource(Protocol):
    """A document that may change at any time."""

    name: str
    """For the log, without secrets."""
    pause_seconds: float
    """The least time between the beginnings of two reads, while keys are known."""

    def has_changed(self) -> bool:
        """Whether it is known, without reading, that the document differs from what was read; cheap."""
        ...

    async def read(self) -> bytes:
        """The document, at most 64 KB. Raises whatever prevents it; the caller limits the time."""
        ...


class FileSource:
    """A file, which is read again when it changes."""

    pause_seconds = 1.0

    def __init__(self, path: str) -> None:
        self.name = path
        self._path = Path(path)
        self._seen: tuple[int, ...] | None = None

    def has_changed(self) -> bool:
        try:
            return _version(self._path.stat()) != self._seen
        except OSError:
            return True

    async def read(self) -> bytes:
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        # A pipe would block until somebody writes to it.
        with open(self._path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeySourceError("is not a file")
            body = file.read(MAX_BYTES + 1)
        self._seen = _version(found)
        if len(body) > MAX_BYTES:
            raise KeySourceError(f"has more than {MAX_BYTES} bytes")
        return body


class UrlSource:
    """A URL, without redirects, cookies, compression and proxies."""

    pause_seconds = 60.0

    def __init__(self, url: str, ca_file: str = "") -> None:
        """`ca_file`: the authorities that its certificate is checked against; empty: those of the system.

        Raises OSError for a file without certificates.
        """
        self.name = redacted(url)
        self._url = url
        self._context = ssl.create_default_context(cafile=ca_file or None)

    def has_changed(self) -> bool:
        return False

    async def read(self) -> bytes:
        # Read so seldom that a connection would only grow old.
        connector = TCPConnector(ssl=self._context, force_close=True)
        async with (
            ClientSession(
                connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, headers=_HEADERS
            ) as session,
            session.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK:
                raise KeySourceError(f"answers {response.status}; needed: 200 (redirects are not followed)")
            if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
                raise KeySourceError("answers compressed, although it was asked not to")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise KeySourceError(f"has more than {MAX_BYTES} bytes")
            return bytes(body)


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
