"""A real Apache Kafka with TLS, with logins of all kinds, and with rights."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path

import trustme
from aiokafka.conn import create_conn
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from agents.kafka.access import KafkaAccess
from app.embedded.kafka.scram_request import ITERATIONS, AlterScramRequest, Upsertion

from tests.support.servers.fresh import free_port
from tests.support.servers.own_kafka import OPEN, OwnKafka

USER, PASSWORD = "worker", "pass-w0rd"
LIMITED = "limited"
"""A user with the same password, and without any right."""
SCRAM = {"SCRAM-SHA-256": (1, "sha256"), "SCRAM-SHA-512": (2, "sha512")}
MODULES = "org.apache.kafka.common.security"
SETTINGS = """
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},TLS://127.0.0.1:{tls},LOGIN://127.0.0.1:{login}
advertised.listeners=BROKER://127.0.0.1:{port},TLS://localhost:{tls},LOGIN://localhost:{login}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,LOGIN:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.tls.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.login.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.login.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.login.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.login.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required \
unsecuredLoginStringClaim_sub="broker";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
ssl.principal.mapping.rules=RULE:^.*CN=([a-z]+).*$/$1/
super.users=User:ANONYMOUS;User:{user};User:device
"""


class SecureKafka:
    """One broker: without a login on the port of its settings, with a client certificate, and with SASL over TLS.

    Tokens are not signed: Kafka's validator for tests checks their times and claims only.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.ca_file, self.client_file = folder / "ca.pem", folder / "client.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.authority.issue_cert("client.example", common_name="device").private_key_and_cert_chain_pem.write_to_path(
            self.client_file
        )
        self.tls_port, self.login_port = free_port(), free_port()
        self._broker = OwnKafka(folder, proxy_port=free_port(), security=OPEN, more_settings="")
        self._broker.proxy_port = self._broker.port
        self._broker.more_settings = SETTINGS.format(
            port=self._broker.port,
            controller=self._broker.controller_port,
            tls=self.tls_port,
            login=self.login_port,
            keystore=self._keystore(),
            truststore=self.ca_file,
            modules=MODULES,
            user=USER,
            password=PASSWORD,
        )

    def _keystore(self) -> Path:
        """Java reads keys in PKCS #8 only."""
        issued = self.authority.issue_cert("localhost")
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        file = self.folder / "keystore.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(pem + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return file

    @property
    def open_address(self) -> str:
        """Of the port without a login."""
        return f"127.0.0.1:{self._broker.port}"

    async def start(self) -> None:
        """Start it, with the passwords of its users."""
        await self._broker.start()
        await self.set_password(USER, PASSWORD)
        await self.set_password(LIMITED, PASSWORD)

    async def stop(self) -> None:
        """End it."""
        await self._broker.stop()

    async def restart(self) -> None:
        """End all connections; passwords stay as they are."""
        await self._broker.stop()
        await self._broker.start()

    async def set_password(self, user: str, password: str) -> None:
        """For SCRAM."""
        connection = await create_conn("127.0.0.1", self._broker.port)
        try:
            for number, digest in SCRAM.values():
                salt = secrets.token_bytes(16)
                salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, ITERATIONS)
                answer = await connection.send(AlterScramRequest(Upsertion(user, number, ITERATIONS, salt, salted)))
                assert [code for _, code, *_ in answer.results] == [0]
        finally:
            connection.close()

    def settings(self, mechanism: str = "SCRAM-SHA-512", **others: str) -> dict[str, str]:
        """Of a worker that logs in with a password."""
        return {
            "BROKER_URL": f"kafka+ssl://localhost:{self.login_port}",
            "KAFKA_CA_FILE": str(self.ca_file),
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": PASSWORD,
            **others,
        }

    @property
    def access(self) -> KafkaAccess:
        """With a password."""
        return KafkaAccess(
            f"localhost:{self.login_port}",
            tls=True,
            ca_file=str(self.ca_file),
            mechanism="SCRAM-SHA-512",
            user=USER,
            password=PASSWORD,
        )


def token(subject: str = USER, *, seconds: float = 300) -> str:
    """A token that says who it is for, not signed."""
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": int(now + seconds)}
    return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
