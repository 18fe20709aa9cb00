"""Real mosquitto, with a configuration of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.support.not_installed import skip_without
from tests.support.servers.fresh import free_port
from tests.support.waiting import until

START_SECONDS = 30.0
STOP_SECONDS = 10.0
# Debian puts it where only root's PATH looks.
PLACES = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))
OPEN = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
"""


def mosquitto_program() -> str:
    """Where it is. Without it the test is skipped, but fails in CI, which installs it."""
    found = shutil.which("mosquitto", path=PLACES)
    if found is None:
        skip_without("mosquitto")
    return found


class Mosquitto:
    """One broker on loopback; `kill` and `start` keep its data."""

    def __init__(self, folder: Path, config: str = OPEN) -> None:
        """`{port}` and `{folder}` in the configuration are filled in."""
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.log = folder / "mosquitto.log"
        self._program = mosquitto_program()
        self._config = folder / "mosquitto.conf"
        data = folder / "mosquitto"
        data.mkdir()
        self.database = data / "mosquitto.db"
        filled = config.replace("{port}", str(self.port)).replace("{folder}", str(data))
        # Started by root it would become another user, who must then read all that it is given.
        self._config.write_text(filled + ("user root\n" if os.geteuid() == 0 else ""))
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Return when it takes connections."""
        self._start()
        await until(self._listens, START_SECONDS, "mosquitto did not start")

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-v", "-c", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def has_written(self, text: bytes) -> bool:
        """Whether this is in its file."""
        return self.database.exists() and text in self.database.read_bytes()

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
