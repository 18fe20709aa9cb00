"""Typed settings with the unit in the name, read once from a mapping (the environment, which overrides `.env`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from app.secret_files import with_secret_files
from app.setting_groups.files import is_file
from app.setting_groups.jwt import check_jwt
from app.setting_groups.kafka import check_kafka
from app.setting_groups.limits import check_limits
from app.setting_groups.postgres import PostgresSettings, check_postgres
from app.setting_groups.refusals import refused, shown_value
from app.setting_groups.tls import check_tls
from headrace.process import host_names
from headrace.process.fault_points import POINTS, SYNTAX, Fault, read_faults
from headrace.process.mqtt_address import read_mqtt_url

ServiceName = Literal["ingestion", "event_handler", "query"]
SERVICE_NAMES: tuple[ServiceName, ...] = get_args(ServiceName)

Port = Annotated[int, Meta(ge=1, le=65_535, description="port number, 1 to 65535")]
Text = Annotated[str, Meta(min_length=1, description="non-empty string")]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000, description="integer, 1 or more")]
Seconds = Annotated[float, Meta(ge=0.001, le=31_536_000, description="seconds, more than 0")]
Bytes = Annotated[int, Meta(ge=1_000, le=1_000_000_000, description="bytes, 1000 or more")]

StallSeconds = Annotated[float, Meta(ge=1, le=31_536_000, description="seconds, 1 or more")]
LargeBytes = Annotated[int, Meta(ge=1_000, le=10**15, description="bytes, 1000 or more")]


class Settings(PostgresSettings, frozen=True, kw_only=True):
    """All settings. The variable is the name in upper case.

    Those of `app.setting_groups` come first. The description in `Meta` is what is allowed; the text below a field is
    what it does. docs/settings.md has both.
    """

    mqtt_url: Annotated[
        str,
        Meta(description="mqtt://user:password@host:port, mqtts://… for TLS, or off; empty: embedded MQTT broker"),
    ] = ""
    """Address of the MQTT broker that devices publish to; off: no MQTT. The embedded broker lets everyone in, so it is
    off where AUTH is on."""
    mqtt_protocol: Annotated[Literal["5", "3.1.1"], Meta(description="5 or 3.1.1")] = "5"
    """MQTT version that the worker speaks."""
    mqtt_shared: Annotated[
        Literal["on", "off", ""], Meta(description="on or off; empty: on, but off with the embedded broker")
    ] = ""
    """Whether workers share the device messages. off: each worker receives every message, and an event that another
    worker stored first counts as a duplicate."""
    mqtt_client_id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{0,64}$",
            description="at most 64 letters, digits, . _ -; empty: made from the host name and INGESTION_PORT",
        ),
    ] = ""
    """The worker's session at the MQTT broker. It must be unique for each worker and stay the same after a restart."""
    mqtt_max_in_flight: Annotated[int, Meta(ge=1, le=65_535, description="integer, 1 to 65535")] = 1_000
    """How many unacknowledged messages the MQTT broker may have in flight to the worker."""
    mqtt_ca_file: Annotated[str, Meta(description="PEM file; empty: the system's authorities")] = ""
    """Certificate authorities that the MQTT broker's certificate is checked against."""
    mqtt_certificate_file: Annotated[str, Meta(description="PEM file; empty: no certificate")] = ""
    """Client certificate for an MQTT broker that requires it."""
    mqtt_key_file: Annotated[str, Meta(description="PEM file; empty: the key is in MQTT_CERTIFICATE_FILE")] = ""
    """Private key of the client certificate, without a password."""
    services: Annotated[str, Meta(description="comma-separated list of ingestion, event_handler, query")] = ",".join(
        SERVICE_NAMES
    )
    """Services that the worker runs."""
    ingestion_host: Text = "127.0.0.1"
    """Address on which the ingestion service listens."""
    ingestion_port: Port = 8080
    """Port of the ingestion service."""
    query_host: Text = "127.0.0.1"
    """Address on which the query service listens."""
    query_port: Port = 8081
    """Port of the query service."""
    health_host: Text = "127.0.0.1"
    """Address on which a worker that runs only the event handler serves /livez, /readyz and /metrics."""
    health_port: Port = 8082
    """Port of the same. Other workers serve them on the ports of their services."""
    data_dir: Text = ".headrace"
    """Folder for the data of the embedded servers."""
    embedded_kafka_port: Port = 9092
    """Port of the embedded Apache Kafka on 127.0.0.1."""
    embedded_mqtt_port: Port = 1883
    """Port of the embedded MQTT broker on 127.0.0.1."""
    topic: Annotated[
        str,
        Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$", description="1 to 249 letters, digits, . _ -"),
    ] = "events"
    """Kafka topic for the events."""
    topic_partitions: Annotated[int, Meta(ge=1, le=1_000, description="integer, 1 to 1000")] = 8
    """Partitions of the topic; used only when Headrace creates it."""
    consumer_group: Text = "headrace"
    """Kafka consumer group of the event handlers."""
    consumer_instance_id: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9._-]{0,249}$", description="at most 249 letters, digits, . _ -; empty: dynamic"),
    ] = ""
    """Kafka static member id, unique for each event handler: after a restart it rejoins at once instead of after 8
    seconds."""
    unknown_types: Annotated[Literal["store", "reject"], Meta(description="store or reject")] = "store"
    """What to do with events of a type that no projection declares."""
    old_shapes: Annotated[Literal["accept", "refuse"], Meta(description="accept or refuse")] = "refuse"
    """What to do with new events whose data has an older shape that the projections convert."""
    max_connections: Count = 1_000
    """Open connections at each HTTP port; further connections may only read /livez, /readyz and /metrics."""
    max_connections_per_address: Annotated[
        int, Meta(ge=0, le=1_000_000_000, description="integer; 0: half of MAX_CONNECTIONS")
    ] = 0
    """Open connections of one client address at each HTTP port. It does not apply to TRUSTED_PROXIES."""
    max_unsent_bytes: Bytes = 64_000_000
    """Answers in memory, in bytes, that clients of a port have not read yet; beyond it, the slowest clients are
    disconnected."""
    max_event_bytes: Bytes = 1_000_000
    """Largest event, in bytes of UTF-8, including its `sequence`."""
    max_state_bytes: Bytes = 1_000_000
    """Largest state of a row, in bytes of JSON; an event that makes its row larger is parked."""
    max_body_bytes: Bytes = 8 * 1024 * 1024
    """Largest request body, in bytes, compressed or not."""
    max_batch_events: Count = 5_000
    """Maximum number of events in a batch."""
    max_json_depth: Annotated[int, Meta(ge=2, le=500, description="integer, 2 to 500")] = 64
    """Deepest nesting of an event, in levels of arrays and objects; the event itself is the first."""
    max_queued_events: Count = 20_000
    """Events in memory that wait for a commit; beyond it, posts receive 429."""
    max_queued_bytes: Bytes = 64_000_000
    """Memory, in bytes, of the events that wait for a commit; beyond it, posts receive 429."""
    max_bodies_bytes: Bytes = 128 * 1024 * 1024
    """Memory, in bytes, of request bodies that are being received; beyond it, posts receive 429."""
    outbox_max_events: Count = 10_000_000
    """Events in the outbox; beyond it, posts receive 429."""
    outbox_max_bytes: LargeBytes = 10_000_000_000
    """Size, in bytes, of the events in the outbox; beyond it, posts receive 429."""
    relay_batch_events: Annotated[int, Meta(ge=1, le=10_000, description="integer, 1 to 10000")] = 1_000
    """Maximum number of events that the relay publishes in a round."""
    relay_watchdog_seconds: Seconds = 2.0
    """How often the relay polls the outbox, in seconds, when no notification arrives."""
    database_pool_size: Annotated[int, Meta(ge=2, le=500, description="integer, 2 to 500")] = 8
    """Maximum number of pooled PostgreSQL connections of the worker; docs/overload.md says how they are divided."""
    database_timeout_seconds: Seconds = 5.0
    """Timeout, in seconds, for connecting to PostgreSQL and for each statement."""
    stall_seconds: StallSeconds = 60.0
    """Seconds without progress after which a stalled projection is restarted; after the same time again, the worker
    ends. It also ends when its event loop is blocked that long."""
    drain_seconds: Annotated[float, Meta(ge=0, le=60, description="seconds, 0 to 60")] = 1.0
    """How long to keep serving after SIGTERM, in seconds, while /readyz answers 503, so that the load balancer stops
    routing here."""
    shutdown_seconds: Seconds = 8.0
    """Time, in seconds, for an orderly stop after DRAIN_SECONDS; then the worker exits with code 1."""
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="DEBUG, INFO, WARNING or ERROR")
    ] = "INFO"
    """Lowest level of Headrace's log lines."""
    log_format: Annotated[Literal["text", "json"], Meta(description="text or json")] = "text"
    """Format of the log: text for people, or JSON lines for machines; see docs/logs.md."""
    fault_points: Annotated[str, Meta(description=f"{SYNTAX}; the points are {', '.join(POINTS)}")] = ""
    """Faults to inject, for tests only: never use it in production."""

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [
            (name, shown_value(name, value) if isinstance(value, str) else value)
            for name, value in msgspec.structs.asdict(self).items()
        ]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    @property
    def faults(self) -> list[Fault]:
        """The faults to inject; usually empty."""
        return read_faults(self.fault_points)

    @property
    def runs(self) -> frozenset[ServiceName]:
        """The services that this worker runs."""
        chosen = {name.strip() for name in self.services.split(",")}
        return frozenset(name for name in SERVICE_NAMES if name in chosen)

    def with_closed_broker(self) -> Settings:
        """The same without the embedded MQTT broker, which lets everyone in, where AUTH is on."""
        is_open = self.authenticates and not self.mqtt_url
        return msgspec.structs.replace(self, mqtt_url="off") if is_open else self


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from `environment`.

    An empty variable counts as not set; `X_FILE` names a file with the value of the secret X. Raises
    InvalidSettingError, which names the variable, its value without secrets, and what is allowed.
    """
    environment = with_secret_files(environment)
    given = {
        field: environment[field.upper()].strip()
        for field in Settings.__struct_fields__
        if environment.get(field.upper(), "").strip()
    }
    settings = Settings()
    for field, value in given.items():
        try:
            settings = msgspec.convert({**msgspec.structs.asdict(settings), field: value}, Settings, strict=False)
        except msgspec.ValidationError as error:
            raise refused(field, value, allowed(field)) from error
    _check_together(settings)
    return settings.with_closed_broker()


def allowed(field: str) -> str:
    """The allowed values of a setting, in words."""
    hints = msgspec.inspect.type_info(Settings)
    assert isinstance(hints, msgspec.inspect.StructType)
    described = next(known.type for known in hints.fields if known.name == field)
    assert isinstance(described, msgspec.inspect.Metadata)
    return str((described.extra_json_schema or {})["description"])


def _check_together(settings: Settings) -> None:
    _check_services(settings)
    check_postgres(settings, settings.runs, allowed("database_url"))
    check_jwt(settings, allowed)
    check_limits(settings, allowed("trusted_proxies"))
    check_kafka(settings, allowed("broker_url"))
    check_tls(settings)
    _check_mqtt(settings)
    _check_fault_points(settings)
    if settings.ingestion_port == settings.query_port and settings.ingestion_host == settings.query_host:
        raise refused("query_port", str(settings.query_port), "a port other than INGESTION_PORT")
    for service, host in _listening(settings):
        if not settings.auth and not host_names.is_loopback(host):
            allowed_hosts = "a loopback address; AUTH=keys permits others, and AUTH=off does without authentication"
            raise refused(f"{service}_host", host, allowed_hosts)


def _listening(settings: Settings) -> list[tuple[str, str]]:
    """Where this worker listens, by the prefix of the setting."""
    hosts = {"ingestion": settings.ingestion_host, "query": settings.query_host}
    return [(name, hosts[name]) for name in hosts if name in settings.runs] or [("health", settings.health_host)]


def _check_services(settings: Settings) -> None:
    unknown = {name.strip() for name in settings.services.split(",")} - set(SERVICE_NAMES)
    if unknown:
        raise refused("services", settings.services, allowed("services"))


def _check_mqtt(settings: Settings) -> None:
    if settings.mqtt_url in {"", "off"}:
        return
    try:
        read_mqtt_url(settings.mqtt_url)
    except ValueError as error:
        raise refused("mqtt_url", settings.mqtt_url, allowed("mqtt_url")) from error
    files = ("mqtt_ca_file", settings.mqtt_ca_file), ("mqtt_certificate_file", settings.mqtt_certificate_file)
    for field, path in (*files, ("mqtt_key_file", settings.mqtt_key_file)):
        if path and not is_file(path):
            raise refused(field, path, f"existing {allowed(field)}")


def _check_fault_points(settings: Settings) -> None:
    try:
        read_faults(settings.fault_points)
    except ValueError as error:
        raise refused("fault_points", str(error), allowed("fault_points")) from error


def data_folder(settings: Settings) -> Path:
    """The absolute path of the embedded servers' folder."""
    return Path(settings.data_dir).absolute()
