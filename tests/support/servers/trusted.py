"""Certificates for ports and clients of a test, from an authority that only the test knows."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from web.server.tls_files import TlsFiles

PAST = datetime.now(UTC) - timedelta(days=1)
HOSTS = ("localhost", "127.0.0.1")


class Trusted:
    """An authority, and files of what it issued, in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self.authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self.authority.cert_pem.write_to_path(self.file)

    def issue(self, file: str, *hosts: str, ends: datetime | None = None, name: str | None = None) -> tuple[Path, Path]:
        """Write a certificate and its key, in place of those in the same files, if any; `name` is its common name."""
        begins = None if ends is None else ends - timedelta(days=60)
        made = self.authority.issue_cert(*(hosts or HOSTS), not_after=ends, not_before=begins, common_name=name)
        certificate, key = self._folder / f"{file}.crt", self._folder / f"{file}.key"
        certificate.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key

    def files(self, file: str, *hosts: str, ends: datetime | None = None, client_ca: Path | None = None) -> TlsFiles:
        """The same, as a port uses them."""
        certificate, key = self.issue(file, *hosts, ends=ends)
        return TlsFiles("INGESTION", certificate, key, client_ca)

    def client(self, shows: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """How a client connects that trusts this authority, and shows this certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shows is not None:
            context.load_cert_chain(*shows)
        return context
