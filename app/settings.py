"""Every setting, typed, with its unit in the name, read once from a mapping (the environment over `.env`)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from headrace.errors import InvalidSettingError
from headrace.process.fault_points import POINTS, SYNTAX, Fault, read_faults
from headrace.process.mqtt_address import MqttAddress, read_mqtt_url
from headrace.process.server_urls import is_broker_url, is_database_url

ServiceName = Literal["ingestion", "event_handler", "query"]
SERVICE_NAMES: tuple[ServiceName, ...] = get_args(ServiceName)

Port = Annotated[int, Meta(ge=1, le=65_535, description="a port, 1 to 65535")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000, description="a whole number, 1 or more")]
Seconds = Annotated[float, Meta(ge=0.001, le=31_536_000, description="a number of seconds, more than 0")]
Bytes = Annotated[int, Meta(ge=1_000, le=1_000_000_000, description="a number of bytes, 1000 or more")]

StallSeconds = Annotated[float, Meta(ge=1, le=31_536_000, description="a number of seconds, 1 or more")]
LargeBytes = Annotated[int, Meta(ge=1_000, le=10**15, description="a number of bytes, 1000 or more")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be set. The variable is the name in upper case; docs/settings.md is made from this class."""

    database_url: Annotated[str, Meta(description="postgresql://…; empty: embedded PostgreSQL")] = ""
    broker_url: Annotated[str, Meta(description="kafka://host:port[,host:port]; empty: embedded Apache Kafka")] = ""
    mqtt_url: Annotated[
        str,
        Meta(
            description="mqtt://user:password@host:port, mqtts://… for TLS, or off; empty: an embedded MQTT broker on "
            "127.0.0.1, port EMBEDDED_MQTT_PORT"
        ),
    ] = ""
    mqtt_protocol: Annotated[Literal["5", "3.1.1"], Meta(description="5 or 3.1.1")] = "5"
    mqtt_shared: Annotated[
        Literal["on", "off", ""],
        Meta(
            description="on: each message goes to one of the workers; off: each worker gets every message, and what "
            "another was faster with is a duplicate; empty: on, but off with the embedded broker"
        ),
    ] = ""
    mqtt_client_id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{0,64}$",
            description="letters, digits, . _ - (at most 64): the worker's session at the broker, for it alone and the "
            "same after a restart; empty: made of the host's name and INGESTION_PORT",
        ),
    ] = ""
    mqtt_max_in_flight: Annotated[
        int, Meta(ge=1, le=65_535, description="1 to 65535 messages that are not acknowledged")
    ] = 1_000
    mqtt_ca_file: Annotated[str, Meta(description="PEM; empty: the authorities that the system believes")] = ""
    mqtt_certificate_file: Annotated[str, Meta(description="PEM, where the broker asks for a certificate")] = ""
    mqtt_key_file: Annotated[str, Meta(description="PEM; empty: in MQTT_CERTIFICATE_FILE")] = ""
    services: Annotated[str, Meta(description="some of ingestion, event_handler, query, with commas")] = ",".join(
        SERVICE_NAMES
    )
    ingestion_host: Text = "127.0.0.1"
    ingestion_port: Port = 8080
    query_host: Text = "127.0.0.1"
    query_port: Port = 8081
    auth: Annotated[Literal["off", ""], Meta(description="off")] = ""
    data_dir: Annotated[str, Meta(min_length=1, description="the folder of the embedded servers")] = ".headrace"
    embedded_kafka_port: Port = 9092
    embedded_mqtt_port: Port = 1883
    topic: Annotated[
        str, Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$", description="a topic: letters, digits, . _ -")
    ] = "events"
    topic_partitions: Annotated[int, Meta(ge=1, le=1_000, description="1 to 1000; counts when we create the topic")] = 8
    consumer_group: Text = "headrace"
    consumer_instance_id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]{0,249}$",
            description="a name of letters, digits, . _ - that no other event handler has: started again under it, "
            "this one goes on at once instead of after 8 seconds",
        ),
    ] = ""
    unknown_types: Annotated[Literal["store", "reject"], Meta(description="store or reject")] = "store"
    max_connections: Count = 1_000
    max_event_bytes: Bytes = 1_000_000
    max_body_bytes: Bytes = 8 * 1024 * 1024
    max_batch_events: Count = 5_000
    max_json_depth: Annotated[int, Meta(ge=2, le=500, description="2 to 500")] = 64
    max_queued_events: Count = 20_000
    max_queued_bytes: Bytes = 64_000_000
    max_bodies_bytes: Bytes = 128 * 1024 * 1024
    outbox_max_events: Count = 10_000_000
    outbox_max_bytes: LargeBytes = 10_000_000_000
    relay_batch_events: Annotated[int, Meta(ge=1, le=10_000, description="1 to 10000")] = 1_000
    relay_watchdog_seconds: Seconds = 2.0
    database_pool_size: Annotated[int, Meta(ge=2, le=500, description="2 to 500")] = 8
    database_timeout_seconds: Seconds = 5.0
    stall_seconds: StallSeconds = 60.0
    drain_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="0 to 60 seconds: so long after SIGTERM a worker still answers everything, and /readyz says "
            "503, so that what is in front sends no more",
        ),
    ] = 1.0
    shutdown_seconds: Seconds = 8.0
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Meta(description="DEBUG, INFO, WARNING or ERROR")
    ] = "INFO"
    log_format: Annotated[Literal["text", "json"], Meta(description="text or json")] = "text"
    fault_points: Annotated[
        str,
        Meta(
            description=f"for tests only: {SYNTAX}; the points are {', '.join(POINTS)}",
        ),
    ] = ""

    @property
    def faults(self) -> list[Fault]:
        """What the fault points of this worker do; as a rule nothing."""
        return read_faults(self.fault_points)

    @property
    def runs(self) -> frozenset[ServiceName]:
        """The services that this worker runs."""
        chosen = {name.strip() for name in self.services.split(",")}
        return frozenset(name for name in SERVICE_NAMES if name in chosen)

    @property
    def bootstrap_servers(self) -> str:
        """The brokers as `host:port,host:port`."""
        return self.broker_url.replace("kafka://", "")


