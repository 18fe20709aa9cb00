"""What PostgreSQL needs on disk before it starts: its data, its settings, a folder for its socket."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from app.embedded.processes import Owner, as_user
from headrace.errors import StartError

PORT = 5432
INITDB_SECONDS = 120.0
UNFINISHED = "postgres.new-"
# The path of a Unix socket ends at 107 bytes on Linux and at 103 on macOS.
MAX_SOCKET_PATH_BYTES = 103
SETTINGS = """\
# Written anew at each start; ALTER SYSTEM changes what should stay.
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
# One file for each day of the week.
logging_collector = on
log_directory = 'log'
log_filename = 'postgres-%a.log'
log_file_mode = 0640
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
"""
# Who may reach the socket is decided by the mode of its folder.
HBA = "local all all trust\n"


def environment() -> dict[str, str]:
    """What PostgreSQL's programs see: none of the PG… variables of the user."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def make_data(data: Path, programs: Path, owner: Owner | None) -> None:
    """Make the data folder if there is none, whole or not at all. Raises StartError with what initdb says."""
    if data.exists():
        return
    _remove_abandoned(data.parent)
    unfinished = Path(tempfile.mkdtemp(dir=data.parent, prefix=UNFINISHED))
    if owner is not None:
        os.chown(unfinished, *owner)
    made = subprocess.run(  # noqa: S603 - the command is ours
        [
            *(programs / "initdb", "--pgdata", unfinished, "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--data-checksums"),
        ],
        cwd=unfinished,
        env=environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=INITDB_SECONDS,
        **as_user(owner),
    )
    if made.returncode != 0:
        said = (made.stderr.strip() or made.stdout.strip() or f"exit code {made.returncode}").splitlines()[-1]
        raise StartError(f"PostgreSQL cannot make its data in {data}: {said}")
    for unused in ("postgresql.conf", "pg_hba.conf"):
        (unfinished / unused).unlink()
    log_folder = unfinished / "log"
    log_folder.mkdir(mode=0o700)
    if owner is not None:
        os.chown(log_folder, *owner)
    unfinished.rename(data)


def _remove_abandoned(folder: Path) -> None:
    """Remove what an initdb has left that was killed, but not what one may still be at work on."""
    for unfinished in folder.glob(UNFINISHED + "*"):
        if time.time() - unfinished.stat().st_mtime > INITDB_SECONDS:
            shutil.rmtree(unfinished, ignore_errors=True)


def write_settings(data: Path, socket_folder: Path) -> Path:
    """Write the settings beside the data, not in it: what root writes must not lie in another user's folder."""
    settings, hba_file = data.with_name("postgresql.conf"), data.with_name("pg_hba.conf")
    hba_file.write_text(HBA, encoding="utf-8")
    settings.write_text(
        SETTINGS.format(port=PORT, socket_folder=quoted(socket_folder), hba_file=quoted(hba_file)), encoding="utf-8"
    )
    return settings


def quoted(path: Path) -> str:
    """The path as it stands between the quotes of a string in postgresql.conf."""
    return str(path).replace("\\", "\\\\").replace("'", "''")


def socket_folder_for(data: Path) -> Path:
    """The data folder, or, where its path is too long or has characters of lists, a short one for temporary files."""
    return data if _can_hold_socket(data) else _short_folder(data)


def make_socket_folder(folder: Path, owner: Owner | None) -> None:
    """Make the folder for the socket, open to its owner alone.

    Raises StartError when there is one that somebody else has made.
    """
    if not _can_hold_socket(folder):
        raise StartError(f"{folder}: too long, or with a comma, for a socket; set TMPDIR to a folder with a short path")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        uid = os.geteuid() if owner is None else owner.uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
            raise StartError(f"{folder}: is there already and is not PostgreSQL's alone; remove it") from None
    else:
        if owner is not None:
            os.chown(folder, *owner)


def socket_lock_in(folder: Path) -> Path:
    """The file beside the socket in which PostgreSQL leaves its pid."""
    return folder / f".s.PGSQL.{PORT}.lock"


def _can_hold_socket(folder: Path) -> bool:
    path = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return len(path) <= MAX_SOCKET_PATH_BYTES and not set(str(folder)) & set(',"')


def _short_folder(data: Path) -> Path:
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"headrace-{name}"
