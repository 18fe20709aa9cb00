"""`python -m app.embedded`: downloads the files that the embedded servers need, or checks those that exist."""

from __future__ import annotations

import logging
import sys

from app.embedded.kafka.class_path import provide
from app.environment import environment
from app.secret_files import hide_secrets, with_secret_files
from app.settings import data_folder, read_settings
from headrace.errors import HeadraceError
from headrace.process.terminal import printable


def main() -> int:
    """Download or check the files. Returns the exit code: 1 if a file cannot be provided."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("app").setLevel(logging.INFO)
    try:
        variables = with_secret_files(environment())
        hide_secrets(variables)
        provide(data_folder(read_settings(variables)) / "jars")
    except HeadraceError as error:
        sys.stderr.write(printable(f"headrace: {error}") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
