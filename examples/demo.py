"""make demo: a fleet of simulated devices, half over MQTT and half over HTTP. Needs a running `make run`."""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))
from examples.device import Device, OfflineQueue

HINTS = """\
Meanwhile, try

  {query}/api/v1/projections/devices?sort=-last_seen&limit=5   the devices seen last
  {query}/api/v1/projections/readings_hourly?device=demo-1     readings of a device by hour
  curl -N {query}/api/v1/projections/devices/changes           rows as they change
  {query}/api/v1/projections                                   progress and lag of each projection
  {ingestion}/metrics                                          metrics of this worker

Inject a fault: end the worker with kill -9 and restart it, or stop it for a while. No event is lost.
"""
NO_WORKER = """\
demo: nothing answers at {addresses}. Start a worker in another terminal, wait for "Headrace is up", and try again:

  make run

For a worker elsewhere: make demo ARGS="--ingestion http://… --query http://… --mqtt mqtt://…"
"""
CHECK_SECONDS = 0.3
REQUEST_SECONDS = 10.0
PAUSE_SECONDS = 0.5


def main() -> int:
    """Run the fleet. Returns the exit code: 1 if there is no worker, or any reading was not acknowledged."""
    parser = argparse.ArgumentParser(
        description="A fleet of simulated devices.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=50, help="number of devices")
    parser.add_argument("--seconds", type=float, default=60, help="how long they measure")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="time between a device's readings")
    parser.add_argument("--mqtt", default="mqtt://127.0.0.1:1883", help="address of the MQTT broker")
    parser.add_argument("--ingestion", default="http://127.0.0.1:8080", help="address of the ingestion service")
    parser.add_argument("--query", default="http://127.0.0.1:8081", help="address of the query service")
    given = parser.parse_args()
    if missing := [one for one in (given.ingestion, given.query, given.mqtt) if not answers(one)]:
        sys.stderr.write(NO_WORKER.format(addresses=" and ".join(missing)))
        return 1
    names = [f"demo-{number}" for number in range(1, given.devices + 1)]
    echo(f"{len(names)} devices measure every {given.every:g} s, for {given.seconds:g} s.\n\n")
    echo(HINTS.format(query=given.query, ingestion=given.ingestion) + "\n")
    ends = time.monotonic() + given.seconds
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(names)) as threads:
        over_mqtt = [threads.submit(run_mqtt, name, given, ends, Path(folder)) for name in names[::2]]
        over_http = [threads.submit(run_http, name, given, ends) for name in names[1::2]]
        mqtt, http = (sum(run.result()[0] for run in runs) for runs in (over_mqtt, over_http))
        left = sum(run.result()[1] for run in [*over_mqtt, *over_http])
    echo(f"Acknowledged: {mqtt} readings over MQTT, {http} over HTTP. Not acknowledged: {left}.\n")
    echo(f"demo-1 now: {get(given.query + '/api/v1/projections/devices/demo-1')}\n")
    return 1 if left else 0


def answers(address: str) -> bool:
    """Whether a server accepts connections there."""
    parts = urlsplit(address)
    port = parts.port or {"http": 80, "https": 443, "mqtts": 8883}.get(parts.scheme, 1883)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", port), CHECK_SECONDS).close()
    except OSError:
        return False
    return True


def run_mqtt(name: str, given: argparse.Namespace, ends: float, folder: Path) -> tuple[int, int]:
    """Simulate a device over MQTT. Returns how many of its readings were acknowledged, and how many were not."""
    queue = OfflineQueue(folder / name)
    device = Device(name, given.mqtt, queue)
    device.start()
    while time.monotonic() < ends:
        device.measure()
        time.sleep(given.every)
    device.stop(patience_seconds=30)
    return device.acknowledged, len(queue)


def run_http(name: str, given: argparse.Namespace, ends: float) -> tuple[int, int]:
    """Simulate a device over HTTP that repeats a request until it is answered. Returns the same as `run_mqtt`."""
    acknowledged = 0
    while time.monotonic() < ends:
        if not post(given.ingestion + "/api/v1/events", reading(name), ends + 30):
            return acknowledged, 1
        acknowledged += 1
        time.sleep(given.every)
    return acknowledged, 0


def reading(name: str) -> dict[str, Any]:
    """A reading of a device as a CloudEvent."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"/devices/{name}",
        "type": "reading.recorded",
        "subject": name,
        "time": datetime.now(UTC).isoformat(),
        "data": {"metric": "humidity", "value": random.randrange(30, 60), "unit": "%"},
    }


def post(address: str, event: dict[str, Any], until: float) -> bool:
    """Send an event until it is accepted; False if the time is up. It is safe to send an event again."""
    request = urllib.request.Request(
        address, json.dumps(event).encode(), {"Content-Type": "application/cloudevents+json"}
    )
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(PAUSE_SECONDS)
    return False


def get(address: str) -> str:
    """The body of the answer, or the error."""
    try:
        with urllib.request.urlopen(address, timeout=REQUEST_SECONDS) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return str(error)


def echo(text: str) -> None:
    """Print and flush."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
