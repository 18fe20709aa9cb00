"""`python amqtt_broker.py PORT`: amqtt on loopback, for a machine without mosquitto. It runs as a script that imports
nothing else of Headrace, so it starts quickly and ignores a worker's settings."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session


class Everyone(BaseAuthPlugin):  # type: ignore[misc]  # mypy does not follow amqtt
    """Accepts every client. amqtt's own plugin makes every client anonymous, and stores nothing for such clients."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """True for every client."""
        return session is not None


async def run(port: int) -> None:
    """Run the broker on this port until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    plugins: dict[str, object] = {f"{__name__}.{Everyone.__name__}": {}}
    broker = Broker(BrokerConfig.from_dict({"listeners": listeners, "plugins": plugins}))
    await broker.start()
    await stopped.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(run(int(sys.argv[1])))
