"""The losses of a recovery, as lines of a file beside the new database."""

from typing import Any

import msgspec


class Loss(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row, or an unknown number of rows, that could not be read."""

    table: str
    reason: str
    rowid: int | None = None
    id: str | None = None
    columns: dict[str, Any] | None = None
    """The values of the row that can still be read; bytes that are not UTF-8 are shown as `\\xNN`."""
    after_rowid: int | None = None
    """The row or rows came after this one, …"""
    last_rowid: int | None = None
    """… up to this one."""

    def shown(self) -> str:
        """Return it as one line, without the row's values."""
        if self.after_rowid is None:
            return f"{self.table}, row {self.rowid}{'' if self.id is None else f', id {self.id!r}'}: {self.reason}"
        is_first, is_last = self.after_rowid == -(2**63), self.last_rowid == 2**63 - 1
        begin, end = "the first" if is_first else self.after_rowid + 1, "the last" if is_last else self.last_rowid
        return f"{self.table}, an unknown number of rows from {begin} to {end}: {self.reason}"


class TableOutcome(msgspec.Struct):
    """The outcome for one table's rows."""

    table: str
    recovered: int = 0
    lost: int = 0
    """Rows that are known to be lost."""
    gaps: int = 0
    """Places where an unknown number of rows may be lost."""
    uncertain: int = 0
    """Recovered rows that may have been deleted, or changed, before the damage."""


class RecoveryOutcome(msgspec.Struct, frozen=True):
    """What a recovery has restored and lost."""

    tables: tuple[TableOutcome, ...]
    losses: tuple[Loss, ...]
    notes: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known or suspected to be lost."""
        return not self.losses and not self.notes
