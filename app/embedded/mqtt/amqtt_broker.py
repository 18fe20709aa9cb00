"""`python amqtt_broker.py PORT`: amqtt on loopback, for a machine without mosquitto. It is run as a file: nothing else
of Headrace is imported, so that it starts quickly and a worker's settings do not reach it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session


class Everyone(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is looked at without its types
    """Lets everyone in. amqtt's own plugin for that makes every client anonymous, and keeps nothing for those."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Whoever it is."""
        return session is not None


async def run(port: int) -> None:
    """Run until SIGTERM."""
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
