"""The limit of open files, which connections need."""

from __future__ import annotations

import resource

from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from web.server.port import SPARE_CONNECTIONS

# For anything but the connections of the two ports: PostgreSQL, Kafka, logs, libraries.
OTHER_FILES = 256

log = ActionLog(__name__)


def allow_connections(most: int) -> None:
    """Raise the process's limit of open files for so many connections, as far as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (most + SPARE_CONNECTIONS) + OTHER_FILES
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            log.warning(
                LogAction.CONNECTIONS_LIMITED,
                "Only {allowed} files may be open; {connections} connections may need {wanted} (ulimit -n)",
                allowed=allowed,
                connections=most,
                wanted=wanted,
            )
