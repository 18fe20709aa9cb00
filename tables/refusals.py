"""Why PostgreSQL refuses a connection for a reason that no wait cures: then a start cannot succeed."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from asyncpg import exceptions as pg

from headrace.errors import StartError
from headrace.process.action_log import in_words

TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
NO_TLS = "rejected SSL upgrade"


def refusal(error: BaseException, dsn: str) -> StartError | None:
    """What is wrong and what to do, for an error of a connect; None if PostgreSQL is away, and may come back."""
    reason = _reason(error, dsn)
    return StartError(" ".join(reason.split())) if reason else None


def no_rights(error: pg.InsufficientPrivilegeError) -> StartError:
    """The same, for a migration that the role must not apply."""
    return StartError(
        f"PostgreSQL refuses a migration: {error}. Let the role of DATABASE_URL own the schema and its tables, or "
        "apply the migrations with a role that may: faust -A app migrate"
    )


def _reason(error: BaseException, dsn: str) -> str:  # noqa: PLR0911 - a case for each
    match error:
        case OSError() if missing := _missing_file(dsn):
            return f"TLS to PostgreSQL: the file {missing} of DATABASE_URL cannot be read. Correct its path or its mode"
        case pg.InvalidAuthorizationSpecificationError():
            return f"PostgreSQL refuses the login: {error}. Correct the user, the password or the host in DATABASE_URL"
        case pg.InvalidCatalogNameError():
            return f"PostgreSQL: {error}. Create the database, or correct its name in DATABASE_URL"
        case pg.InsufficientPrivilegeError():
            return f"PostgreSQL refuses the connection: {error}. GRANT CONNECT ON DATABASE to the role of DATABASE_URL"
        case pg.ClientConfigurationError() | ssl.SSLError():
            return f"TLS to PostgreSQL: {in_words(error)}. Correct sslmode or sslrootcert in DATABASE_URL"
        case ConnectionError() if NO_TLS in str(error):
            return f"PostgreSQL has no TLS: {error}. Correct sslmode in DATABASE_URL"
        case _:
            return ""


def _missing_file(dsn: str) -> str:
    parameters = parse_qs(urlsplit(dsn).query)
    for name in TLS_FILES:
        for path in parameters.get(name, ()):
            try:
                Path(path).open("rb").close()
            except OSError:
                return f"{name}={path}"
    return ""
