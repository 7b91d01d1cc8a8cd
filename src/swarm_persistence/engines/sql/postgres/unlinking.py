"""Deletes links, and decrements the counters of the rows that they lead from."""

from typing import ClassVar

from swarm_persistence.engines.sql.statements import CountStatement, Exchange, Statement


class DecrementStatement(Statement, eq=False, gc=False):
    """Decrements counters, then deletes the links; gives their number.

    A long list of dependencies is kept outside its row, so a new version of the row is small. Its lock makes the writes
    that delete the row's last links wait for each other.
    """

    decrement: CountStatement
    delete: CountStatement

    is_single: ClassVar[bool] = False

    def run(self) -> Exchange[int]:
        yield from self.decrement.run()
        deleted: int = yield from self.delete.run()
        return deleted

    def tables_changed(self) -> tuple[str, ...]:
        return (self.decrement.table.name, self.delete.table.name)
