"""Faust's command line without what does nothing in Headrace: such options are refused, such commands are hidden.

Faust reads the options before the command, and `--version`, before it imports the app. So those options are refused
when the command is called, and the version has a command of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource
from faust.cli.base import cli

from app.commands.terminal import say
from app.version import VERSION, python_version

WEB = "Headrace has ports of its own: set INGESTION_PORT and QUERY_PORT"
INSTEAD: Mapping[str, str] = {
    "with_web": WEB,
    "web_port": WEB,
    "web_transport": WEB,
    "web_bind": "set INGESTION_HOST and QUERY_HOST",
    "web_host": "set INGESTION_HOST and QUERY_HOST",
    "logfile": "the log goes to standard error; redirect it",
    "loglevel": "set LOG_LEVEL",
    "console_port": "there is no debugger console",
    "datadir": "set DATA_DIR",
    "json": "put --json behind the command",
    "quiet": "set LOG_LEVEL=ERROR",
    "loop": "the event loop is always uvloop",
}
"""The options that do nothing, and what does it instead."""
HIDDEN = ("clean-versions", "livecheck", "model", "models", "reset", "send", "tables")
"""Faust's commands for what Headrace does not use: tables, models, a data folder."""


def adapt_command_line() -> None:
    """Hide and refuse what does nothing, in the commands that are known now, and add `version`."""
    for command in (cli, *cli.commands.values()):
        for parameter in command.params:
            if parameter.name in INSTEAD and isinstance(parameter, click.Option):
                parameter.hidden = True
    for name in cli.commands.keys() & HIDDEN:  # without Faust's program, only some are known
        cli.commands[name].hidden = True
    for command in (cli, cli.commands["worker"]):
        _refuse_ignored(command)
    cli.add_command(_version_command())
    cli.help = "Headrace, on Faust. The version: faust -A app version."
    cli.commands["worker"].help = "Start a worker. Its settings are environment variables: docs/settings.md."


def _refuse_ignored(command: click.Command) -> None:
    invoke = command.invoke

    @wraps(invoke)
    def checked(context: click.Context) -> Any:
        for parameter in command.params:
            name = parameter.name or ""
            if name in INSTEAD and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{parameter.opts[0]} does nothing in Headrace: {INSTEAD[name]}.", context)
        return invoke(context)

    command.invoke = checked


def _version_command() -> click.Command:
    def command() -> None:
        say(f"Headrace {VERSION}, Python {python_version()}")

    text = "Print the version.\n\n\b\nExample:\n  faust -A app version\n"
    return click.Command("version", callback=command, help=text)
