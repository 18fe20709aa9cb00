"""The files that PostgreSQL needs before it starts: its data, its settings, a folder for its socket."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from app.embedded.processes import Owner, output_of_failure, remove_abandoned
from headrace.errors import StartError

PORT = 5432
INITDB_SECONDS = 120.0
UNFINISHED = "postgres.new-"
# The path of a Unix socket has at most 107 bytes on Linux and 103 on macOS.
MAX_SOCKET_PATH_BYTES = 103
SETTINGS = """\
# Overwritten at each start; use ALTER SYSTEM for permanent changes.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_folder}'
unix_socket_permissions = 0700
hba_file = '{hba_file}'
max_connections = 100
shared_buffers = 128MB
wal_compression = on
max_wal_size = 2GB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
# A file for each day of the week.
logging_collector = on
log_directory = 'log'
log_filename = 'postgres-%a.log'
log_file_mode = 0640
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
"""
# The mode of the socket's folder decides who may connect.
HBA = "local all all trust\n"


def environment() -> dict[str, str]:
    """Environment variables for PostgreSQL's programs, without the user's PG… variables."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def make_data(data: Path, programs: Path, owner: Owner | None) -> None:
    """Create the data folder if there is none, atomically. Raises StartError with initdb's message."""
    if data.exists():
        return
    remove_abandoned(data.parent, UNFINISHED, seconds=INITDB_SECONDS)
    unfinished = Path(tempfile.mkdtemp(dir=data.parent, prefix=UNFINISHED))
    if owner is not None:
        os.chown(unfinished, *owner)
    output = output_of_failure(
        [
            *(programs / "initdb", "--pgdata", unfinished, "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--data-checksums"),
        ],
        folder=unfinished,
        environment=environment(),
        seconds=INITDB_SECONDS,
        owner=owner,
    )
    if output:
        raise StartError(f"initdb failed in {data}: {output[-1]}")
    for unused in ("postgresql.conf", "pg_hba.conf"):
        (unfinished / unused).unlink()
    log_folder = unfinished / "log"
    log_folder.mkdir(mode=0o700)
    if owner is not None:
        os.chown(log_folder, *owner)
    unfinished.rename(data)


def write_settings(data: Path, socket_folder: Path) -> Path:
    """Write the settings beside the data folder, because root must not write into another user's folder."""
    settings, hba_file = data.with_name("postgresql.conf"), data.with_name("pg_hba.conf")
    hba_file.write_text(HBA, encoding="utf-8")
    settings.write_text(
        SETTINGS.format(port=PORT, socket_folder=quoted(socket_folder), hba_file=quoted(hba_file)), encoding="utf-8"
    )
    return settings


def quoted(path: Path) -> str:
    """The path, escaped for a quoted string in postgresql.conf."""
    return str(path).replace("\\", "\\\\").replace("'", "''")


def socket_folder_for(data: Path) -> Path:
    """The data folder, or a short temporary folder if the path is too long or contains a comma or a quote."""
    return data if _can_hold_socket(data) else _short_folder(data)


def make_socket_folder(folder: Path, owner: Owner | None) -> None:
    """Create the folder for the socket, accessible to its owner only.

    Raises StartError if the path is unusable, or if the folder exists and belongs to another user.
    """
    if not _can_hold_socket(folder):
        raise StartError(f"{folder}: too long for a socket, or contains a comma; set TMPDIR to a short path")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        uid = os.geteuid() if owner is None else owner.uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
            raise StartError(f"{folder}: already exists and does not belong to PostgreSQL alone; remove it") from None
    else:
        if owner is not None:
            os.chown(folder, *owner)


def socket_lock_in(folder: Path) -> Path:
    """The file beside the socket to which PostgreSQL writes its pid."""
    return folder / f".s.PGSQL.{PORT}.lock"


def _can_hold_socket(folder: Path) -> bool:
    path = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return len(path) <= MAX_SOCKET_PATH_BYTES and not set(str(folder)) & set(',"')


def _short_folder(data: Path) -> Path:
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"headrace-{name}"
