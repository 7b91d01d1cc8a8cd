"""Restores a backup: checks it, and replaces the content of the database by it."""

import threading

from swarm_persistence.engines.partial_files import partial_file
from swarm_persistence.engines.sql.sqlite.backup import copy_pages
from swarm_persistence.engines.sql.sqlite.failures import translated
from swarm_persistence.engines.sql.sqlite.offline import check_pages, opened_offline
from swarm_persistence.engines.sql.sqlite.publishing import publish, require_free
from swarm_persistence.engines.stepping import Steps


def restore_pages(
    backup: str, target: str, stop: threading.Event, *, is_overwriting: bool, vfs: str | None = None
) -> Steps[None]:
    """Copy a backup to the path of a database, and report the progress in bytes.

    All numbers are those of the backup. Numbers that an overwritten database assigned after it are not assigned again.

    Raises:
        OtherError: the target exists, and is not to be overwritten, or is the backup.
        DatabaseError: the backup is damaged, or is not a database of this package; or the target is open in any
            process, is another program's database, or cannot be written. It was left as it was.

    """
    with translated(backup, target, 0):
        require_free(target, is_overwriting=is_overwriting, source=backup)
        with partial_file(target) as partial:
            with opened_offline(backup, vfs) as source:
                check_pages(source, backup, stop, is_thorough=True)
                yield from copy_pages(source, partial, vfs)
            publish(partial, is_overwriting=is_overwriting, keeps_numbers=True, vfs=vfs)
