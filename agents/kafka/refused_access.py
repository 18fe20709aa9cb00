"""Why Kafka refuses this worker: a line that says what is wrong, and what to do. aiokafka only logs the reason."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from agents.kafka.access import OAUTHBEARER, KafkaAccess
from headrace.errors import InvalidSettingError
from headrace.process.action_log import in_words

CHECK_SECONDS = 3.0
NO_TOPICS: list[str] = []
# Of OpenSSL, X509_V_ERR_…: the certificate has another name, or another address; it has expired.
OTHER_NAME, OTHER_ADDRESS, EXPIRED = 62, 64, 10
RIGHTS: dict[type[KafkaError], str] = {
    TopicAuthorizationFailedError: "allow this user DESCRIBE, READ and WRITE on the topic",
    GroupAuthorizationFailedError: "allow this user READ on the consumer group",
    ClusterAuthorizationFailedError: "allow this user IDEMPOTENT_WRITE on the cluster (before Kafka 3), or CREATE",
}


class AccessRefusedError(KafkaConnectionError):  # type: ignore[misc]  # mypy does not follow aiokafka
    """No broker lets the worker in, and waiting alone does not help."""


class AccessRefusal(NamedTuple):
    """What a broker answers to a worker that it does not let in."""

    text: str
    is_certain: bool
    """Whether only another setting, or a change at the broker, helps. Otherwise the broker may just be starting."""


async def refusal(access: KafkaAccess) -> AccessRefusal | None:
    """Why no broker lets the worker in; None if one does, or if none answers."""
    try:
        access.check_files()
    except InvalidSettingError as error:
        return AccessRefusal(str(error), is_certain=True)
    found: list[AccessRefusal] = []
    for host, port in access.addresses:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await _try(access, host, port)
        except (KafkaError, OSError, TimeoutError) as error:
            found += [one for one in [_refusal(access, f"{host}:{port}", error)] if one]
        else:
            return None
    return next((one for one in found if one.is_certain), found[0] if found else None)


async def access_problems(access: KafkaAccess) -> list[str]:
    """What ends the start: what no waiting helps against. Nothing if Kafka is away: then it is waited for."""
    found = await refusal(access)
    return [found.text] if found and found.is_certain else []


async def explained(access: KafkaAccess, error: BaseException) -> KafkaConnectionError:
    """The error of a client that could not connect, with the reason."""
    found = await refusal(access)
    if found is None:
        return KafkaConnectionError(str(error))
    return AccessRefusedError(found.text) if found.is_certain else KafkaConnectionError(found.text)


def with_advice(error: BaseException) -> str:
    """The error in words; for a right that is lacking, also what to do."""
    advice = next((advice for kind, advice in RIGHTS.items() if isinstance(error, kind)), "")
    return f"{in_words(error)}: {advice}" if advice else in_words(error)


async def _try(access: KafkaAccess, host: str, port: int) -> None:
    connection = await create_conn(host, port, client_id="headrace", **access.login())
    try:
        await connection.send(MetadataRequest(NO_TOPICS))
    finally:
        connection.close()


def _refusal(access: KafkaAccess, address: str, error: BaseException) -> AccessRefusal | None:
    """What the error means; None if the broker is away."""
    for cause in _causes(error):
        for kind, text in _WORDS:
            if isinstance(cause, kind):
                return AccessRefusal(f"Kafka at {address}: {text(access, cause)}", is_certain=True)
    if isinstance(error, ConnectionRefusedError | TimeoutError) or not isinstance(error, KafkaError | ConnectionError):
        return None
    if isinstance(error, KafkaConnectionError) and not _was_closed(error):
        return AccessRefusal(f"Kafka at {address}: {error}", is_certain=False)
    return AccessRefusal(f"Kafka at {address} closes the connection: {_other_ways(access)}", is_certain=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _was_closed(error: KafkaConnectionError) -> bool:
    return "Connection at" in str(error) or "closed" in str(error)


def _other_ways(access: KafkaAccess) -> str:
    if not access.tls:
        return "if the port is for TLS, set BROKER_URL=kafka+ssl://…" + (
            "" if access.mechanism else "; if it wants a login, set KAFKA_SASL_MECHANISM"
        )
    plain = "if the port is without TLS, set BROKER_URL=kafka://…; if it wants a certificate, KAFKA_CERTIFICATE_FILE"
    return plain if access.mechanism else f"{plain}; if it wants a login, KAFKA_SASL_MECHANISM"


def _certificate(_access: KafkaAccess, error: BaseException) -> str:
    assert isinstance(error, ssl.SSLCertVerificationError)
    if error.verify_code in {OTHER_NAME, OTHER_ADDRESS}:
        return f"its certificate has another name ({error.verify_message}): use a name of the certificate in BROKER_URL"
    if error.verify_code == EXPIRED:
        return f"its certificate is not valid now ({error.verify_message}): renew it, or check the clock"
    return f"its certificate is not trusted ({error.verify_message}): set KAFKA_CA_FILE to the authority that issued it"


def _tls(_access: KafkaAccess, error: BaseException) -> str:
    assert isinstance(error, ssl.SSLError)
    reason = error.reason or str(error)
    if "ALERT" in reason:
        return f"it refuses TLS with this worker ({reason}): check KAFKA_CERTIFICATE_FILE and KAFKA_KEY_FILE"
    return f"it does not speak TLS ({reason}): use its port for TLS, or BROKER_URL=kafka://…"


def _login(access: KafkaAccess, _error: BaseException) -> str:
    if access.mechanism == OAUTHBEARER:
        return "it refuses the token: check the issuer, the audience and the scope that the broker requires"
    if access.password_file is not None:
        return f"it refuses the password in {access.password_file}: restart the worker"
    return f"it refuses the user {access.user}: check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD ({access.mechanism})"


def _mechanism(access: KafkaAccess, error: BaseException) -> str:
    offered = str(error).partition("Enabled mechanisms are: ")[2]
    told = f", but {offered}" if offered else ""
    return f"it does not offer {access.mechanism}{told}: set KAFKA_SASL_MECHANISM"


def _no_login(_access: KafkaAccess, _error: BaseException) -> str:
    return "the port has no login: use its port for SASL, or leave KAFKA_SASL_MECHANISM empty"


_WORDS: tuple[tuple[type[BaseException], Callable[[KafkaAccess, BaseException], str]], ...] = (
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (SaslAuthenticationFailed, _login),
    (UnsupportedSaslMechanismError, _mechanism),
    (IllegalSaslStateError, _no_login),
)
