"""`X_FILE` for each secret setting X: the value is read from a file, so that no environment has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headrace.errors import InvalidSettingError
from headrace.process.secrets import hide, hide_values

DATABASE_URLS = (
    "DATABASE_URL",
    *(f"DATABASE_URL_{part}" for part in ("INGESTION", "RELAY", "EVENT_HANDLER", "QUERY", "OPERATION")),
)
URLS = (*DATABASE_URLS, "BROKER_URL", "MQTT_URL")
PASSWORDS = ("KAFKA_SASL_PASSWORD", "KAFKA_TOKEN_CLIENT_SECRET")
SECRETS = (*DATABASE_URLS, "MQTT_URL", *PASSWORDS)
MAX_BYTES = 65_536
ALLOWED = f"a file with nothing but the value, at most {MAX_BYTES} bytes of UTF-8"


def with_secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with the values of the secrets in place of the names of their files.

    Each file is read once, because it may be a pipe. Raises InvalidSettingError.
    """
    secrets = {name: secret for name in SECRETS if (secret := _from_file(name, environment))}
    files = {f"{name}_FILE" for name in SECRETS}
    return {**{name: value for name, value in environment.items() if name not in files}, **secrets}


def hide_secrets(environment: Mapping[str, str]) -> None:
    """Keep the secrets in these variables out of the log and other output of this process."""
    hide(value for name in URLS if (value := environment.get(name, "").strip()) not in {"", "off"})
    hide_values(environment.get(name, "").strip() for name in PASSWORDS)


def _from_file(name: str, environment: Mapping[str, str]) -> str | None:
    variable = f"{name}_FILE"
    path = environment.get(variable, "").strip()
    if not path:
        return None
    if environment.get(name, "").strip():
        raise InvalidSettingError(f"{variable}={path}: not allowed; allowed: one of {name} and {variable}, not both")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode()
    except (OSError, ValueError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or error
        raise InvalidSettingError(f"{variable}={path}: cannot be read ({reason}); allowed: {ALLOWED}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip() or len(content) > MAX_BYTES:
        raise InvalidSettingError(f"{variable}={path}: empty, or too large; allowed: {ALLOWED}")
    return text
