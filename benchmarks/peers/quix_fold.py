"""Quix Streams: the fold of `devices` for readings, its state in RocksDB and a changelog topic, its rows by the
PostgreSQL sink that comes with it."""

from __future__ import annotations

import os
from typing import Any

from quixstreams import Application, State
from quixstreams.sinks.community.postgresql import PostgreSQLSink


def fold(event: dict[str, Any], state: State) -> dict[str, Any]:
    """The device's row after this event."""
    time, data = event["time"], event["data"]
    device: dict[str, Any] = state.get("device") or {
        "device": event["subject"],
        "readings": 0,
        "first_seen": time,
        "last_seen": time,
        "latest": {},
    }
    device["readings"] += 1
    device["first_seen"] = min(device["first_seen"], time)
    device["last_seen"] = max(device["last_seen"], time)
    known = device["latest"].get(data["metric"])
    if known is None or known["time"] <= time:
        device["latest"][data["metric"]] = {"value": data["value"], "unit": data.get("unit"), "time": time}
    state.set("device", device)
    return device


def main() -> None:
    """Until it is ended."""
    app = Application(
        broker_address=os.environ["BOOTSTRAP_SERVERS"],
        consumer_group=os.environ["GROUP"],
        auto_offset_reset="earliest",
        state_dir=os.environ["STATE_DIR"],
        commit_interval=1.0,
        loglevel="WARNING",
    )
    sink = PostgreSQLSink(
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        dbname=os.environ["PGDATABASE"],
        user=os.environ["PGUSER"],
        password="",
        table_name="devices",
        primary_key_columns="device",
        upsert_on_primary_key=True,
    )
    rows = app.dataframe(app.topic(os.environ["TOPIC"], value_deserializer="json"))
    rows = rows[rows["type"] == "reading.recorded"].apply(fold, stateful=True)
    rows.sink(sink)
    app.run()


if __name__ == "__main__":
    main()
