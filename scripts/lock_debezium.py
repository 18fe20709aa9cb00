"""Writes benchmarks/debezium.toml anew: the archive of one version of Debezium Server, with its SHA-256.

python -m scripts.lock_debezium [VERSION]    (by default the version that the file has now)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from app.embedded.kafka.jar import sha256_of

from benchmarks.debezium_files import LOCK_FILE, fetch, read_lock

TEXT = """\
# The distribution of Debezium Server. Made by scripts/lock_debezium.py.
group = "{group}"
artifact = "{artifact}"
version = "{version}"
bytes = {bytes}
sha256 = "{sha256}"
"""


def main() -> None:
    """Download and hash."""
    known = read_lock(LOCK_FILE.read_text())
    wanted = replace(known, version=sys.argv[1] if len(sys.argv) > 1 else known.version, sha256="")
    with tempfile.TemporaryDirectory() as scratch:
        path = fetch(wanted, Path(scratch))
        found = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    LOCK_FILE.write_text(TEXT.format(group=wanted.group, artifact=wanted.artifact, version=wanted.version, **found))


if __name__ == "__main__":
    main()
