"""A simulated device: it measures, queues events in a small file, and publishes them over MQTT.

    .venv/bin/python examples/device.py dev-7                       # to the embedded broker, until Ctrl-C
    .venv/bin/python examples/device.py dev-7 --seconds 10 --url mqtts://dev-7:secret@mq.example --ca-file ca.pem

An event leaves the queue when the broker has acknowledged it, and only then the next event is sent, to keep the order.
After a reconnect an event may be sent twice with the same id; Headrace stores it once. The queue is bounded like a
device's memory: when it is full, the oldest event is dropped.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

MAX_QUEUED = 10_000
# Acknowledged lines that may stay in the file before it is rewritten.
SPARE_LINES = 1_000


class OfflineQueue:
    """Events by id, oldest first, in a file with a line for each. An incomplete last line is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._events: OrderedDict[str, str] = OrderedDict()
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                self._events[json.loads(line)["id"]] = line
            except ValueError:
                continue
        self._rewrite()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event_id: str, event: str) -> None:
        """Add an event. It is in the file before it is sent."""
        with self._changed:
            self._events[event_id] = event
            if len(self._events) > MAX_QUEUED:
                self._events.popitem(last=False)
            with self._path.open("a") as file:
                file.write(event + "\n")
            self._lines += 1
            self._tidy()
            self._changed.notify()

    def oldest(self, wait_seconds: float) -> tuple[str, str] | None:
        """The id and text of the next event; None if there is none within the time."""
        with self._changed:
            self._changed.wait_for(lambda: self._events, wait_seconds)
            return next(iter(self._events.items()), None)

    def remove(self, event_id: str) -> None:
        """Remove an acknowledged event."""
        with self._changed:
            self._events.pop(event_id, None)
            self._tidy()

    def _tidy(self) -> None:
        """Rewrite the file when no event is left, or when most of its lines are acknowledged."""
        if not self._events or self._lines > 2 * len(self._events) + SPARE_LINES:
            self._rewrite()

    def _rewrite(self) -> None:
        written = self._path.with_suffix(".new")
        written.write_text("".join(line + "\n" for line in self._events.values()))
        written.replace(self._path)
        self._lines = len(self._events)


class Device:
    """Measures, and publishes from its own thread."""

    def __init__(self, name: str, url: str, queue: OfflineQueue, ca_file: str | None = None) -> None:
        self.acknowledged = 0
        self._name = name
        self._queue = queue
        self._connected, self._published, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._sender = threading.Thread(target=self._send, daemon=True)
        address = urlsplit(url)
        self._client = Client(CallbackAPIVersion.VERSION2, name)
        if address.username:
            self._client.username_pw_set(unquote(address.username), unquote(address.password or ""))
        if address.scheme == "mqtts":
            self._client.tls_set(ca_file)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.on_publish = lambda *_: self._published.set()
        port = address.port or (8883 if address.scheme == "mqtts" else 1883)
        self._client.connect_async(address.hostname or "127.0.0.1", port)

    def start(self) -> None:
        """Connect, retrying until it succeeds, and send the events that an earlier run left first."""
        self._client.loop_start()
        self._sender.start()

    def measure(self) -> None:
        """Take a reading and queue it."""
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": f"/devices/{self._name}",
            "type": "reading.recorded",
            "subject": self._name,
            "time": datetime.now(UTC).isoformat(),
            "data": {"metric": "temperature", "value": round(random.gauss(21, 2), 2), "unit": "C"},
        }
        self._queue.put(str(event["id"]), json.dumps(event))

    def stop(self, patience_seconds: float = 5) -> None:
        """Wait up to `patience_seconds` for acknowledgements; unacknowledged events stay in the queue."""
        deadline = time.monotonic() + patience_seconds
        while len(self._queue) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._stopping.set()
        self._sender.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self) -> None:
        while not self._stopping.is_set():
            oldest = self._queue.oldest(wait_seconds=0.2)
            if oldest is None or not self._connected.wait(0.2):
                continue
            event_id, event = oldest
            self._published.clear()
            # If the connection is lost in the meantime, paho sends the event again over the next connection.
            self._client.publish(f"devices/{self._name}/events", event, qos=1)
            while not self._published.wait(0.2) and not self._stopping.is_set():
                pass
            if self._published.is_set():
                self._queue.remove(event_id)
                self.acknowledged += 1

    def _on_connect(
        self, _: Client, __: object, ___: ConnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if reason.is_failure:
            sys.stderr.write(f"{self._name}: the broker refuses the connection: {reason}\n")
        else:
            self._connected.set()


def main() -> None:
    """Run a device until Ctrl-C or for a number of seconds."""
    parser = argparse.ArgumentParser(description="A simulated device.")
    parser.add_argument("name", help="name of the device; also its MQTT client id")
    parser.add_argument("--url", default="mqtt://127.0.0.1:1883", help="address of the MQTT broker")
    parser.add_argument("--ca-file", help="PEM file of the authority that signed the broker's certificate")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="time between two readings")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long to run; default: until Ctrl-C")
    parser.add_argument("--queue", type=Path, help="file of the queue; default: NAME.queue")
    given = parser.parse_args()
    queue = OfflineQueue(given.queue or Path(f"{given.name}.queue"))
    device = Device(given.name, given.url, queue, given.ca_file)
    device.start()
    ends = time.monotonic() + given.seconds
    try:
        while time.monotonic() < ends:
            device.measure()
            time.sleep(given.every)
    except KeyboardInterrupt:
        pass
    device.stop()
    sys.stdout.write(f"{given.name}: {device.acknowledged} acknowledged, {len(queue)} in the queue\n")


if __name__ == "__main__":
    main()
