"""The README, as a newcomer follows it: `make run`, then every command and its output."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.not_installed import skip_without
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.worker_process import ROOT

pytestmark = pytest.mark.alone

README = (ROOT / "README.md").read_text("utf-8")
# Its examples go on from those of the README.
QUERIES = (ROOT / "docs" / "query.md").read_text("utf-8")
UP_SECONDS = 120.0
# Until everything works, Kafka included, which starts in 4 s on an idle machine.
SECOND_START_SECONDS = 30.0
END_SECONDS = 10.0
VISIBLE_SECONDS = 20.0


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """The commands of the console blocks, each with the output that is printed under it."""
    found = []
    for block in [*blocks("console"), *blocks("console", QUERIES)]:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def without_clock(text: str) -> str:
    """What the clock writes is another each time: when rows and events were written, and the event's story."""
    return re.sub(r'("(?:updated_at|recorded_at|at)":)"[^"]*Z"', r"\1…", text)


class Make:
    """`make run` in the checkout, on a data folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "make.log"
        self.mqtt_port = str(free_port())
        self._environment = {
            **os.environ,
            "DATA_DIR": str(folder / "data"),
            "EMBEDDED_KAFKA_PORT": str(free_port()),
            "EMBEDDED_MQTT_PORT": self.mqtt_port,
        }
        for name in ("DATABASE_URL", "BROKER_URL", "MQTT_URL", "SERVICES"):
            self._environment.pop(name, None)

    def start(self) -> float:
        """Start; how many seconds until the banner, when everything works."""
        started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["make", "run"], cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        while "Headrace is up" not in self.log.read_text("utf-8"):
            assert self.process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() - started < UP_SECONDS, self.log.read_text("utf-8")
            time.sleep(0.05)
        return time.monotonic() - started

    def interrupt(self) -> float:
        """Ctrl-C, which reaches every process of the terminal; how many seconds until the end."""
        started = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - started


@pytest.fixture(scope="module")
def make() -> Iterator[Make]:
    with server_folder() as folder:
        running = Make(folder)
        running.start()
        yield running
        if running.process.poll() is None:
            running.interrupt()


def test_the_commands_give_the_output_that_is_printed(make: Make) -> None:
    assert commands()
    is_applied = False
    for command, output in commands():
        if command.startswith("mosquitto_pub") and not shutil.which("mosquitto_pub"):
            skip_without("mosquitto-clients")
        deadline = time.monotonic() + VISIBLE_SECONDS
        while True:
            ours = command.replace("1883", make.mqtt_port)
            answer = subprocess.run(["bash", "-c", ours], capture_output=True, text=True, timeout=30, check=True)
            if without_clock(answer.stdout.strip()) == without_clock(output):
                break
            assert time.monotonic() < deadline, f"{command}\n{answer.stdout}\nis not\n{output}"
            assert "POST" not in command
            assert not is_applied, f"{command} is not visible at once:\n{answer.stdout}"
            time.sleep(0.1)
        is_applied = "prefer: wait" in command


def test_the_device_of_the_readme_is_seen(make: Make) -> None:
    (source,) = (block for block in blocks("python") if "paho" in block)
    assert len(source.splitlines()) <= 16
    exec(compile(source.replace("1883", make.mqtt_port), "README.md", "exec"), {})  # noqa: S102 - the README is ours
    deadline = time.monotonic() + VISIBLE_SECONDS
    address = "http://127.0.0.1:8080/api/v1/events/status?source=/devices/dev-2&id=m-2"
    command = ["curl", "-s", address]
    while '"devices":"applied"' not in subprocess.run(command, capture_output=True, text=True, check=True).stdout:
        assert time.monotonic() < deadline, make.log.read_text("utf-8")
        time.sleep(0.1)


def test_it_ends_within_ten_seconds_and_starts_again(make: Make) -> None:
    ended = make.interrupt()
    started = make.start()
    code = make.process.poll()
    ended_again = make.interrupt()
    print(f"ended in {ended:.1f} s, second start in {started:.1f} s, ended again in {ended_again:.1f} s")
    assert code is None
    assert max(ended, ended_again) < END_SECONDS
    assert started < SECOND_START_SECONDS


def test_the_example_projection_works_as_printed() -> None:
    (source,) = (block for block in blocks("python") if "Projection" in block)
    assert len(source.splitlines()) < 30
    example: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), example)  # noqa: S102 - the README is ours
    from headrace.projection import Event, Projection  # noqa: PLC0415 - only for this

    doors, opened_by, door = example["doors"], example["Opened"], example["Door"]
    assert isinstance(doors, Projection)
    handler = doors.by_type["door.opened"].handler
    state = None
    for position, name in enumerate(("Ada", "Bob"), start=1):
        event = Event(position, str(position), "/gate", "door.opened", "d1", "2026-01-01T00:00:00Z", opened_by(by=name))  # type: ignore[operator]
        state = handler(state, event)
    assert state == door(2, "Bob")  # type: ignore[operator]


def test_the_files_that_are_linked_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
