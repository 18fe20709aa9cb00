"""Settings: read once, and a wrong one is named with its value and what is allowed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.setting_groups.postgres import PARTS, Part
from app.setting_groups.tls import PORTS
from app.settings import Settings, allowed, read_settings
from headrace.errors import InvalidSettingError

FIELDS: dict[str, Any] = {field.name: field.type.type for field in msgspec.inspect.type_info(Settings).fields}  # type: ignore[attr-defined]
ANY_TEXT = {"ingestion_host", "query_host", "health_host", "data_dir", "consumer_group"}
CHECKED_BY_HAND = {"database_url", "broker_url", "services", "fault_points"}
CHECKED_BY_HAND |= {f"{port}_tls_{name}" for port in PORTS for name in ("certificate", "key", "client_ca")}
# Those of Kafka: tests/unit/test_kafka_settings.py.
CHECKED_BY_HAND |= {f"kafka_{name}_file" for name in ("ca", "certificate", "key", "token")}
CHECKED_BY_HAND |= {"kafka_sasl_username", "kafka_sasl_password"}
CHECKED_BY_HAND |= {f"kafka_token_{name}" for name in ("url", "client_id", "client_secret", "scope")}
CHECKED_BY_HAND |= {f"database_url_{part}" for part in PARTS}
CHECKED_BY_HAND |= {"mqtt_url", "mqtt_ca_file", "mqtt_certificate_file", "mqtt_key_file"}
CHECKED_BY_HAND |= {"jwt_keys_file", "jwt_keys_ca_file"}

WRONG_DATABASES = ["db:99999/x", "db:1,other:0/x", "[::1/x", "[db]:1/x", "db/x?sslmode=yes", "db/x?port=y"]


def wrong_values(kind: Any) -> list[str]:
    """What the type of a setting does not allow."""
    match kind:
        case msgspec.inspect.IntType(ge=int(least), le=int(most)):
            return ["many", "1.5", str(least - 1), str(most + 1)]
        case msgspec.inspect.FloatType(ge=float() | int() as least, le=float() | int() as most):
            return ["soon", "nan", str(least - 0.001), str(most + 1)]
        case msgspec.inspect.LiteralType():
            return ["nonsense"]
        case msgspec.inspect.StrType(pattern=str()):
            return ["two words", "x" * 300]
    return []


def test_nothing_set_means_everything_embedded_on_loopback() -> None:
    settings = read_settings({})
    assert (settings.database_url, settings.broker_url) == ("", "")
    assert settings.runs == {"ingestion", "event_handler", "query"}
    assert (settings.ingestion_host, settings.ingestion_port) == ("127.0.0.1", 8080)
    assert (settings.query_host, settings.query_port) == ("127.0.0.1", 8081)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_settings({"INGESTION_PORT": " ", "DATABASE_URL": ""}) == Settings()


def test_services_are_chosen_by_name() -> None:
    assert read_settings({"SERVICES": "query, ingestion"}).runs == {"ingestion", "query"}


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("INGESTION_PORT", "http", "port number, 1 to 65535"),
        ("QUERY_PORT", "0", "port number, 1 to 65535"),
        ("QUERY_PORT", "8080", "a port other than INGESTION_PORT"),
        ("SERVICES", "ingestion,reader", "comma-separated list of ingestion, event_handler, query"),
        ("SERVICES", "ingestion,", "comma-separated list of ingestion, event_handler, query"),
        ("DATABASE_URL", "mysql://localhost/x", "postgresql://…; empty: embedded PostgreSQL"),
        *[("DATABASE_URL", f"postgresql://{wrong}", allowed("database_url")) for wrong in WRONG_DATABASES],
        ("BROKER_URL", "kafka://one:99999", allowed("broker_url")),
        ("BROKER_URL", "kafka://one:0", allowed("broker_url")),
        ("BROKER_URL", "127.0.0.1:9092", allowed("broker_url")),
        ("BROKER_URL", "kafka://one:9092,two", allowed("broker_url")),
        ("TOPIC", "two words", "1 to 249 letters, digits, . _ -"),
        ("TOPIC", "..", "1 to 249 letters, digits, . _ -"),
        ("UNKNOWN_TYPES", "ignore", "store or reject"),
        ("DATABASE_TIMEOUT_SECONDS", "soon", "seconds, more than 0"),
        ("MAX_EVENT_BYTES", "1MB", "bytes, 1000 or more"),
        ("LOG_LEVEL", "info", "DEBUG, INFO, WARNING or ERROR"),
        ("LOG_FORMAT", "logfmt", "text or json"),
        ("AUTH", "on", "keys, jwt, keys,jwt or off; empty: off, on loopback addresses only"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "comma-separated addresses and networks (CIDR)"),
        ("TRUSTED_PROXIES", "10.0.0.256", "comma-separated addresses and networks (CIDR)"),
    ],
)
def test_a_wrong_value_names_the_variable_the_value_and_what_is_allowed(
    variable: str, value: str, allowed: str
) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        read_settings({variable: value})
    assert str(refused.value) == f"{variable}={value}: not allowed; allowed: {allowed}"


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - ANY_TEXT - CHECKED_BY_HAND))
def test_every_setting_refuses_what_its_type_does_not_allow(name: str) -> None:
    wrong = wrong_values(FIELDS[name])
    assert wrong, f"{name} takes any text, or has a check of its own: say so above, and test what it does"
    for value in wrong:
        with pytest.raises(InvalidSettingError) as refused:
            read_settings({name.upper(): value})
        assert str(refused.value) == f"{name.upper()}={value}: not allowed; allowed: {allowed(name)}"


def test_a_fault_point_that_is_none_is_refused() -> None:
    with pytest.raises(
        InvalidSettingError, match=r"^FAULT_POINTS=nowhere=kill: not allowed; allowed: comma-separated POINT="
    ):
        read_settings({"FAULT_POINTS": "nowhere=kill"})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgres://db/x",
        "postgresql://user:p%40ss@db:5433/x?sslmode=verify-full&application_name=a",
        "postgresql://user@one:1,two:65535/x",
        "postgresql://[::1]:5432/x",
        "postgresql://user@/x?host=/var/run/postgresql&port=5432",
    ],
)
def test_what_an_address_of_postgresql_may_be(url: str) -> None:
    assert read_settings({"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("wrong", WRONG_DATABASES)
def test_the_address_of_a_service_is_checked(part: Part, wrong: str) -> None:
    name = f"DATABASE_URL_{part.upper()}"
    with pytest.raises(InvalidSettingError, match=rf"^{name}=postgresql://.*: not allowed; allowed: postgresql://…"):
        read_settings({"DATABASE_URL": "postgresql://db/x", name: f"postgresql://{wrong}"})


def test_a_service_uses_its_own_address_else_that_of_its_service_else_the_common_one() -> None:
    common, own = "postgresql://owner@db/x", "postgresql://own@db/x"
    settings = read_settings({"DATABASE_URL": common})
    assert {settings.database_of(part) for part in PARTS} == {common}
    for part, also in (("ingestion", "relay"), ("query", "operation")):
        settings = read_settings({"DATABASE_URL": common, f"DATABASE_URL_{part.upper()}": own})
        assert {one for one in PARTS if settings.database_of(one) == own} == {part, also}
    settings = read_settings({"DATABASE_URL": common, "DATABASE_URL_RELAY": own})
    assert [settings.variable_of(part) for part in PARTS] == [
        "DATABASE_URL",
        "DATABASE_URL_RELAY",
        *["DATABASE_URL"] * 3,
    ]


@pytest.mark.parametrize("services", ["ingestion,event_handler,query", "ingestion"])
def test_no_service_uses_the_embedded_server_beside_another(services: str) -> None:
    own = {"DATABASE_URL_QUERY": "postgresql://own@db/x"}
    assert read_settings({**own, "SERVICES": "query"}).has_own_databases
    with pytest.raises(InvalidSettingError, match=r"^DATABASE_URL_INGESTION=: not allowed.*because DATABASE_URL_QUERY"):
        read_settings({**own, "SERVICES": services})


@pytest.mark.parametrize("service", ["INGESTION", "QUERY"])
def test_listening_beyond_loopback_needs_a_word_on_authentication(service: str) -> None:
    with pytest.raises(InvalidSettingError, match="AUTH=off"):
        read_settings({f"{service}_HOST": "0.0.0.0"})  # noqa: S104
    settings = read_settings({f"{service}_HOST": "0.0.0.0", "AUTH": "off"})  # noqa: S104
    assert settings.auth == "off"
    settings = read_settings({f"{service}_HOST": "0.0.0.0", "AUTH": "keys"})  # noqa: S104
    assert settings.authenticates
    assert settings.accepts_keys


@pytest.mark.parametrize("auth", ["", "off"])
def test_without_a_choice_nobody_is_authenticated(auth: str) -> None:
    settings = read_settings({"AUTH": auth})
    assert not settings.authenticates
    assert not settings.accepts_keys


def test_the_health_port_of_an_event_handler_alone_needs_the_same_word() -> None:
    alone = {"SERVICES": "event_handler", "HEALTH_HOST": "0.0.0.0"}  # noqa: S104
    with pytest.raises(InvalidSettingError, match="AUTH=off"):
        read_settings(alone)
    assert read_settings({**alone, "AUTH": "off"}).health_host == "0.0.0.0"  # noqa: S104
    assert read_settings({**alone, "SERVICES": "query"}).runs == {"query"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    assert read_settings({"INGESTION_HOST": host}).ingestion_host == host


def test_a_host_of_a_service_that_does_not_run_does_not_count() -> None:
    assert read_settings({"QUERY_HOST": "0.0.0.0", "SERVICES": "ingestion"}).query_host == "0.0.0.0"  # noqa: S104
