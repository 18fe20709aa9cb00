"""Whether a broker answers now, for `/readyz`: one request on its own connection, without the retries of a client."""

from __future__ import annotations

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from headrace.process.action_log import in_words

NO_TOPICS: list[str] = []


async def answers(bootstrap_servers: str) -> None:
    """Return when one of the brokers has answered. Raises KafkaError if none does.

    The caller limits the time.
    """
    refusals = []
    for address in bootstrap_servers.split(","):
        host, _, port = address.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), client_id="headrace")
        except (KafkaConnectionError, OSError) as refused:
            refusals.append(f"{address}: {in_words(refused)}")
            continue
        try:
            await connection.send(MetadataRequest(NO_TOPICS))
        finally:
            connection.close()
        return
    raise KafkaConnectionError("; ".join(refusals))
