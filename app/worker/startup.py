"""Which embedded servers are still starting, so that the log does not call a problem what is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from app.embedded.supervisor import ServerName

SETTLING_SECONDS = 20.0
"""Kafka answers before it has the coordinators of groups and knows all topics."""


class Startup:
    """The start of a worker, and of the embedded servers that it starts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._settled = clock() + SETTLING_SECONDS
        self._until: dict[ServerName, float] = {}

    def begins(self, server: ServerName) -> None:
        """The worker starts this server. There is no deadline: if that fails, the worker ends and says why."""
        self._until[server] = math.inf

    def is_ready(self, server: ServerName) -> None:
        """The server answers."""
        self._until[server] = self._clock() + SETTLING_SECONDS

    def is_starting(self, server: ServerName) -> bool:
        """Whether an embedded server may not answer yet."""
        return self._clock() < self._until.get(server, -math.inf)

    def is_settling(self) -> bool:
        """Whether clients of Kafka may complain although nothing is wrong, whoever runs Kafka."""
        return self._clock() < self._settled or self.is_starting("Apache Kafka")
