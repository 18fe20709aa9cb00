"""mosquitto with the configuration that is shipped, paths and ports replaced."""

from __future__ import annotations

import subprocess
from pathlib import Path

from headrace.process.mqtt_address import MqttAddress

from tests.support.clients.device_client import DeviceClient
from tests.support.servers.certificates import Authority
from tests.support.servers.fresh import free_port
from tests.support.servers.mosquitto import Mosquitto, mosquitto_program

DEPLOY = Path(__file__).parents[3] / "deploy" / "mosquitto"
USERS = ("headrace", "gateway", "d1", "d2", "+", "#", "d1/x")
# For tests: publishes for every device.
GATEWAY = "\nuser gateway\ntopic write #\n"
ASK_FOR_CERTIFICATES = ("#cafile ", "#require_certificate ")


class ShippedMosquitto:
    """The broker, the port of its TLS listener, and the authority of its certificate."""

    def __init__(self, folder: Path, *, asks_for_certificates: bool = False) -> None:
        mosquitto_program()
        self.tls_port = free_port()
        self.authority = Authority(folder, "clients")
        _make_secrets(folder, self.authority)
        text = (DEPLOY / "mosquitto.conf").read_text()
        for ours, theirs in (
            ("listener 8883", f"listener {self.tls_port} 127.0.0.1"),
            ("listener 1883", "listener {port} 127.0.0.1"),
            ("/mosquitto/secrets", str(folder)),
            ("/mosquitto/config/acl", str(folder / "acl")),
            ("/mosquitto/data", "{folder}"),
            *((line, line.removeprefix("#")) for line in ASK_FOR_CERTIFICATES if asks_for_certificates),
        ):
            assert ours in text
            text = text.replace(ours, theirs)
        self.broker = Mosquitto(folder, text)

    def settings(self) -> dict[str, str]:
        """A worker's, to come over TLS."""
        return {
            "MQTT_URL": f"mqtts://headrace:secret%20of%20headrace@localhost:{self.tls_port}",
            "MQTT_CA_FILE": str(self.authority.own.certificate),
        }

    def worker(self) -> MqttAddress:
        """The same."""
        return MqttAddress(
            host="localhost",
            port=self.tls_port,
            client_id="w1",
            user="headrace",
            password="secret of headrace",  # noqa: S106 - made for the test
            tls=True,
            ca_file=str(self.authority.own.certificate),
            shared=False,
        )

    def device(
        self, user: str, name: str | None = None, *, outside: bool = True, client_id: str | None = None
    ) -> DeviceClient:
        """A device with the password of `user`, which is its name unless another is given.

        It connects from outside, over TLS, or to the port that is for workers.
        """
        url = f"mqtt://localhost:{self.tls_port}" if outside else self.broker.url
        device = DeviceClient(url, name or user, client_id=client_id)
        if outside:
            device.paho.tls_set(str(self.authority.own.certificate))
        device.paho.username_pw_set(user, f"secret of {user}")
        return device


def _make_secrets(folder: Path, authority: Authority) -> None:
    (folder / "acl").write_text((DEPLOY / "acl").read_text() + GATEWAY)
    (folder / "passwords").touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", str(folder / "passwords"), user, f"secret of {user}"], check=True)
    server = authority.issue("server", host="localhost")
    assert server.certificate == folder / "server.crt"
