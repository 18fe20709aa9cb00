"""CPU time by kind of process."""

from __future__ import annotations

import resource
from collections.abc import Mapping

import psutil

CLIENT = "client"


def tree_seconds(root: psutil.Process) -> float:
    """CPU seconds of a process and its descendants so far, those that have ended included."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # it has ended since, and counts with its parent
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def client_seconds() -> float:
    """CPU seconds of this process and of the programs it ran (wrk) that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


class CpuMeter:
    """Measures from when it is made. Processes that start or end meanwhile must not be among the given ones."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self._processes = processes
        self._after: dict[str, float] | None = None
        self._before = self._now()

    def again(self) -> CpuMeter:
        """One for the same processes, from now."""
        return CpuMeter(self._processes)

    def stop(self) -> None:
        """Measure no longer."""
        self._after = self._now()

    def microseconds(self, events: int) -> dict[str, float]:
        """CPU microseconds for each of `events`, by kind of process, until now or until it was stopped."""
        after = self._after or self._now()
        return {kind: round((after[kind] - self._before[kind]) / events * 1e6, 1) for kind in after}

    def _now(self) -> dict[str, float]:
        return {kind: tree_seconds(one) for kind, one in self._processes.items()} | {CLIENT: client_seconds()}
