"""Why PostgreSQL refuses a connection for a reason that no wait cures: then a start cannot succeed."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from asyncpg import exceptions as pg

from headrace.errors import StartError
from headrace.process.action_log import in_words

TLS_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
NO_TLS = "rejected SSL upgrade"
# The connection broke during or after the handshake; nothing was refused.
_BROKEN = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_BROKEN_REASONS = frozenset({"TLSV1_ALERT_INTERNAL_ERROR", "TLSV1_ALERT_USER_CANCELLED"})
_OWN_FILES = frozenset({"X509", "PEM", "ASN1", "DECODER"})


def refusal(error: BaseException, dsn: str) -> StartError | None:
    """What is wrong and what to do, for an error of a connect; None if PostgreSQL is away, and may come back."""
    reason = _reason(error, dsn)
    return StartError(" ".join(reason.split())) if reason else None


def explained(error: BaseException) -> str:
    """An error of a connection, for the log of a worker that waits: what is wrong with TLS in plain words."""
    return _tls_reason(error) or in_words(error)


def no_rights(error: pg.InsufficientPrivilegeError) -> StartError:
    """The same, for a migration that the role must not apply."""
    return StartError(
        f"PostgreSQL refuses a migration: {error}. Let the role of DATABASE_URL own the schema and its tables, or "
        "apply the migrations with a role that may: faust -A app migrate"
    )


def _reason(error: BaseException, dsn: str) -> str:  # noqa: PLR0911 - a case for each
    if tls := _tls_reason(error):
        return tls
    match error:
        case OSError() if missing := _missing_file(dsn):
            return f"TLS to PostgreSQL: the file {missing} of DATABASE_URL cannot be read. Correct its path or its mode"
        case pg.InvalidAuthorizationSpecificationError():
            return f"PostgreSQL refuses the login: {error}. Correct the user, the password or the host in DATABASE_URL"
        case pg.InvalidCatalogNameError():
            return f"PostgreSQL: {error}. Create the database, or correct its name in DATABASE_URL"
        case pg.InsufficientPrivilegeError():
            return f"PostgreSQL refuses the connection: {error}. GRANT CONNECT ON DATABASE to the role of DATABASE_URL"
        case pg.ClientConfigurationError():
            return f"TLS to PostgreSQL: {in_words(error)}. Correct sslmode or sslrootcert in DATABASE_URL"
        case _:
            return ""


def _tls_reason(error: BaseException) -> str:
    """What is wrong with TLS, that no wait cures; empty for any other error, and for a connection that broke."""
    if isinstance(error, ConnectionError) and NO_TLS in str(error):
        return f"PostgreSQL has no TLS: {error}. Set ssl=on there, or correct sslmode in DATABASE_URL"
    # PostgreSQL refuses a client's certificate only after the handshake: asyncpg reports a lost connection.
    found = error if isinstance(error, ssl.SSLError) else error.__cause__
    if not isinstance(found, ssl.SSLError) or isinstance(found, _BROKEN) or found.reason in _BROKEN_REASONS:
        return ""
    if isinstance(found, ssl.SSLCertVerificationError):
        return (
            f"TLS to PostgreSQL: its certificate is not accepted ({found.verify_message.rstrip('.')}). Correct "
            "sslrootcert (or PGSSLROOTCERT), the host or sslmode in DATABASE_URL, or the server's certificate"
        )
    reason = (found.reason or str(found)).lower().replace("_", " ")
    if "alert" in reason and found is not error:
        return f"TLS to PostgreSQL: it refuses this client's certificate ({reason}). Correct sslcert and sslkey"
    if found.library in _OWN_FILES:
        return f"TLS to PostgreSQL: a file of sslrootcert, sslcert, sslkey or sslcrl cannot be used ({reason})"
    return f"TLS to PostgreSQL: {reason}. Correct sslmode in DATABASE_URL, or the TLS of the server"


def _missing_file(dsn: str) -> str:
    """The first file that cannot be read, with the parameter or the variable that names it."""
    parameters = parse_qs(urlsplit(dsn).query)
    for name in TLS_FILES:
        variable = f"PG{name.upper()}"
        named = [(name, path) for path in parameters.get(name, ())] or [(variable, os.environ.get(variable, ""))]
        for source, path in named:
            try:
                if path:
                    Path(path).open("rb").close()
            except OSError:
                return f"{source}={path}"
    return ""
