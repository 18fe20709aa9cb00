"""Where the MQTT broker is, and as whom we come to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import msgspec

from headrace.errors import InvalidSettingError

PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One broker; its text has no password."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str = ""
    """The authorities that are believed; those of the system if it is empty."""
    certificate_file: str = ""
    """Our own certificate, where the broker asks for one; its key is in `key_file`, or in the same file."""
    key_file: str = ""
    version_5: bool = True
    """MQTT 5, else 3.1.1."""
    shared: bool = True
    """Whether the workers share the messages, or each gets all."""

    @property
    def broker(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"the MQTT broker at {self.broker}"

    def __repr__(self) -> str:
        return f"<MqttAddress {self.host}:{self.port}>"

    def tls_context(self) -> ssl.SSLContext:
        """Raises InvalidSettingError when a file cannot be used. It reads files: not for the event loop."""
        with _usable(MQTT_CA_FILE=self.ca_file):
            context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            with _usable(MQTT_CERTIFICATE_FILE=self.certificate_file, MQTT_KEY_FILE=self.key_file):
                # Without a password OpenSSL would ask the terminal for that of an encrypted key.
                context.load_cert_chain(self.certificate_file, self.key_file or None, password="")
        return context


@contextmanager
def _usable(**files: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        named = ", ".join(f"{setting}={path}" for setting, path in files.items() if path)
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InvalidSettingError(
            f"{named}: cannot be used ({reason}); allowed: files in PEM, keys without a password"
        ) from error


def read_mqtt_url(url: str) -> tuple[str, int, str | None, str | None, bool]:
    """Host, port, user, password and whether it is TLS, of `mqtt://` or `mqtts://user:password@host:port`.

    Raises ValueError if it is not such a URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("not the address of an MQTT broker")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return parts.hostname, parts.port or PORTS[parts.scheme], user, password, parts.scheme == "mqtts"
