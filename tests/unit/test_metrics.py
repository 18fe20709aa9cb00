"""The metrics page against the code, and the exposition against Prometheus' own parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace.process import metrics
from headrace.process.histogram import Histogram
from headrace.process.metrics import FAMILIES, Metrics, Sample

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(headrace_\w+)` \| (\w+) \| ([^|]*)\| [^|]* \| ([^|]*) \|$", re.MULTILINE)


def full_name(family: metrics.Family) -> str:
    return family.name + ("_total" if family.kind == "counter" else "")


def test_the_page_has_each_metric_as_the_code_has_it() -> None:
    rows = ROW.findall((DOCS / "metrics.md").read_text())
    told = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]
    assert told == [(full_name(one), one.kind, one.labels, one.help) for one in FAMILIES.values()]


def test_the_alerts_are_about_metrics_that_there_are() -> None:
    alerts = (DOCS / "metrics.md").read_text().split("## Alerts", 1)[1]
    suffixes = ("", "_count", "_sum", "_bucket")
    known = {full_name(one) + suffix for one in FAMILIES.values() for suffix in suffixes}
    assert set(re.findall(r"headrace_\w+", alerts)) <= known


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_conventions(family: metrics.Family) -> None:
    assert re.fullmatch(r"headrace_[a-z_]+", family.name)
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms"))
    assert not set(family.labels) & {"type", "event_type", "source", "subject", "key", "id"}


def test_what_is_told_is_what_prometheus_reads() -> None:
    sizes = Histogram((1.0, 10.0))
    for size in (1, 1.5, 10, 11):
        sizes.observe(size)

    def source() -> Iterator[Sample]:
        yield Sample(metrics.ACCEPTED, 3, ("http",))
        yield Sample(metrics.OUTBOX_EVENTS, 7)
        yield Sample(metrics.BATCH_EVENTS, sizes, ("devices",))

    told = Metrics()
    told.add(source)
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(told.registry).decode())
        for sample in family.samples
        if sample.name.startswith("headrace_")
    }
    devices = ("projection", "devices")
    assert found == {
        ("headrace_events_accepted_total", (("transport", "http"),)): 3,
        ("headrace_outbox_events", ()): 7,
        ("headrace_projector_batch_events_bucket", (("le", "1.0"), devices)): 1,
        ("headrace_projector_batch_events_bucket", (("le", "10.0"), devices)): 3,
        ("headrace_projector_batch_events_bucket", (("le", "+Inf"), devices)): 4,
        ("headrace_projector_batch_events_count", (devices,)): 4,
        ("headrace_projector_batch_events_sum", (devices,)): 23.5,
    }


def test_the_process_tells_its_memory() -> None:
    assert "process_resident_memory_bytes" in generate_latest(Metrics().registry).decode()
