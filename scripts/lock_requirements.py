"""Resolves the files of requirements/, with hashes, from pyproject.toml (make lock)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS: dict[str, list[str]] = {"service": [], "run": ["embedded"], "dev": ["embedded", "dev"]}


def main() -> None:
    """Write them; `make lock ARGS=--upgrade` takes newer versions."""
    for name, extras in EXTRAS.items():
        chosen = [argument for extra in extras for argument in ("--extra", extra)]
        output = f"requirements/{name}.txt"
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--output-file", output),
                *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-emit-index-url"),
                *("--quiet", *chosen, *sys.argv[1:]),
            ],
            cwd=ROOT,
            check=True,
        )


if __name__ == "__main__":
    main()
