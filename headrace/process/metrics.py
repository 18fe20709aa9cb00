"""A worker's metrics: all families by name, and a collector that reads plain numbers at each scrape.

Hot paths do not use the Prometheus client: they increment integers, which a source reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headrace.process.histogram import Histogram


class Family(NamedTuple):
    """A metric family. docs/metrics.md has a line for each, and a test compares the two."""

    name: str
    """For a counter, without `_total`."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


FAMILIES: Final[dict[str, Family]] = {}


def _family(name: str, kind: Literal["counter", "gauge", "histogram"], labels: str, text: str) -> Family:
    FAMILIES[name] = Family(f"headrace_{name}", kind, tuple(labels.split()), text)
    return FAMILIES[name]


BUILD = _family("build_info", "gauge", "version python", "Always 1; the labels are the versions of this worker.")
REQUESTS = _family("http_request_duration_seconds", "histogram", "service route status", "Duration of requests.")
REFUSED = _family("requests_refused", "counter", "cause", "Requests without a valid key, or without the scope.")
ACCEPTED = _family("events_accepted", "counter", "transport", "New events that were committed.")
DUPLICATE = _family(
    "events_duplicate", "counter", "transport", "Events that were already known, with the same content."
)
REJECTED = _family("events_rejected", "counter", "transport", "Events that were refused as invalid.")
QUEUE_EVENTS = _family("queue_events", "gauge", "", "Events that wait for a commit in ingestion.")
QUEUE_BYTES = _family("queue_bytes", "gauge", "", "Memory of the events that wait for a commit.")
BODIES_BYTES = _family("bodies_bytes", "gauge", "", "Memory of request bodies that are being received.")
OUTBOX_EVENTS = _family("outbox_events", "gauge", "", "Events in the outbox; estimated beyond 1,000.")
OUTBOX_BYTES = _family("outbox_bytes", "gauge", "", "Size of the events in the outbox; estimated beyond 1,000 events.")
OUTBOX_AGE = _family(
    "outbox_oldest_age_seconds", "gauge", "", "Time since the oldest event in the outbox was accepted."
)
RELAY_ACTIVE = _family("relay_active", "gauge", "", "1 if the relay of this worker is active, else 0.")
RELAY_ROUNDS = _family("relay_rounds", "counter", "", "Rounds that were published.")
RELAY_EVENTS = _family("relay_events", "counter", "", "Events that were published.")
RELAY_ERRORS = _family("relay_publish_errors", "counter", "", "Attempts to reach Kafka that failed.")
TOPIC_AHEAD = _family(
    "relay_topic_ahead",
    "counter",
    "",
    "Partitions and epochs in which the topic had events that the event store lacks.",
)
UNPUBLISHED = _family("unpublished_events", "gauge", "", "Events that Kafka refused, and that the topic lacks.")
MQTT_CONNECTED = _family("mqtt_connected", "gauge", "", "1 while this worker is connected to the MQTT broker, else 0.")
POSTGRES_UP = _family("postgres_up", "gauge", "", "1 if PostgreSQL answered this worker at its last check, else 0.")
DISK_FULL = _family("postgres_disk_full", "gauge", "", "1 while writes are paused because PostgreSQL's disk is full.")
POSITION = _family("projection_position", "gauge", "projection", "All events up to this position are applied.")
LAG_EVENTS = _family("projection_lag_events", "gauge", "projection", "Events stored after the position.")
LAG_SECONDS = _family(
    "projection_lag_seconds", "gauge", "projection", "Time since the first unapplied event was stored."
)
STALLED = _family("projection_stalled", "gauge", "projection", "1 if no event was applied for STALL_SECONDS, else 0.")
PARKED = _family("projection_parked_events", "gauge", "projection", "Events that are parked.")
LEFTOVER_ROWS = _family(
    "leftover_rows", "gauge", "projection", "Rows of a projection that the code no longer has; at most 100,000."
)
LEFTOVER_PARKED = _family(
    "leftover_parked_events", "gauge", "projection", "Parked events of a projection that the code no longer has."
)
BATCH_EVENTS = _family("projector_batch_events", "histogram", "projection", "Events in a batch.")
BATCH_SECONDS = _family("projector_batch_duration_seconds", "histogram", "projection", "Time to apply a batch.")
BATCH_FAILURES = _family("projector_failed_attempts", "counter", "projection", "Attempts to apply a batch that failed.")
PASSED_OVER = _family(
    "records_passed_over", "counter", "reason", "Records on the topic that are not events of this database."
)
ACCESS_LOG_WAITING = _family("access_log_waiting", "gauge", "", "Entries of the access log that wait to be written.")
ACCESS_LOG_LOST = _family("access_log_lost", "counter", "", "Entries of the access log that were lost.")
RATE_LIMITED = _family("rate_limited", "counter", "", "Requests that were refused because of the limits of a caller.")


class Sample(NamedTuple):
    """A value of a family, with one label value for each of the family's labels."""

    family: Family
    value: float | Histogram
    labels: tuple[str, ...] = ()


Source = Callable[[], Iterable[Sample]]


class Metrics(Collector):
    """The metrics registry of a worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._sources: list[Source] = []
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def add(self, source: Source) -> None:
        """Read this source at every scrape."""
        self._sources.append(source)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the samples are known only at a scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All samples, grouped by family."""
        metrics: dict[str, Metric] = {}
        for source in self._sources:
            for family, value, labels in source():
                if family.name not in metrics:
                    metrics[family.name] = _metric(family)
                _add(metrics[family.name], value, labels)
        yield from metrics.values()


def _metric(family: Family) -> Metric:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    metric: Metric = kinds[family.kind](family.name, family.help, labels=family.labels)
    return metric


def _add(metric: Metric, value: float | Histogram, labels: tuple[str, ...]) -> None:
    if isinstance(value, Histogram):
        assert isinstance(metric, HistogramMetricFamily)
        metric.add_metric(labels, list(value.buckets()), value.total)
    else:
        assert isinstance(metric, CounterMetricFamily | GaugeMetricFamily)
        metric.add_metric(labels, value)
