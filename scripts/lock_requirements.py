"""Resolves requirements/*.txt, with hashes, from pyproject.toml (make lock)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = "pyproject.toml"
# The sources of each file. The peers of the benchmarks are resolved alone, for their own environment.
SOURCES: dict[str, list[str]] = {
    "service": [PROJECT],
    "run": [PROJECT, "--extra", "embedded"],
    "dev": [PROJECT, "--extra", "embedded", "--extra", "dev"],
    "bench": ["--group", "bench"],
}


def main() -> None:
    """Write the files; `make lock ARGS=--upgrade` upgrades to newer versions."""
    for name, chosen in SOURCES.items():
        output = f"requirements/{name}.txt"
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "--output-file", output),
                *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-emit-index-url"),
                *("--quiet", *chosen, *sys.argv[1:]),
            ],
            cwd=ROOT,
            check=True,
        )


if __name__ == "__main__":
    main()
