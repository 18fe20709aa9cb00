"""`make soak SEED=… MINUTES=…`: one random fault every five seconds for as long as asked, then heal and check.

Prints the seed first, and last a line with events, faults, lost, doubled and the longest pause of the door. Exit code 0
only where nothing is wrong. The same seed chooses the same faults and events; when exactly each
bites is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.fault_outcomes import Outcomes
from tests.faults.faulty_worker import FaultyWorker, Keeper
from tests.faults.soak_faults import SoakFaults
from tests.faults.trial import Trial
from tests.support.servers.fresh import free_port
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.tcp_proxy import TcpProxy

FAULT_EVERY_SECONDS = 5.0
HEALED_SECONDS = 60.0


async def soak(folder: Path, *, seed: int, minutes: float) -> Outcomes:
    """Run it; what was found. Raises AssertionError where something is wrong."""
    (folder / "postgres").mkdir(mode=0o711)
    postgres, kafka = OwnPostgres(folder / "postgres"), OwnKafka(folder, proxy_port=free_port())
    proxy = TcpProxy(kafka.proxy_port, kafka.port)
    outcomes = Outcomes("soak", f"{minutes:g} minutes of random faults", seed)
    try:
        await proxy.start()
        await asyncio.gather(postgres.start(), kafka.start())
        dsn = postgres.dsn(await postgres.new_database())
        trial = Trial(folder, dsn=dsn, kafka=kafka.url, topic="soak", outcomes=outcomes)
        try:
            await _run(trial, SoakFaults(random.Random(seed), await _workers(trial), postgres, kafka, proxy), minutes)
        finally:
            await trial.stop()
    finally:
        await asyncio.gather(postgres.stop(), kafka.stop())
        await proxy.stop()
    return outcomes


async def _workers(trial: Trial) -> list[FaultyWorker]:
    return [
        await trial.start("ingestion"),
        await trial.start("ingestion"),
        await trial.start("event_handler", CONSUMER_INSTANCE_ID="one"),
        await trial.start("event_handler"),
        await trial.start("query"),
    ]


async def _run(trial: Trial, faults: SoakFaults, minutes: float) -> None:
    doors = trial.workers[:2]
    trial.read(trial.workers[-1])
    await trial.load(*doors)
    await trial.note_under_way()
    keepers = [Keeper(worker) for worker in trial.workers]
    ends = time.monotonic() + minutes * 60
    while time.monotonic() < ends:
        print(f"{minutes * 60 - (ends - time.monotonic()):6.1f} s  {faults.one()}", flush=True)
        await asyncio.sleep(FAULT_EVERY_SECONDS)
    await faults.end()
    await trial.resumed("the last fault", within=HEALED_SECONDS)
    for keeper in keepers:
        await keeper.stop()
    trial.bit(faults=len(faults.names), requests_without_an_answer=trial.clients.journal.unanswered)
    await trial.verdict()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Random faults under load, for as long as you like.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--minutes", type=float, default=10.0)
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    wrong = ""
    with tempfile.TemporaryDirectory(prefix="headrace-soak-") as folder:
        try:
            told = asyncio.run(soak(Path(folder), seed=chosen.seed, minutes=chosen.minutes))
        except AssertionError as error:
            wrong = str(error) or repr(error)
    if wrong:
        print(f"{wrong}\nsoak: seed {chosen.seed} FAILED")
        return 1
    print(
        f"soak: seed {told.seed}, {chosen.minutes:g} minutes, {told.events} events, {told.bit['faults']} faults, "
        f"lost {told.lost}, doubled {told.doubled}, longest pause {told.longest_pause_seconds:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
