"""How commands print: lines for people through `say`, JSON through `say_json`."""

from __future__ import annotations

import click
import msgspec

from headrace.process.terminal import printable


def say(*lines: str, err: bool = False) -> None:
    """Print lines; control characters, and characters that change the direction of text, are escaped."""
    click.echo(printable(*lines), err=err)


def say_json(value: object) -> None:
    """Print JSON as it is, for programs."""
    click.echo(msgspec.json.encode(value))
