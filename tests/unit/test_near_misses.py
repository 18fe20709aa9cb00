"""Variables that look like a setting and are none."""

from __future__ import annotations

import pytest

from app.near_misses import near_misses
from app.settings import Settings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_EVENT_BYTS", "MAX_EVENT_BYTES"),
        ("max_event_bytes", "MAX_EVENT_BYTES"),
        ("DATABASEURL", "DATABASE_URL"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("SERVICE", "SERVICES"),
        ("TOPICS", "TOPIC"),
        ("HEADRACE_TOPIC", "TOPIC"),
        ("HEADRACE_LOG_LEVL", "LOG_LEVEL"),
        ("BROKER_URL_FILE", "BROKER_URL"),
        ("DATABASE_URL_FIL", "DATABASE_URL_FILE"),
    ],
)
def test_a_variable_that_looks_like_a_setting_is_named_with_the_setting(name: str, meant: str) -> None:
    assert near_misses([name]) == [(name, meant)]


def test_settings_and_what_others_set_are_not_named() -> None:
    settings = [name.upper() for name in Settings.__struct_fields__]
    secrets = ["DATABASE_URL_FILE", "MQTT_URL_FILE"]
    usual = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "PWD", "HOSTNAME", "TERM", "MAIL", "EDITOR", "SHELL"]
    others = ["POSTGRES_PASSWORD", "KAFKA_HEAP_OPTS", "XDG_DATA_DIRS", "DEBUG", "PORT", "HOST", "no_proxy", "AUTHOR"]
    kubernetes = [
        "INGESTION_SERVICE_HOST",
        "INGESTION_SERVICE_PORT",
        "INGESTION_PORT_8080_TCP",
        "QUERY_PORT_8081_TCP_ADDR",
    ]
    assert near_misses([*settings, *secrets, *usual, *others, *kubernetes]) == []
