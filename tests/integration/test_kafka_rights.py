"""What a worker may not do on a broker with access control is named before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.admin import CreateAclsRequest

from agents.kafka.access import KafkaAccess
from agents.kafka.rights import lacking_rights

from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.own_kafka import OwnKafka
from tests.support.waiting import until

SECONDS = 20.0

ACCESS_CONTROL = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""
TOPIC, GROUP, CLUSTER = 2, 3, 4
LITERAL, ALL_OPERATIONS, CREATE, DESCRIBE, DENY, ALLOW = 3, 2, 5, 8, 2, 3


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A broker without a proxy, where nobody may use `closed-topic` and `closed-group`."""
    with server_folder() as folder:
        broker = OwnKafka(folder, proxy_port=free_port(), more_settings=ACCESS_CONTROL)
        broker.proxy_port = broker.port
        asyncio.run(broker.start())
        yield f"127.0.0.1:{broker.port}"
        asyncio.run(broker.stop())


@pytest.fixture
async def admin(address: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=address)
    await client.start()
    yield client
    await client.close()


async def rule(
    admin: AIOKafkaAdminClient, kind: int, name: str, operation: int = ALL_OPERATIONS, permission: int = DENY
) -> None:
    request = CreateAclsRequest(kind, name, LITERAL, "User:ANONYMOUS", "*", operation, permission)
    answer = await admin._client.send(admin._client.get_random_node(), request)
    assert [code for code, _ in answer.creation_responses] == [0]


async def test_a_worker_that_may_do_everything_lacks_nothing(address: str) -> None:
    assert await lacking_rights(KafkaAccess(address), "open-topic", partitions=3, group="open-group") == []


async def test_a_broker_that_is_away_is_no_problem() -> None:
    assert await lacking_rights(KafkaAccess(f"127.0.0.1:{free_port()}"), "events", partitions=3, group="headrace") == []


async def test_a_topic_and_a_group_that_are_closed_are_both_named(address: str, admin: AIOKafkaAdminClient) -> None:
    await admin.create_topics([NewTopic("closed-topic", 1, 1)])
    await rule(admin, TOPIC, "closed-topic")
    await rule(admin, GROUP, "closed-group")

    async def both() -> bool:
        found = await lacking_rights(KafkaAccess(address), "closed-topic", partitions=3, group="closed-group")
        return [name for name in ("topic closed-topic", "group closed-group") if name in "".join(found)] == [
            "topic closed-topic",
            "group closed-group",
        ]

    await until(both, SECONDS)  # the rules reach the broker a little later


async def test_a_topic_that_must_not_be_created_is_named(address: str, admin: AIOKafkaAdminClient) -> None:
    await rule(admin, TOPIC, "never-made", DESCRIBE, ALLOW)
    await rule(admin, CLUSTER, "kafka-cluster", permission=ALLOW)
    await rule(admin, CLUSTER, "kafka-cluster", CREATE)

    async def named() -> bool:
        found = await lacking_rights(KafkaAccess(address), "never-made", partitions=3, group=None)
        return any("no topic never-made" in told for told in found)

    await until(named, SECONDS)
