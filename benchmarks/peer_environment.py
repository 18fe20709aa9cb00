"""The environment of the peers: what they need must not change what Headrace runs with."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import StartError

from benchmarks.processes import ROOT

ENVIRONMENT = ROOT / ".headrace" / "bench" / "venv"
PEERS = Path(__file__).with_name("peers")


def peer_python(script: str) -> list[str]:
    """The command that runs a script of benchmarks/peers. Raises StartError when its environment is not there."""
    interpreter = ENVIRONMENT / "bin" / "python"
    if not interpreter.exists():
        raise StartError(f"{ENVIRONMENT} does not exist: `make bench` installs it from requirements/bench.txt")
    return [str(interpreter), str(PEERS / script)]
