"""The certificate, the key and the authorities of a port, read from their files. Everything wrong has a line."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, NoReturn

from cryptography import x509

from headrace.errors import StartError

CERTIFICATE = "a PEM file with the certificate of this server first, then those between it and its authority"
KEY = "a PEM file with the private key of the certificate, without a password"
AUTHORITIES = "a PEM file with the certificates of the authorities of clients"
PROTOCOLS = ["http/1.1"]


class TlsFileError(StartError):
    """A file for TLS cannot be used."""


class TlsFiles(NamedTuple):
    """The files of a port."""

    service: str
    """The prefix of their settings."""
    certificate: Path
    key: Path | None = None
    """None: it is in the file of the certificate."""
    client_ca: Path | None = None
    """None: clients need no certificate."""

    @property
    def key_setting(self) -> str:
        """The setting that names the file with the key."""
        return f"{self.service}_TLS_{'CERTIFICATE' if self.key is None else 'KEY'}"

    def stamps(self) -> tuple[object, ...]:
        """What changes when a file is written or replaced. Raises OSError for a file that is not there."""
        found = [path.stat() for path in (self.certificate, self.key, self.client_ca) if path is not None]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


class Loaded(NamedTuple):
    """What the files have."""

    context: ssl.SSLContext
    begins: datetime
    ends: datetime
    """The certificate is valid between these."""
    is_key_open: bool
    """Whether every user of the machine can read the key."""


def load(files: TlsFiles) -> Loaded:
    """Read the files. Raises TlsFileError, which names the setting, the file, what is wrong and what is allowed."""
    certificate = _certificates(f"{files.service}_TLS_CERTIFICATE", files.certificate, CERTIFICATE)[0]
    key = files.key or files.certificate
    _read(files.key_setting, key, KEY)
    context = _context()
    _load_key(context, files)
    if files.client_ca is not None:
        setting = f"{files.service}_TLS_CLIENT_CA"
        _certificates(setting, files.client_ca, AUTHORITIES)
        _try(setting, files.client_ca, AUTHORITIES, lambda: context.load_verify_locations(cafile=files.client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session would not be checked against authorities and dates again.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    is_open = bool(key.stat().st_mode & stat.S_IROTH)
    try:
        return Loaded(context, certificate.not_valid_before_utc, certificate.not_valid_after_utc, is_open)
    except ValueError as error:
        reason = f"its dates cannot be read ({error})"
        raise _refused(f"{files.service}_TLS_CERTIFICATE", files.certificate, reason, CERTIFICATE) from None


def problem_of_dates(loaded: Loaded, now: datetime | None = None) -> str:
    """Why clients do not accept the certificate now; usually empty."""
    now = now or datetime.now(UTC)
    if now > loaded.ends:
        return f"it expired at {loaded.ends:%Y-%m-%d %H:%M} UTC"
    return f"it is not valid before {loaded.begins:%Y-%m-%d %H:%M} UTC" if now < loaded.begins else ""


def _context() -> ssl.SSLContext:
    # Not create_default_context: it writes the secrets of all connections to a file that the environment names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(PROTOCOLS)
    return context


def _load_key(context: ssl.SSLContext, files: TlsFiles) -> None:
    key = files.key or files.certificate

    def is_locked() -> NoReturn:
        raise _refused(files.key_setting, key, "it has a password", KEY)  # else OpenSSL asks the terminal

    try:
        context.load_cert_chain(files.certificate, files.key, password=is_locked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            reason = f"not the key of the first certificate in {files.certificate}"
        elif error.library == "SSL" and error.reason:  # too weak, for example
            reason = f"not accepted ({error.reason.lower().replace('_', ' ')})"
            raise _refused(f"{files.service}_TLS_CERTIFICATE", files.certificate, reason, CERTIFICATE) from None
        else:
            reason = "no private key in PEM"
        raise _refused(files.key_setting, key, reason, KEY) from None
    except OSError as error:
        raise _refused(files.key_setting, key, error.strerror or str(error), KEY) from None


def _certificates(setting: str, path: Path, allowed: str) -> list[x509.Certificate]:
    content = _read(setting, path, allowed)
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        found = []
    if not found:
        raise _refused(setting, path, "no certificate in PEM", allowed)
    return found


def _read(setting: str, path: Path, allowed: str) -> bytes:
    if not path.is_file() and path.exists():
        raise _refused(setting, path, "not a file", allowed)
    content: list[bytes] = []
    _try(setting, path, allowed, lambda: content.append(path.read_bytes()))
    return content[0]


def _try(setting: str, path: Path, allowed: str, read: Callable[[], object]) -> None:
    try:
        read()
    except OSError as error:  # of TLS, too
        raise _refused(setting, path, f"cannot be read ({error.strerror or error})", allowed) from None


def _refused(setting: str, path: Path, reason: str, allowed: str) -> TlsFileError:
    return TlsFileError(f"{setting}={path}: {reason}; allowed: {allowed}")
