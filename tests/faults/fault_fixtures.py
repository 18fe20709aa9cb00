"""Fixtures of the fault tests: servers of their own, trials, the seed, and the table at the end.

tests/conftest.py registers this module, so that it is one plugin for all tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault_outcomes import Outcomes
from tests.faults.fault_table import table, totals
from tests.faults.trial import Trial
from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.tcp_proxy import TcpProxy

SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
RESULTS = os.environ.get("FAULT_RESULTS", "")
"""A file that gets a line of JSON for each fault; scripts/document_faults.py makes the page from it."""

os.environ["FAULT_SEED"] = str(SEED)  # the processes of pytest-xdist take it from here

done: list[Outcomes] = []

MakeTrial = Callable[..., Trial]


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """All random choices of a fault test."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def fault_folder() -> Iterator[Path]:
    """For the data of servers that are faulted."""
    with server_folder(on_disk=True) as folder:
        yield folder


@pytest.fixture(scope="session")
def own_postgres(fault_folder: Path) -> Iterator[OwnPostgres]:
    """A PostgreSQL that tests stop and start; no other test uses it."""
    folder = fault_folder / "own"
    folder.mkdir(mode=0o711)
    server = OwnPostgres(folder)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def own_kafka(fault_folder: Path) -> Iterator[OwnKafka]:
    """A Kafka that tests stop and start; its clients find it only through a proxy on its `proxy_port`."""
    server = OwnKafka(fault_folder, proxy_port=free_port())
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def make_trial(request: pytest.FixtureRequest, tmp_path: Path, topic: str) -> AsyncIterator[MakeTrial]:
    """Makes the trial of a test; its first line of docstring is the fault's name."""
    made: list[Trial] = []

    def make(dsn: str, kafka: str) -> Trial:
        fault = (request.function.__doc__ or request.node.name).strip().splitlines()[0].rstrip(".")
        outcomes = Outcomes(request.node.name, fault, SEED)
        made.append(Trial(tmp_path, dsn=dsn, kafka=kafka, topic=topic, outcomes=outcomes))
        return made[-1]

    print(f"seed {SEED}")
    yield make
    for trial in made:
        await trial.stop()
        _note(trial.outcomes)


@pytest.fixture
def trial(make_trial: MakeTrial, database_dsn: str, kafka: str) -> Trial:
    """A trial on the servers of all tests: for faults that do not touch them."""
    return make_trial(database_dsn, kafka)


@pytest.fixture
async def postgres_trial(make_trial: MakeTrial, own_postgres: OwnPostgres, kafka: str) -> AsyncIterator[Trial]:
    """A trial on a PostgreSQL that may be faulted."""
    await own_postgres.start()
    database = await own_postgres.new_database()
    yield make_trial(own_postgres.dsn(database), kafka)
    own_postgres.thaw()


@pytest.fixture
async def kafka_proxy(own_kafka: OwnKafka) -> AsyncIterator[TcpProxy]:
    """What stands between everybody and the Kafka that may be faulted."""
    proxy = TcpProxy(own_kafka.proxy_port, own_kafka.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def kafka_trial(
    make_trial: MakeTrial, database_dsn: str, own_kafka: OwnKafka, kafka_proxy: TcpProxy
) -> AsyncIterator[Trial]:
    """A trial on a Kafka that may be faulted."""
    if not own_kafka.processes:
        await own_kafka.start()
    yield make_trial(database_dsn, own_kafka.url)
    own_kafka.thaw()


def _note(outcomes: Outcomes) -> None:
    done.append(outcomes)
    if RESULTS:
        with Path(RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcomes)) + "\n")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is in tests/faults is a fault test; trials measure how long workers take to resume."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.faults)
        if "make_trial" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.alone)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a process of pytest-xdist: hand the outcomes to the one that prints them."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faults"] = [asdict(outcomes) for outcomes in done]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the process that prints: take them."""
    done.extend(Outcomes(**outcomes) for outcomes in getattr(node, "workeroutput", {}).get("faults", []))


def pytest_report_header() -> str:
    """How to do the same again."""
    return f"fault seed: {SEED} (FAULT_SEED={SEED} does the same again)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The faults of this run, as docs/reliability.md tells them."""
    if done:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(done))
        terminalreporter.write_line(totals(done))
