"""The certificate of a port while it runs: loaded at the start, and again when its files change or at SIGHUP.

A new certificate is for new connections; those that are open keep theirs. Files that cannot be used change nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from web.server.tls_files import Loaded, TlsFileError, TlsFiles, load, problem_of_dates

CHECK_SECONDS = 5.0
SOON = timedelta(days=7)
DAY_SECONDS = 86_400.0
THROTTLE_SECONDS = 60.0

log = ActionLog(__name__)


class _FoundFiles(NamedTuple):
    loaded: Loaded
    stamps: tuple[object, ...]


class Certificates:
    """Gives a port its TLS context, and replaces it."""

    def __init__(self, files: TlsFiles, use: Callable[[ssl.SSLContext], None]) -> None:
        """`use`: called with each new context."""
        self._files = files
        self._use = use
        self._found: _FoundFiles | None = None
        self._throttled = ThrottledLog(log, THROTTLE_SECONDS)
        self._daily = ThrottledLog(log, DAY_SECONDS)
        self._wanted = asyncio.Event()

    def start(self) -> None:
        """Load the files. Raises TlsFileError."""
        self._take(_read(self._files))

    def problems(self) -> list[str]:
        """Why the files cannot be used; usually empty."""
        try:
            load(self._files)
        except TlsFileError as error:
            return [str(error)]
        return []

    def reload(self) -> None:
        """Load the files soon, whether they have changed or not."""
        self._wanted.set()

    async def watch(self) -> None:
        """Load the files whenever they change, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                await self.check()
            else:
                self._wanted.clear()
                await self.check(anyway=True)

    async def check(self, *, anyway: bool = False) -> None:
        """Load the files if they have changed; what cannot be used is logged, and the last certificate stays."""
        old = self._found
        try:
            stamps = await asyncio.to_thread(self._files.stamps)
            if anyway or old is None or stamps != old.stamps:
                self._replace(await asyncio.to_thread(_read, self._files))
        except (TlsFileError, OSError) as error:
            self._keep(error)
        if self._found is not None:
            self._warn_of_dates(self._found.loaded)

    def _replace(self, found: _FoundFiles) -> None:
        old, wrong = self._found, problem_of_dates(found.loaded)
        if wrong and old is not None and not problem_of_dates(old.loaded):
            self._keep(TlsFileError(f"{self._files.service}_TLS_CERTIFICATE={self._files.certificate}: {wrong}"))
            return
        self._take(found)
        log.info(
            LogAction.TLS_RELOADED,
            "{service}: new connections get the certificate of {file}, valid until {expires}",
            service=self._files.service,
            file=self._files.certificate,
            expires=found.loaded.ends.isoformat(),
        )

    def _keep(self, error: Exception) -> None:
        text = "{service}: the last certificate stays in use, because the files cannot be used: {error}"
        self._throttled.warning(LogAction.TLS_KEPT, text, service=self._files.service, error=str(error))

    def _take(self, found: _FoundFiles) -> None:
        self._found = found
        self._use(found.loaded.context)
        if found.loaded.is_key_open:
            log.warning(
                LogAction.TLS_KEY_OPEN,
                "{setting}={file}: every user of this machine can read the private key. chmod 600 it, or 640",
                setting=self._files.key_setting,
                file=self._files.key or self._files.certificate,
            )
        self._warn_of_dates(found.loaded)

    def _warn_of_dates(self, loaded: Loaded) -> None:
        """Warn once a day. Whoever trusts an expired certificate is still served: a worker does more than that."""
        now = datetime.now(UTC)
        wrong = problem_of_dates(loaded, now)
        if not wrong and now + SOON < loaded.ends:
            return
        throttled = self._daily
        throttled.warning(
            LogAction.TLS_EXPIRES,
            "{setting}={file}: {error}. Replace the files; no restart is needed",
            setting=f"{self._files.service}_TLS_CERTIFICATE",
            file=self._files.certificate,
            error=wrong or f"it expires at {loaded.ends:%Y-%m-%d %H:%M} UTC",
            expires=loaded.ends.isoformat(),
        )


def _read(files: TlsFiles) -> _FoundFiles:
    """The files, and how they were before: what is written meanwhile is read again."""
    try:
        stamps = files.stamps()
    except OSError:
        stamps = ()  # what is wrong is found below
    return _FoundFiles(load(files), stamps)
