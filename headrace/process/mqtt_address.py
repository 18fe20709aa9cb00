"""The address of the MQTT broker, and the credentials for it."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import msgspec

from headrace.errors import InvalidSettingError

PORTS = {"mqtt": 1883, "mqtts": 8883}
SHARE = "headrace"


class MqttAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A broker and how to connect to it. `str` and `repr` omit the credentials."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str = ""
    """PEM file of trusted authorities; empty: those of the system."""
    certificate_file: str = ""
    """PEM file of the client certificate, for a broker that requires it; the key is in `key_file` or in this file."""
    key_file: str = ""
    version_5: bool = True
    """Whether to speak MQTT 5 instead of 3.1.1."""
    shared: bool = True
    """Whether the workers share the messages; if not, each worker receives every message."""

    @property
    def broker(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def share(self) -> str:
        """The name of the workers' shared subscription, which nobody without their password can guess.

        mosquitto lets every client join a share. It then chooses that client for some messages, and drops them if the
        client may not read them.
        """
        if not self.password:
            return SHARE
        return f"{SHARE}-{hmac.digest(self.password.encode(), SHARE.encode(), hashlib.sha256).hex()[:32]}"

    def __str__(self) -> str:
        return f"the MQTT broker at {self.broker}"

    def __repr__(self) -> str:
        return f"<MqttAddress {self.host}:{self.port}>"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("broker", self.broker)]

    def tls_context(self) -> ssl.SSLContext:
        """The context for TLS. Reads files, so do not call it in the event loop.

        Raises InvalidSettingError when a file cannot be used.
        """
        with _usable(MQTT_CA_FILE=self.ca_file):
            context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            with _usable(MQTT_CERTIFICATE_FILE=self.certificate_file, MQTT_KEY_FILE=self.key_file):
                # Without the argument, OpenSSL would prompt for the password of an encrypted key.
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
            f"{named}: cannot be used ({reason}); allowed: PEM files, keys without a password"
        ) from error


def read_mqtt_url(url: str) -> tuple[str, int, str | None, str | None, bool]:
    """Parse `mqtt://` or `mqtts://user:password@host:port` into (host, port, user, password, whether to use TLS).

    Raises ValueError if it is not such a URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("not the address of an MQTT broker")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return parts.hostname, parts.port or PORTS[parts.scheme], user, password, parts.scheme == "mqtts"
