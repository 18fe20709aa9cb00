"""A PostgreSQL of the system that listens on loopback with TLS. The embedded PostgreSQL is built without TLS."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg

from tests.support.not_installed import skip_without
from tests.support.servers.fresh import free_port
from tests.support.servers.trusted import Trusted
from tests.support.waiting import until

SECONDS = 60.0
SYSTEM_USER = "postgres"
HBA = """\
local all all trust
hostssl all shown all cert
host all all all trust
"""
ROLE = "CREATE ROLE shown LOGIN SUPERUSER"
"""The role of clients that show a certificate."""


class TlsPostgres:
    """The server, and its addresses over TCP."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            skip_without("postgresql")
        self._programs = found[-1].parent
        self._folder = folder / "server"
        self._data = self._folder / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, clients: Trusted) -> None:
        """Start the process; it believes the clients of this authority."""
        self._folder.mkdir()
        self._own(self._folder, 0o700)
        if os.geteuid() == 0:
            self._folder.parent.chmod(0o755)
        made: list[str | Path] = [
            self._programs / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
        ]
        subprocess.run([*made, "--locale=C"], check=True, capture_output=True, cwd="/", **self._as_user())
        (self._data / "pg_hba.conf").write_text(HBA)
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._folder,
            "ssl_ca_file": self._file("clients", clients.file),
        }
        settings = [f"-c{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self._as_user(),
        )

    async def prepare(self, trusted: Trusted) -> None:
        """Return when it answers, with a certificate for 127.0.0.1 and db.example."""
        await until(self._answers, SECONDS)
        await self.execute(ROLE)
        await self.shows(*trusted.issue("postgres", "127.0.0.1", "db.example"))

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(SECONDS)

    async def set(self, **settings: str) -> None:
        """Settings that new connections get."""
        for name, value in settings.items():
            await self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await self.execute("SELECT pg_reload_conf()")

        async def has_reloaded() -> bool:
            given = [await self.value(f"SELECT setting FROM pg_settings WHERE name = '{name}'") for name in settings]
            return given == list(settings.values())

        await until(has_reloaded, SECONDS)

    async def shows(self, certificate: Path, key: Path) -> None:
        """From now on, new connections get this certificate."""
        # New names: the setting tells when it is in use.
        number = len(list(self._folder.glob("*.crt")))
        files = self._file(f"{number}.crt", certificate), self._file(f"{number}.key", key)
        await self.set(ssl="on", ssl_cert_file=str(files[0]), ssl_key_file=str(files[1]))

    async def execute(self, statement: str) -> None:
        """As the superuser, over the socket."""
        await self.value(statement)

    async def value(self, query: str) -> Any:
        """The first value of what a query finds."""
        connection = await asyncpg.connect(
            f"postgresql://postgres@/postgres?host={quote(str(self._folder))}&port={self.port}"
        )
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    def dsn(self, *, host: str = "127.0.0.1", user: str = "postgres", **tls: object) -> str:
        """The address with these parameters."""
        return f"postgresql://{user}@{host}:{self.port}/postgres?{urlencode(tls)}"

    async def _answers(self) -> bool:
        try:
            await self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _file(self, name: str, source: Path) -> Path:
        made = self._folder / name
        made.write_bytes(source.read_bytes())
        self._own(made, 0o600)
        return made

    def _own(self, path: Path, mode: int) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam(SYSTEM_USER)
            os.chown(path, user.pw_uid, user.pw_gid)
        path.chmod(mode)

    def _as_user(self) -> dict[str, Any]:
        """It refuses root."""
        if os.geteuid() != 0:
            return {}
        user = pwd.getpwnam(SYSTEM_USER)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
