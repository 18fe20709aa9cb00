"""Secrets of settings: read from files, and in no text that anyone sees."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.secret_files import DATABASE_URLS, SECRETS, URLS, hide_secrets
from app.settings import Settings, read_settings
from app.worker.broker_address import mqtt_address
from app.worker.log_formats import JsonFormatter, TextFormatter, last_line, print_uncaught
from headrace.errors import InvalidSettingError
from headrace.process import secrets
from headrace.process.secrets import redacted, without_secrets

DATABASE = "postgresql://worker:s3cret%2F1@db:5432/x"

QUOTED = [
    ("postgresql://u:s3cret@db:5432/x", "postgresql://…@db:5432/x"),
    ("postgresql://u:s3cret@one:1,two:2/x?sslmode=yes", "postgresql://…@one:1,two:2/x?sslmode=yes"),
    ("mysql://u:s3cret@db/x", "mysql://…@db/x"),
    ("postgresql://db/x?password=s3cret&sslmode=yes", "postgresql://db/x?password=…&sslmode=yes"),
    ("postgresql://db/x?sslmode=yes&sslpassword=s3cret", "postgresql://db/x?sslmode=yes&sslpassword=…"),
    ("postgresql://db/x?pass%77ord=s3cret&port=y", "postgresql://db/x?pass%77ord=…&port=y"),
    ("postgresql://db/x?s3cret", "postgresql://db/x?…"),
    ("postgresql://db/x?password=s3@cret&port=y", "postgresql://…"),
    ("postgresql://u:p@db/x?password=s3@cret&port=y", "postgresql://…"),
    ("postgresql://u:s3/cret@db:x/x", "postgresql://…@db:…/x"),
    ("postgresql://u:s3#cret@db/x?sslmode=no", "postgresql://…@db/x?sslmode=no"),
    ("postgresql://u:s3?cret@db/x", "postgresql://…"),
    ("postgresql://u:s3cret/x", "postgresql://u:…/x"),
    ("postgresql://u:12s3cret/x", "postgresql://u:…/x"),
    ("postgresql://db/x#s3cret", "postgresql://db/…"),
    ("worker:s3cret@db:5432/x", "…"),
    ("host=db password=s3cret", "…"),
    ("s3cret", "…"),
    ("kafka://one.example:9092,two:99999", "kafka://one.example:9092,two:99999"),
    ("one.example:9092,two.example:9093", "one.example:9092,two.example:9093"),
]


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {})


@pytest.mark.parametrize(("url", "shown"), QUOTED)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


@given(st.text(max_size=12), st.sampled_from(["postgresql", "mqtt", "kafka"]), st.text("@/?#:&=,;[]% x", max_size=12))
def test_a_login_is_never_shown(before: str, scheme: str, after: str) -> None:
    assert "s3cret" not in redacted(f"{scheme}://u:{before}s3cret@host{after}")
    assert "s3cret" not in redacted(f"{scheme}://host/x?password={before.replace('&', '')}s3cret{after}")


@pytest.mark.parametrize("variable", URLS)
@pytest.mark.parametrize(
    "url", [url for url, _ in QUOTED if "cret" in url and not url.startswith("postgresql://db/x#")]
)
def test_a_refusal_has_no_secret(variable: str, url: str) -> None:
    try:
        shown = repr(read_settings({"DATABASE_URL": "postgresql://db/x", variable: url})).replace("client_secret", "")
    except InvalidSettingError as error:
        shown = str(error)
    assert "cret" not in shown
    assert f"{variable}=" in shown.upper()


@pytest.mark.parametrize("url", ["kafka://u:s3cret@one:9092", "kafka://one:9092,u:s3cret@two:9092", "kafka://u@one:1"])
def test_a_login_for_kafka_is_refused_with_what_is_supported(url: str) -> None:
    with pytest.raises(
        InvalidSettingError, match=r"^BROKER_URL=kafka://….*without user and password.*KAFKA_SASL_"
    ) as refused:
        read_settings({"BROKER_URL": url})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["kafka://one:9092/?x=1:9", "kafka://u s:9092", "kafka://one#:9092"])
def test_an_address_of_kafka_has_hosts_and_ports_only(url: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"^BROKER_URL=kafka://.*: not allowed"):
        read_settings({"BROKER_URL": url})


def test_every_address_of_postgresql_is_a_secret() -> None:
    assert {name.lower() for name in DATABASE_URLS} == {
        name for name in Settings.__struct_fields__ if name.startswith("database_url")
    }


def test_no_repr_has_a_secret() -> None:
    settings = Settings(database_url=DATABASE, mqtt_url="mqtt://bridge:s3cret@mq")
    address = mqtt_address(settings, host_name="h")
    for shown in (repr(settings), str(settings), repr(settings.__rich_repr__()), repr(address.__rich_repr__())):
        assert "s3cret" not in shown
    assert "postgresql://…@db:5432/x" in repr(settings)
    assert "mqtt_url='off'" in repr(Settings(mqtt_url="off"))


@pytest.fixture
def hidden() -> None:
    hide_secrets({"DATABASE_URL": DATABASE, "MQTT_URL": "mqtts://bridge:t0ps@mq", "BROKER_URL": "kafka://one:9092"})


@pytest.mark.usefixtures("hidden")
def test_no_line_of_the_log_has_a_secret() -> None:
    text = f"invalid DSN: {DATABASE!r}, s3cret/1, s3cret%2F1, t0ps, kafka://one:9092"
    shown = "invalid DSN: 'postgresql://…@db:5432/x', …, …, …, kafka://one:9092"
    record = logging.LogRecord("asyncpg", logging.WARNING, "", 0, "%s", (text,), None)
    record.fields = {"error": text, "seconds": 1.5}
    error = raised(text)
    record.exc_info = (type(error), error, error.__traceback__)
    line = TextFormatter().format(record)
    assert shown in line
    members = json.loads(JsonFormatter().format(record))
    assert (members["message"], members["error"], members["seconds"]) == (shown, shown, 1.5)
    assert shown in members["traceback"]
    for printed in (line, json.dumps(members), last_line("text", text, text), last_line("json", text, text)):
        assert "s3cret" not in printed
        assert "t0ps" not in printed


def raised(text: str) -> ValueError:
    try:
        raise_it(text)
    except ValueError as error:
        return error
    raise AssertionError


def raise_it(text: str) -> None:
    raise ValueError(text)


@pytest.mark.usefixtures("hidden")
def test_an_uncaught_error_has_no_secret_and_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    error = raised(f"{DATABASE}\x1b[31m\u202e")
    print_uncaught(type(error), error, error.__traceback__)
    written = capsys.readouterr().err
    assert written.splitlines()[-1] == r"ValueError: postgresql://…@db:5432/x\x1b[31m\u202e"
    assert "test_secrets.py" in written


def test_a_password_that_is_also_a_name_is_hidden_only_in_its_url() -> None:
    hide_secrets({"DATABASE_URL": "postgresql://headrace:headrace@db/headrace", "MQTT_URL": "mqtt://a:bc@mq"})
    assert without_secrets("headrace: abc") == "headrace: abc"
    assert without_secrets("no postgresql://headrace:headrace@db/headrace") == "no postgresql://…@db/headrace"
    assert without_secrets("no mqtt://a:bc@mq") == "no mqtt://…@mq"


NEEDED_WITH: dict[str, dict[str, str]] = {
    "KAFKA_SASL_PASSWORD": {
        "BROKER_URL": "kafka+ssl://k:9093",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": "u",
    },
    "KAFKA_TOKEN_CLIENT_SECRET": {
        "BROKER_URL": "kafka+ssl://k:9093",
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_TOKEN_URL": "https://issuer/token",
        "KAFKA_TOKEN_CLIENT_ID": "c",
    },
}
"""What must be set beside a secret."""


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_read_from_a_file_without_its_last_line_break(name: str, tmp_path: Path) -> None:
    url = DATABASE if name.startswith("DATABASE_URL") else "mqtts://bridge:s3cret@mq"
    file = tmp_path / "secret"
    others = {} if name == "DATABASE_URL" else {"DATABASE_URL": "postgresql://db/x"} | NEEDED_WITH.get(name, {})
    for end in ("", "\n", "\r\n"):
        file.write_bytes(f"{url}{end}".encode())
        assert read_settings({**others, f"{name}_FILE": str(file), name: ""}) == read_settings({**others, name: url})


@pytest.mark.parametrize("name", SECRETS)
def test_a_file_of_a_secret_that_cannot_be_used_is_named_without_its_content(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    variable = f"{name}_FILE"
    for content in (b"", b"\n", b"s3cret\xff", b"s3cret" * 20_000, b"s3cret", b"http://u:s3cret@h/x"):
        file.write_bytes(content)
        with pytest.raises(InvalidSettingError, match=rf"^{name}(_FILE={file}: |=)") as refused:
            read_settings({variable: str(file)})
        assert "s3cret" not in str(refused.value)
    for path in (tmp_path, tmp_path / "missing", "nul\0"):
        with pytest.raises(InvalidSettingError, match=rf"^{variable}=.*: cannot be read \(.+\); allowed: a file"):
            read_settings({variable: str(path)})
    file.write_text(DATABASE)
    with pytest.raises(InvalidSettingError, match=rf"^{variable}={file}: .*not both") as refused:
        read_settings({variable: str(file), name: "mqtt://u:s3cret@h"})
    assert "s3cret" not in str(refused.value)
