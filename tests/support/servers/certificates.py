"""Certificates of authorities that are made for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
DAYS = ("-days", "2")


class Certificate(NamedTuple):
    """Files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates; `own` is its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.own = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
        self._openssl("req", "-x509", *KEY, *DAYS, "-subj", f"/CN={name}", *_out(self.own))

    def issue(self, name: str, *, host: str = "") -> Certificate:
        """A certificate for `name`; for a server, with its host."""
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host or name}\nauthorityKeyIdentifier=keyid\n")
        self._openssl("req", "-new", *KEY, "-subj", f"/CN={name}", *_out(Certificate(request, made.key)))
        signed_by = ("-CA", self.own.certificate, "-CAkey", self.own.key, "-CAcreateserial")
        output = ("-extfile", extensions, "-out", made.certificate)
        self._openssl("x509", "-req", "-in", request, *signed_by, *DAYS, *output)
        return made

    def locked(self, key: Path) -> Path:
        """The same key with a password."""
        made = key.with_suffix(".locked")
        self._openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", made)
        return made

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


def _out(files: Certificate) -> tuple[str | Path, ...]:
    return "-out", files.certificate, "-keyout", files.key
