"""The login of the embedded Kafka: a user, and a password that is made once and kept in the data folder.

SCRAM, because it proves both sides: a program of another user that listens on the port learns nothing, and is noticed.
Kafka keeps what SCRAM needs in its metadata, where only its controller writes. So the controller's listener, on a port
that is new at each start, has a password of its own for that start.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import for_code

from app.embedded.kafka.scram_request import ITERATIONS, SCRAM_SHA_256, AlterScramRequest, Upsertion
from app.embedded.ports import LOOPBACK
from headrace.process.secrets import hide_values

USER = "headrace"
MECHANISM = "SCRAM-SHA-256"
SECURITY = """\
listener.security.protocol.map=BROKER:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
sasl.mechanism.controller.protocol=PLAIN
listener.name.broker.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.broker.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{user}" password="{password}";
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="{user}" password="{controller_password}" user_{user}="{controller_password}";
"""
CLIENT_FILE = "client.properties"
CLIENT = """\
# Overwritten at each start: for the tools of Kafka, for example kafka-console-consumer --consumer.config.
bootstrap.servers={address}
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-256
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{user}" password="{password}";
"""
_CONTROLLER = re.compile(r'PlainLoginModule required username="\w+" password="(?P<password>[^"]+)"')
_CONTROLLER_PORT = re.compile(r"^controller\.quorum\.voters=.*:(?P<port>\d+)$", re.MULTILINE)


def password_file(folder: Path) -> Path:
    """The file with the password, in Kafka's folder."""
    return folder / "password"


def provide_password(folder: Path) -> str:
    """The password of this folder, made if there is none. The caller holds the start lock."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = password_file(folder)
    if not file.exists():
        write_private(file, new_password() + "\n")
    file.chmod(0o600)
    password = file.read_text().strip()
    hide_values([password])
    return password


def new_password() -> str:
    """32 random bytes. No character has a meaning in a properties file."""
    return secrets.token_hex(32)


def security(password: str, controller_password: str) -> str:
    """The lines of server.properties with which only the user with this password gets in."""
    return SECURITY.format(user=USER, password=password, controller_password=controller_password)


def write_client_file(folder: Path, port: int, password: str) -> None:
    """Write the file with which the tools of Kafka log in."""
    text = CLIENT.format(address=f"{LOOPBACK}:{port}", user=USER, password=password)
    write_private(folder / CLIENT_FILE, text)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, complete or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="latin-1") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def arguments(password: str) -> dict[str, Any]:
    """Arguments for a connection of aiokafka."""
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": MECHANISM,
        "sasl_plain_username": USER,
        "sasl_plain_password": password,
    }


async def register(settings: str, password: str) -> None:
    """Tell the broker with these settings, which runs, what the password is now.

    Necessary for a new data folder, for one of a version without passwords, and after the file was lost. Raises
    KafkaError, OSError or TimeoutError.
    """
    found, port = _CONTROLLER.search(settings), _CONTROLLER_PORT.search(settings)
    assert found is not None
    assert port is not None
    connection = await create_conn(
        LOOPBACK,
        int(port["port"]),
        client_id=USER,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=USER,
        sasl_plain_password=found["password"],
    )
    try:
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
        answer = await connection.send(AlterScramRequest(Upsertion(USER, SCRAM_SHA_256, ITERATIONS, salt, salted)))
    finally:
        connection.close()
    for _, code, message, _ in answer.results:
        if code:
            raise for_code(code)(message)
