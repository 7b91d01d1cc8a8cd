"""The verbs that answer an operator's questions: what a storage holds, counted by the engine."""

from typing import Any, cast

from swarm_persistence.engines.reads import Aggregate, AggregateFunction
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.query.builder import QueryBuilder, comparable_column
from swarm_persistence.query.query import Query, without_expired
from swarm_persistence.schema.decoding import column_decoder
from swarm_persistence.schema.tables import M, Table
from swarm_persistence.storage.core import StorageCore

_COUNT = (AggregateFunction("count"),)


class OverviewVerbs(StorageCore):
    """Counts of records by their fields."""

    async def count_by(self, records: type[M] | QueryBuilder[M], *fields: str) -> dict[tuple[Any, ...], int]:
        """Count the records of a model, or those that match a query, for each combination of these fields' values.

        The engine groups them in one query; no record is read. The keys hold the values in the order of `fields`, as a
        record has them (enum members, datetimes, `None`), and are sorted, `None` first. A combination that no record
        has is left out.

        Raises:
            InvalidQueryError: no field, one that is unknown, given twice or holds JSON or bytes, or a query with an
                order, a limit or an offset.
            UnreadableError: a stored value cannot be read back.

        """
        query = _query_of(records)
        names = _names(query.table, fields)
        decoders = [column_decoder(query.table, name) for name in names]
        rows = await self._executor().read(Aggregate(query, names, _COUNT))
        return {
            tuple([decode(value) for decode, value in zip(decoders, row, strict=False)]): cast(int, row[-1])
            for row in rows
        }


def _query_of(records: type[M] | QueryBuilder[M]) -> Query[M]:
    query = (records if isinstance(records, QueryBuilder) else QueryBuilder(records)).query
    if query.order or query.limit is not None or query.offset:
        raise InvalidQueryError("all records that match a query are counted; leave order, limit and offset")
    return without_expired(query)


def _names(table: Table[Any], fields: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple([comparable_column(table, field).name for field in fields])
    if not names:
        raise InvalidQueryError("fields is empty, expected one at least; `Repository.count` counts without fields")
    if len(set(names)) < len(names):
        raise InvalidQueryError(f"fields is {shown(names)}, expected each one once")
    return names
