"""The settings of MQTT: what they mean, and that no password is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import mqtt_bridge as mqtt_service
from app.services.mqtt_bridge import mqtt_bridge
from app.settings import read_settings
from app.worker.broker_address import mqtt_address
from headrace.errors import InvalidSettingError
from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from tables.database import Database
from tables.intake.backlog import Backlog
from tables.intake.group_commit import GroupCommit


def test_nothing_set_means_the_embedded_broker_with_everything_for_each_worker() -> None:
    address = mqtt_address(read_settings({}), host_name="my host")
    assert (address.host, address.port, address.tls, address.shared) == ("127.0.0.1", 1883, False, False)
    assert address.client_id == "headrace-my-host-8080"


def test_a_url_has_credentials_and_tls() -> None:
    given = {"MQTT_URL": "mqtts://bridge:p%40ss@mq.example", "MQTT_CLIENT_ID": "w-1", "MQTT_PROTOCOL": "3.1.1"}
    address = mqtt_address(read_settings(given), host_name="h")
    assert (address.host, address.port, address.user, address.password) == ("mq.example", 8883, "bridge", "p@ss")
    assert (address.tls, address.client_id, address.version_5, address.shared) == (True, "w-1", False, True)


def test_no_text_of_an_address_has_its_password() -> None:
    settings = read_settings({"MQTT_URL": "mqtts://bridge:secret@mq.example"})
    address = mqtt_address(settings, host_name="h")
    assert "secret" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    "url", ["http://mq:1883", "mqtt://", "mqtt://u:secret@mq:99999", "mqtt://u:secret@mq/path", "on", "mqtt://mq:x"]
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"^MQTT_URL=.*: not allowed; allowed: mqtt://") as refused:
        read_settings({"MQTT_URL": url})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("variable", ["MQTT_CA_FILE", "MQTT_CERTIFICATE_FILE", "MQTT_KEY_FILE"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, variable: str) -> None:
    there, missing = tmp_path / "there.pem", tmp_path / "missing.pem"
    there.touch()
    given = {"MQTT_URL": "mqtts://mq.example", variable: str(there)}
    assert getattr(read_settings(given), variable.lower()) == str(there)
    for wrong in (missing, tmp_path, "9" * 5_000):
        with pytest.raises(InvalidSettingError, match=rf"^{variable}={wrong}: not allowed; allowed: existing PEM file"):
            read_settings({**given, variable: str(wrong)})


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("url", ["", "mqtt://mq.example"])
def test_amqtt_is_spoken_to_in_what_it_speaks(url: str, installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_service, "mosquitto", lambda: "/usr/sbin/mosquitto" if installed else None)
    database = Database(pool_size=2, timeout_seconds=1)
    commit = GroupCommit(database, max_queued_events=1, committed=lambda: None)
    settings = read_settings({"MQTT_URL": url, "MQTT_SOURCES": "/fleet/{device}/"})
    (bridge,) = mqtt_bridge(
        settings, database, commit, EventTypes([]), Limits(), backlog=Backlog(max_events=1, max_bytes=1)
    )
    assert bridge._address.version_5 == (installed or url != "")
    assert bridge._sources == settings.device_sources is not None


def test_off_is_off() -> None:
    assert read_settings({"MQTT_URL": "off"}).mqtt_url == "off"


def test_the_share_of_the_workers_cannot_be_guessed_and_does_not_show_their_password() -> None:
    shares = {
        mqtt_address(read_settings({"MQTT_URL": f"mqtt://{login}mq"}), host_name="h").share
        for login in ("u:first@", "u:second@", "other:second@", "u@", "")
    }
    assert len(shares) == 3
    assert "headrace" in shares
    assert not any("first" in share or "second" in share for share in shares)
