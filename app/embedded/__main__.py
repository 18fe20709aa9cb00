"""`python -m app.embedded`: downloads the files that the embedded servers need, or checks those that exist."""

from __future__ import annotations

import logging
import os
import sys

from dotenv import dotenv_values

from app.embedded.kafka.class_path import provide
from app.secret_files import hide_secrets, with_secret_files
from app.settings import data_folder, read_settings
from headrace.errors import HeadraceError
from headrace.process.terminal import printable


def main() -> int:
    """Download or check the files. Returns the exit code: 1 if a file cannot be provided."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("app").setLevel(logging.INFO)
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    try:
        environment = with_secret_files({**from_file, **os.environ})
        hide_secrets(environment)
        provide(data_folder(read_settings(environment)) / "jars")
    except HeadraceError as error:
        sys.stderr.write(printable(f"headrace: {error}") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
