"""The commands in docs/tls.md make certificates that a port and its clients can use."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

from web.server.tls_files import TlsFiles

from tests.integration.test_tls_port import serving

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"


async def test_the_certificates_for_a_trial_work(tmp_path: Path) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True, capture_output=True)  # noqa: ASYNC221
    files = TlsFiles("INGESTION", tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    async with serving(files) as place:
        assert await place.whoami(context) == "https uri:spiffe://trial/device-1"
