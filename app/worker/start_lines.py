"""The first lines of a worker: its version, what it works with, and what in its environment has no effect."""

from __future__ import annotations

from app.environment import environment
from app.near_misses import near_misses
from app.setting_groups.postgres import parts_of
from app.settings import SERVICE_NAMES, Settings, data_folder
from app.version import VERSION, python_version
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.server_urls import place_of

log = ActionLog(__name__)


def log_starting(settings: Settings) -> None:
    """Log what starts, when nothing that was checked prevents it. Nothing of it is secret."""
    addresses = (settings.database_of(part) for part in parts_of(settings.runs))
    places = dict.fromkeys(place for address in addresses if (place := place_of(address)))
    log.info(
        LogAction.WORKER_STARTING,
        "Headrace {version} (Python {python}) starts: {services}; database {database}, broker {broker}",
        version=VERSION,
        python=python_version(),
        services=", ".join(name for name in SERVICE_NAMES if name in settings.runs),
        database=", ".join(places) or f"embedded in {data_folder(settings)}",
        broker=settings.bootstrap_servers,
    )


def warn_of_environment(settings: Settings) -> None:
    """Warn of variables that resemble a setting, and of fault injection, before anything else happens."""
    for name, meant in near_misses(environment()):
        text = "{name} is not a setting of Headrace and has no effect; did you mean {meant}?"
        log.warning(LogAction.SETTING_UNKNOWN, text, name=name, meant=meant)
    if settings.fault_points:
        text = "Fault injection is on (FAULT_POINTS={faults}); never use it in production"
        log.warning(LogAction.FAULT_ARMED, text, faults=settings.fault_points)
