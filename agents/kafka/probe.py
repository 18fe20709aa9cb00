"""Whether a broker answers now, for `/readyz`: one request on its own connection, without the retries of a client."""

from __future__ import annotations

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from agents.kafka.access import KafkaAccess
from headrace.process.action_log import in_words

NO_TOPICS: list[str] = []


async def answers(kafka: KafkaAccess) -> None:
    """Return when one of the brokers has answered. Raises KafkaError if none does.

    The caller limits the time.
    """
    refusals = []
    for host, port in kafka.addresses:
        try:
            connection = await create_conn(host, port, client_id="headrace", **kafka.login())
        except (KafkaError, OSError) as refused:
            refusals.append(f"{host}:{port}: {in_words(refused)}")
            continue
        try:
            await connection.send(MetadataRequest(NO_TOPICS))
        finally:
            connection.close()
        return
    raise KafkaConnectionError("; ".join(refusals))
