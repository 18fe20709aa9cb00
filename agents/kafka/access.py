"""How this worker reaches Kafka: addresses, TLS, and login. Every client of Kafka is made from a `KafkaAccess`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from headrace.errors import InvalidSettingError
from headrace.process.secrets import hide_values

OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True)
class KafkaAccess:
    """The brokers of the settings, or the embedded one. `str` and `repr` omit the secrets."""

    bootstrap_servers: str
    """`host:port[,host:port]`"""
    tls: bool = field(default=False, kw_only=True)
    ca_file: str = field(default="", kw_only=True)
    """PEM file of trusted authorities; empty: those of the system."""
    certificate_file: str = field(default="", kw_only=True)
    key_file: str = field(default="", kw_only=True)
    mechanism: str = field(default="", kw_only=True)
    """Of SASL; empty: no login."""
    user: str = field(default="", kw_only=True)
    password: str = field(default="", kw_only=True, repr=False)
    password_file: Path | None = field(default=None, kw_only=True)
    """File with the password, read for each client; the embedded Kafka makes it at its first start."""
    tokens: AbstractTokenProvider | None = field(default=None, kw_only=True, repr=False)
    """For OAUTHBEARER."""

    def __str__(self) -> str:
        return self.bootstrap_servers

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each broker, IPv6 addresses without brackets."""
        parts = [address.rpartition(":") for address in self.bootstrap_servers.split(",")]
        return [(host.strip("[]"), int(port)) for host, _, port in parts]

    def arguments(self) -> dict[str, Any]:
        """Arguments for any client of aiokafka. Raises KafkaConnectionError if a file cannot be read now."""
        return {"bootstrap_servers": self.bootstrap_servers, **self.login()}

    def login(self) -> dict[str, Any]:
        """The same without the addresses, for `create_conn`."""
        found: dict[str, Any] = {"security_protocol": self._protocol}
        if self.tls:
            found["ssl_context"] = self._tls_context()
        if self.mechanism == OAUTHBEARER:
            found |= {"sasl_mechanism": self.mechanism, "sasl_oauth_token_provider": self.tokens}
        elif self.mechanism:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self._password(),
            }
        return found

    def credentials(self) -> CredentialsT | None:
        """The same for Faust, which makes its client itself."""
        context = self._tls_context() if self.tls else None
        if self.mechanism == OAUTHBEARER:
            assert self.tokens is not None
            return OAuthCredentials(oauth_cb=self.tokens, ssl_context=context)
        if self.mechanism:
            return SASLCredentials(
                username=self.user, password=self._password(), ssl_context=context, mechanism=self.mechanism
            )
        return SSLCredentials(context) if context else None

    def check_files(self) -> None:
        """Raises InvalidSettingError if a file of TLS cannot be used."""
        if self.tls:
            self._checked_context()

    @property
    def _protocol(self) -> str:
        transport = "SSL" if self.tls else "PLAINTEXT"
        return f"SASL_{transport}" if self.mechanism else transport

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return self._checked_context()
        except InvalidSettingError as error:
            raise KafkaConnectionError(str(error)) from error

    def _checked_context(self) -> ssl.SSLContext:
        files = self.ca_file, self.certificate_file, self.key_file
        try:
            # Made again for renewed files: a client that is made then uses them.
            changed = tuple(Path(path).stat().st_mtime_ns for path in files if path)
        except OSError as error:
            raise InvalidSettingError(f"{error.filename}: cannot be used ({error.strerror})") from error
        return _tls_context_of(*files, changed)

    def _password(self) -> str:
        if self.password_file is None:
            return self.password
        try:
            password = self.password_file.read_text().strip()
        except OSError as error:
            raise KafkaConnectionError(f"{self.password_file}: {error.strerror}") from error
        hide_values([password])
        return password


def tls_context(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """The context for TLS to Kafka. Raises InvalidSettingError when a file cannot be used."""
    ca = f"KAFKA_CA_FILE={ca_file}" if ca_file else "the certificate authorities of the system"
    client = f"KAFKA_CERTIFICATE_FILE={certificate_file}" + (f", KAFKA_KEY_FILE={key_file}" if key_file else "")
    subject = ca
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate_file:
            subject = client
            # Without the argument, OpenSSL would prompt for the password of an encrypted key.
            context.load_cert_chain(certificate_file, key_file or None, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InvalidSettingError(
            f"{subject}: cannot be used ({reason}); allowed: PEM files, keys without a password"
        ) from error
    return context


@lru_cache(maxsize=4)
def _tls_context_of(ca_file: str, certificate_file: str, key_file: str, _changed: tuple[int, ...]) -> ssl.SSLContext:
    return tls_context(ca_file, certificate_file, key_file)
