"""TLS and logins at a real broker: each way in, and each way to be refused with what to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from agents.kafka import probe
from agents.kafka.access import KafkaAccess
from agents.kafka.handshakes import patch_handshakes
from agents.kafka.refused_access import AccessRefusedError, access_problems, refusal
from agents.kafka.rights import lacking_rights
from agents.kafka.tokens import TokenFile
from agents.kafka.topic import ensure_topic
from agents.kafka.topic_end import TopicEnd
from agents.relay.publisher import Publisher

from tests.support.servers.fresh import free_port, new_topic, server_folder
from tests.support.servers.secure_kafka import LIMITED, PASSWORD, USER, SecureKafka, token

patch_handshakes()
WAYS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate")


@pytest.fixture(scope="module")
def broker() -> Iterator[SecureKafka]:
    with server_folder() as folder:
        started = SecureKafka(folder)
        asyncio.run(started.start())
        yield started
        asyncio.run(started.stop())


def access_by(broker: SecureKafka, way: str, folder: Path) -> KafkaAccess:
    if way == "certificate":
        return KafkaAccess(
            f"localhost:{broker.tls_port}",
            tls=True,
            ca_file=str(broker.ca_file),
            certificate_file=str(broker.client_file),
        )
    if way == "OAUTHBEARER":
        (folder / "token").write_text(token() + "\n")
        tokens = TokenFile(folder / "token")
        return replace(broker.access, mechanism=way, user="", password="", tokens=tokens)
    return replace(broker.access, mechanism=way)


@pytest.mark.parametrize("way", WAYS)
async def test_every_client_gets_in(broker: SecureKafka, way: str, tmp_path: Path) -> None:
    access, topic = access_by(broker, way, tmp_path), new_topic()
    assert await access_problems(access) == []
    await probe.answers(access)
    assert await lacking_rights(access, topic, partitions=2, group="group") == []
    publisher = Publisher(access, topic, partitions_if_new=2)
    await publisher.connect()
    await publisher.discard()
    end = TopicEnd(access, topic, timeout_seconds=10)
    await end.start()
    assert await end.last_positions(range(2)) == {0: 0, 1: 0}
    await end.stop()


@pytest.mark.parametrize("way", [*WAYS, "open"])
async def test_faust_logs_in_as_the_other_clients_do(broker: SecureKafka, way: str, tmp_path: Path) -> None:
    access = KafkaAccess("one:1") if way == "open" else access_by(broker, way, tmp_path)
    given = credentials_to_aiokafka_auth(access.credentials(), None)
    assert {name: value for name, value in given.items() if value is not None} == access.login()
    assert PASSWORD not in repr(access)
    assert PASSWORD not in str(access)


async def refused(access: KafkaAccess) -> str:
    """The line that says why, and nothing else helps."""
    with pytest.raises(AccessRefusedError) as error:
        await ensure_topic(access, "events", partitions=1)
    assert await access_problems(access) == [error.value.args[0]]
    assert PASSWORD not in str(error.value)
    await asyncio.sleep(0)  # a turn for connections that are being closed
    return str(error.value.args[0])


async def test_a_certificate_of_another_authority(broker: SecureKafka, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    found = await refused(replace(broker.access, ca_file=str(tmp_path / "other.pem")))
    assert "is not trusted" in found
    assert "KAFKA_CA_FILE" in found
    assert "is not trusted" in await refused(replace(broker.access, ca_file=""))


async def test_a_certificate_for_another_name(broker: SecureKafka) -> None:
    found = await refused(replace(broker.access, bootstrap_servers=f"127.0.0.1:{broker.login_port}"))
    assert "has another name" in found
    assert "BROKER_URL" in found


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_wrong_user_and_a_wrong_password(broker: SecureKafka, mechanism: str) -> None:
    right = replace(broker.access, mechanism=mechanism)
    for wrong in (replace(right, password=PASSWORD[::-1]), replace(right, user="nobody")):
        found = await refused(wrong)
        assert f"refuses the user {wrong.user}" in found
        assert "KAFKA_SASL_PASSWORD" in found


@pytest.mark.parametrize("made", [lambda: token(seconds=-60), lambda: "no-token", lambda: token(subject="")])
async def test_a_token_that_is_not_accepted(broker: SecureKafka, tmp_path: Path, made: Callable[[], str]) -> None:
    access = access_by(broker, "OAUTHBEARER", tmp_path)
    (tmp_path / "token").write_text(made())
    assert "refuses the token" in await refused(access)
    (tmp_path / "token").write_text(token())
    assert await access_problems(access) == []


async def test_a_token_file_without_a_token(broker: SecureKafka, tmp_path: Path) -> None:
    access = access_by(broker, "OAUTHBEARER", tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(KafkaConnectionError, match=r"KAFKA_TOKEN_FILE=.*cannot be read"):
        await ensure_topic(access, "events", partitions=1)
    (tmp_path / "token").write_text("two words")
    with pytest.raises(KafkaConnectionError, match=r"KAFKA_TOKEN_FILE=.*not a token"):
        await ensure_topic(access, "events", partitions=1)


async def test_a_port_with_tls_where_none_is_expected_and_the_other_way_round(broker: SecureKafka) -> None:
    found = await refusal(KafkaAccess(f"localhost:{broker.login_port}"))
    assert found is not None
    assert not found.is_certain
    assert "kafka+ssl://" in found.text
    found = await refusal(replace(broker.access, bootstrap_servers=broker.open_address))
    assert found is not None
    assert "kafka://" in found.text


async def test_a_client_certificate_that_is_missing(broker: SecureKafka, tmp_path: Path) -> None:
    access = replace(access_by(broker, "certificate", tmp_path), certificate_file="")
    found = await refusal(access)
    assert found is not None
    assert "KAFKA_CERTIFICATE_FILE" in found.text


async def test_a_login_where_there_is_none(broker: SecureKafka) -> None:
    access = replace(broker.access, tls=False, bootstrap_servers=broker.open_address)
    assert "KAFKA_SASL_MECHANISM" in await refused(access)


async def test_one_broker_that_lets_the_worker_in_is_enough(broker: SecureKafka) -> None:
    servers = f"localhost:{free_port()},localhost:{broker.login_port}"
    assert await access_problems(replace(broker.access, bootstrap_servers=servers)) == []


async def test_a_user_without_rights_is_told_which(broker: SecureKafka) -> None:
    topic = new_topic()
    await ensure_topic(broker.access, topic, partitions=1)
    access = replace(broker.access, user=LIMITED)
    found = await lacking_rights(access, topic, partitions=1, group="group")
    assert [line.partition(":")[0] for line in found] == [
        f"Kafka refuses access to the topic {topic}",
        "Kafka refuses access to the consumer group group",
    ]


async def test_a_renewed_certificate_file_is_used_by_the_next_client(broker: SecureKafka, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    access = replace(broker.access, ca_file=str(file))
    assert access.login()["ssl_context"] is access.login()["ssl_context"]
    assert await access_problems(access) != []
    file.write_bytes(broker.ca_file.read_bytes() + b"\n")
    assert await access_problems(access) == []
    file.write_text("nonsense")
    with pytest.raises(KafkaConnectionError, match="KAFKA_CA_FILE"):
        access.login()
    assert access_by(broker, "certificate", tmp_path).login()["ssl_context"].minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.fixture
async def impostor() -> AsyncIterator[int]:
    """Another program on the broker's port, which answers everything with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while size := int.from_bytes(await reader.readexactly(4)):
                request = await reader.readexactly(size)
                kind, number = int.from_bytes(request[:2]), request[4:8]
                answers = {18: VERSIONS, 17: b"\0\0\0\0\0\1\0\x0dSCRAM-SHA-256", 36: SCRAM_ANSWER}
                answer = number + answers[kind]
                writer.write(len(answer).to_bytes(4) + answer)
        except EOFError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port := free_port())
    yield port
    server.close()


# API versions 17 (handshake) and 36 (authenticate) up to 1.
VERSIONS = b"\0\0" + b"\0\0\0\2" + b"\0\x11\0\0\0\1" + b"\0\x24\0\0\0\1"
SCRAM_ANSWER = b"\0\0" + b"\xff\xff" + b"\0\0\0\x07e=other" + b"\0" * 8


async def test_a_program_that_does_not_know_the_password_is_no_broker(impostor: int) -> None:
    access = KafkaAccess(f"127.0.0.1:{impostor}", mechanism="SCRAM-SHA-256", user=USER, password=PASSWORD)
    with pytest.raises(KafkaError, match="no answer of a broker that knows the password"):
        await probe.answers(access)
    with pytest.raises(KafkaError, match="no answer of a broker that knows the password"):
        await ensure_topic(access, "events", partitions=1)
