"""`--help` of every command shows how to call it. That of `migrate` is in tests/acceptance/test_migrate.py."""

from __future__ import annotations

import click
import pytest
from faust.cli.base import cli

from agents.kafka.access import KafkaAccess
from app.commands.check_history import add_check_history
from app.commands.forget import add_forget
from app.commands.keys import add_keys
from app.commands.parked import add_parked
from app.commands.unpublished import add_unpublished
from app.commands.verify import add_verify
from app.settings import Settings


@pytest.mark.parametrize(
    "path",
    [
        "check-history",
        "forget",
        "keys",
        "keys create",
        "keys list",
        "keys show",
        "keys rotate",
        "keys revoke",
        "verify",
        "parked",
        "parked list",
        "parked show",
        "parked retry",
        "parked discard",
        "unpublished",
        "unpublished list",
        "unpublished retry",
    ],
)
def test_help_has_an_example(path: str) -> None:
    add_check_history(Settings(), [])
    add_forget(Settings(), [])
    add_keys(Settings())
    add_parked(Settings(), [])
    add_verify(Settings(), [], KafkaAccess("127.0.0.1:1"), embedded=False)
    add_unpublished(Settings(), KafkaAccess("127.0.0.1:1"), embedded=False)
    command: click.Command = cli
    for name in path.split():
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert f"\n    faust -A app {path}" in command.get_help(click.Context(command))
