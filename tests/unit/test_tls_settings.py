"""Settings and files of TLS: what cannot work is named with its variable, its file, the reason and what is allowed."""

from __future__ import annotations

import logging
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.services.client_limits import tls_files
from app.setting_groups.tls import PORTS
from app.settings import read_settings
from app.worker.banner import banner
from headrace.errors import InvalidSettingError
from web.server.certificates import Certificates
from web.server.tls_files import TlsFileError, TlsFiles, load

from tests.support.servers.trusted import Trusted


@pytest.fixture
def trusted(tmp_path: Path) -> Trusted:
    return Trusted(tmp_path)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("name", ["KEY", "CLIENT_CA"])
def test_a_key_or_authorities_without_a_certificate_are_refused(port: str, name: str) -> None:
    variable = f"{port.upper()}_TLS_{name}"
    with pytest.raises(InvalidSettingError) as refused:
        read_settings({variable: "/etc/x.pem"})
    allowed = f"only with {port.upper()}_TLS_CERTIFICATE"
    assert str(refused.value) == f"{variable}=/etc/x.pem: not allowed; allowed: {allowed}"


def test_each_port_has_files_of_its_own(tmp_path: Path) -> None:
    for port in PORTS:
        prefix = f"{port.upper()}_TLS"
        settings = read_settings({f"{prefix}_CERTIFICATE": "/c", f"{prefix}_KEY": "/k", f"{prefix}_CLIENT_CA": "/a"})
        assert tls_files(settings, port) == TlsFiles(port.upper(), Path("/c"), Path("/k"), Path("/a"))
        assert [tls_files(settings, other) for other in PORTS if other != port] == [None, None]
        assert [settings.scheme(one) for one in PORTS] == ["https" if one == port else "http" for one in PORTS]


def test_the_banner_shows_https_where_it_is_on() -> None:
    text = banner(read_settings({"INGESTION_TLS_CERTIFICATE": "/c"}))
    assert "curl -s https://127.0.0.1:8080/api/v1/events" in text
    assert "query          http://127.0.0.1:8081" in text


def test_a_key_may_be_in_the_file_of_the_certificate(trusted: Trusted, tmp_path: Path) -> None:
    certificate, key = trusted.issue("server")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    load(TlsFiles("QUERY", both))
    with pytest.raises(TlsFileError, match=r"^QUERY_TLS_CERTIFICATE=.*server\.crt: no private key in PEM; allowed: "):
        load(TlsFiles("QUERY", certificate))


@pytest.mark.parametrize(
    ("setting", "file", "reason"),
    [
        ("CERTIFICATE", "missing", "cannot be read (No such file or directory)"),
        ("CERTIFICATE", "folder", "not a file"),
        ("CERTIFICATE", "text", "no certificate in PEM"),
        ("KEY", "missing", "cannot be read (No such file or directory)"),
        ("KEY", "text", "no private key in PEM"),
        ("KEY", "locked", "it has a password"),
        ("KEY", "other.key", "not the key of the first certificate in {folder}/server.crt"),
        ("CLIENT_CA", "missing", "cannot be read (No such file or directory)"),
        ("CLIENT_CA", "text", "no certificate in PEM"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    trusted: Trusted, tmp_path: Path, setting: str, file: str, reason: str
) -> None:
    certificate, key = trusted.issue("server")
    trusted.issue("other")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no PEM")
    command: list[str | Path] = [
        "openssl",
        "pkey",
        "-in",
        key,
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        tmp_path / "locked",
    ]
    subprocess.run(command, check=True)
    paths = {"certificate": certificate, "key": key, "client_ca": trusted.file, setting.lower(): tmp_path / file}
    with pytest.raises(TlsFileError) as refused:
        load(TlsFiles("INGESTION", **paths))
    begin = f"INGESTION_TLS_{setting}={tmp_path}/{file}: {reason.format(folder=tmp_path)}; allowed: a PEM file with "
    assert str(refused.value).startswith(begin)


def test_a_key_that_is_too_short_is_a_fault_of_the_certificate(tmp_path: Path) -> None:
    files = TlsFiles("INGESTION", tmp_path / "c", tmp_path / "k")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*command, "-keyout", tmp_path / "k", "-out", files.certificate], check=True, capture_output=True)
    with pytest.raises(TlsFileError, match=r"^INGESTION_TLS_CERTIFICATE=.*: not accepted \(ee key too small\)"):
        load(files)


@pytest.mark.parametrize(
    ("days", "expected"), [(-1, "it expired at"), (3, "it expires at"), (30, None)], ids=["expired", "soon", "later"]
)
def test_a_certificate_that_has_expired_or_soon_will_is_warned_of(
    trusted: Trusted, caplog: pytest.LogCaptureFixture, days: int, expected: str | None
) -> None:
    files = trusted.files("server", ends=datetime.now(UTC) + timedelta(days=days))
    Certificates(files, lambda _: None).start()
    if expected is None:
        assert not caplog.records
    else:
        assert expected in caplog.text
        assert f"INGESTION_TLS_CERTIFICATE={files.certificate}" in caplog.text


def test_a_key_that_every_user_can_read_is_warned_of(trusted: Trusted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    files = trusted.files("server")
    assert files.key is not None
    for mode, is_open in [(0o600, False), (0o640, False), (0o644, True)]:
        caplog.clear()
        files.key.chmod(mode)
        Certificates(files, lambda _: None).start()
        assert ("every user of this machine can read the private key" in caplog.text) is is_open
