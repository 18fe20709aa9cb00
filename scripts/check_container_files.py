"""Lints Dockerfile and docker-compose.yml (make check)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def main() -> int:
    """Run each linter. Returns the exit code: 0 if none of them has a finding."""
    commands = [
        [str(BIN / "hadolint"), "Dockerfile"],
        [str(BIN / "yamllint"), "--strict", "-c", ".yamllint.yml", "docker-compose.yml"],
        [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
    ]
    return max(subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main())
