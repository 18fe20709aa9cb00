"""A worker as its users run it: a process, its ports, its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from tests.support.clients.way_in import PLAIN, WayIn
from tests.support.servers.fresh import free_port
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class WorkerProcess:
    """`faust -A app worker` with settings of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """`folder`: for the log and the data."""
        self.source = ROOT
        """Where the product's code is; read by `start`."""
        self.ingestion_port = free_port()
        self.query_port = free_port()
        self.health_port = free_port()
        self.health = f"http://127.0.0.1:{self.health_port}"
        self.ingestion = f"http://127.0.0.1:{self.ingestion_port}"
        self.query = f"http://127.0.0.1:{self.query_port}"
        self.log = folder / f"worker-{self.ingestion_port}.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._environment = {
            **inherited,
            "MQTT_URL": "off",
            "INGESTION_PORT": str(self.ingestion_port),
            "QUERY_PORT": str(self.query_port),
            "HEALTH_PORT": str(self.health_port),
            "DATA_DIR": str(folder / "data"),
            "PYTHONWARNINGS": "ignore",
            "DRAIN_SECONDS": "0",  # nothing is in front of it
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._way_in = PLAIN

    def use(self, way_in: WayIn) -> None:
        """Address it like this."""
        self._way_in = way_in
        self.ingestion = f"{way_in.scheme}://127.0.0.1:{self.ingestion_port}"
        self.query = f"{way_in.scheme}://127.0.0.1:{self.query_port}"

    def set(self, **settings: str) -> None:
        """Settings for the next start."""
        self._environment |= settings

    def start(self) -> None:
        """Start it; see `ready`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", "app", "worker"],
                cwd=self.source,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "not started"
        return self._process

    async def ready(self) -> None:
        """Return when the services that listen are ready; an event handler alone, when it listens."""
        services = self._environment.get("SERVICES", "ingestion,query")
        addresses = {"ingestion": f"{self.ingestion}/readyz", "query": f"{self.query}/readyz"}
        if services == "event_handler":
            addresses["event_handler"] = f"{self.health}/livez"
        async with self._way_in.session() as session:
            for name, address in addresses.items():
                if name in services:
                    await until(lambda address=address: self._answers(session, address), START_SECONDS)  # type: ignore[misc]

    async def _answers(self, session: aiohttp.ClientSession, address: str) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        try:
            async with session.get(address, timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """End it as a user would; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
