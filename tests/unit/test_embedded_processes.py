"""Processes are found by several threads at once: a worker looks for each embedded server in a thread of its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from app.embedded.processes import running_in, running_script

ROUNDS = 3


def test_what_was_found_stays_as_it_was_while_another_thread_looks_for_something_else() -> None:
    found = running_in(Path.cwd(), psutil.Process().name())
    with ThreadPoolExecutor(1) as threads:
        threads.submit(running_script, Path.cwd(), "amqtt_broker.py").result()
    (here,) = (one for one in found if one.pid == os.getpid())
    assert (here.info["ppid"], here.info["cmdline"]) == (os.getppid(), psutil.Process().cmdline())


def test_threads_that_look_for_different_servers_do_not_disturb_each_other() -> None:
    here, name = Path.cwd(), psutil.Process().name()

    def find(number: int) -> set[int]:
        found: set[int] = set()
        for _ in range(ROUNDS):
            if number % 2:
                running_script(here, "amqtt_broker.py")
            else:
                found.update(one.pid for one in running_in(here, name) if one.info["ppid"] and one.info["cmdline"])
        return found

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(find, range(6)))
    assert all(os.getpid() in pids for pids in found[::2])