def mqtt_address(settings: Settings, *, host_name: str) -> MqttAddress:
    """Where the broker is: the one that is set, or the embedded one."""
    # The embedded amqtt keeps nothing for a client that gives no name.
    url = settings.mqtt_url or f"mqtt://headrace@127.0.0.1:{settings.embedded_mqtt_port}"
    host, port, user, password, tls = read_mqtt_url(url)
    own_name = re.sub(r"[^A-Za-z0-9._-]", "-", f"headrace-{host_name}-{settings.ingestion_port}")
    return MqttAddress(
        host=host,
        port=port,
        client_id=settings.mqtt_client_id or own_name,
        user=user,
        password=password,
        tls=tls,
        ca_file=settings.mqtt_ca_file,
        certificate_file=settings.mqtt_certificate_file,
        key_file=settings.mqtt_key_file,
        version_5=settings.mqtt_protocol == "5",
        shared=(settings.mqtt_shared or ("on" if settings.mqtt_url else "off")) == "on",
    )


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from `environment`.

    An empty variable counts as not set. Raises InvalidSettingError, which names the variable, its value and what is
    allowed.
    """
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
    return settings


def refused(field: str, value: str, allowed: str) -> InvalidSettingError:
    """The error for a value that is not allowed; passwords in URLs are masked."""
    shown = value
    if "@" in value and "://" in value:
        scheme, rest = value.split("://", 1)
        shown = f"{scheme}://…@{rest.rsplit('@', 1)[1]}"
    return InvalidSettingError(f"{field.upper()}={shown}: not allowed; allowed: {allowed}")


def allowed(field: str) -> str:
    """What a setting may be, in words."""
    hints = msgspec.inspect.type_info(Settings)
    assert isinstance(hints, msgspec.inspect.StructType)
    described = next(one.type for one in hints.fields if one.name == field)
    assert isinstance(described, msgspec.inspect.Metadata)
    return str((described.extra_json_schema or {})["description"])


def _check_together(settings: Settings) -> None:
    _check_services(settings)
    _check_urls(settings)
    _check_mqtt(settings)
    _check_fault_points(settings)
    if settings.ingestion_port == settings.query_port and settings.ingestion_host == settings.query_host:
        raise refused("query_port", str(settings.query_port), "a port other than INGESTION_PORT")
    for service, host in (("ingestion", settings.ingestion_host), ("query", settings.query_host)):
        if service in settings.runs and settings.auth != "off" and not _is_loopback(host):
            raise refused(
                f"{service}_host", host, "a loopback address, or set AUTH=off to listen there without authentication"
            )


def _check_services(settings: Settings) -> None:
    unknown = {name.strip() for name in settings.services.split(",")} - set(SERVICE_NAMES)
    if unknown:
        raise refused("services", settings.services, allowed("services"))


def _check_urls(settings: Settings) -> None:
    if settings.database_url and not is_database_url(settings.database_url):
        raise refused("database_url", settings.database_url, allowed("database_url"))
    if settings.broker_url and not is_broker_url(settings.broker_url):
        raise refused("broker_url", settings.broker_url, allowed("broker_url"))


def _check_mqtt(settings: Settings) -> None:
    if settings.mqtt_url in {"", "off"}:
        return
    try:
        read_mqtt_url(settings.mqtt_url)
    except ValueError as error:
        raise refused("mqtt_url", settings.mqtt_url, allowed("mqtt_url")) from error
    files = ("mqtt_ca_file", settings.mqtt_ca_file), ("mqtt_certificate_file", settings.mqtt_certificate_file)
    for field, path in (*files, ("mqtt_key_file", settings.mqtt_key_file)):
        if path and not Path(path).is_file():
            raise refused(field, path, f"a file that is there, {allowed(field)}")


def _check_fault_points(settings: Settings) -> None:
    try:
        read_faults(settings.fault_points)
    except ValueError as error:
        raise refused("fault_points", str(error), allowed("fault_points")) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def data_folder(settings: Settings) -> Path:
    """The folder of the embedded servers, absolute."""
    return Path(settings.data_dir).absolute()
