"""Version 10: the functions and triggers by which events, messages and metrics can be partitioned; partitions nothing.

A table is partitioned by its `sequence`, the order of arrival. Each period of time has a range of numbers that it
cannot use up; when the period is over, the sequence continues at the beginning of the next range. A period that begins
late loses nothing: until then, rows go into the previous one. Each partition is created one period ahead.

Within a partition, its own indexes keep ids and keys unique; a trigger searches the other partitions for those of a new
row. It misses none: each insert holds a shared lock until it has committed, and a period begins under the exclusive
one, so concurrent transactions insert into the same partition.

Any role that stores records may call the functions that create and begin the next partition; they run as the schema's
owner.
"""

from swarm_persistence.engines.sql.postgres.arrivals import PLACES

WIDTH = 100_000_000_000
"""The numbers of a period: 1,000,000 a second for a day; and those of 90,000 periods are exact in JSON's doubles."""

INSERTING = 1398231635
"""The upper half of the keys of advisory locks that inserts into a partitioned table hold."""

_KEYS = {"events": ("id", "idempotency_key"), "messages": ("id",), "metrics": ("id",)}
_CONSTRAINTS = {"id": "{table}_id_key", "idempotency_key": "{table}_by_key"}

_TABLES = (
    """
    CREATE TABLE {schema}.partitioned_tables (
      name text PRIMARY KEY CHECK (name IN ('events', 'messages', 'metrics')),
      period text NOT NULL CHECK (period IN ('day', 'week', 'month'))
    )
    """,
    # A partition is created in advance, so that the next period can begin at once.
    """
    CREATE TABLE {schema}.partitions (
      name text PRIMARY KEY,
      parent text NOT NULL,
      lower bigint NOT NULL,
      upper bigint NOT NULL,
      made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      begun_at timestamptz
    )
    """,
)

_ADD_PARTITION = """
CREATE FUNCTION {schema}.add_partition(table_name text, number bigint DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
  last record;
  one record;
  parent regclass;
  partition text;
  options text;
  upper_bound bigint;
BEGIN
  PERFORM FROM {schema}.partitioned_tables WHERE name = table_name FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT * INTO last FROM {schema}.partitions AS made WHERE made.parent = table_name ORDER BY upper DESC LIMIT 1;
  IF number IS NULL THEN
    upper_bound := last.upper + {width};
    IF last.begun_at IS NULL THEN
      RETURN false;
    END IF;
  ELSE
    upper_bound := (number / {width} + 1) * {width};
    IF number < last.upper THEN
      RETURN false;
    END IF;
  END IF;
  parent := format('%s.%I', '{schema}', table_name)::regclass;
  partition := table_name || '_p' || last.upper / {width};
  SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' INTO options
  FROM pg_class WHERE oid = format('%s.%I', '{schema}', last.name)::regclass;
  EXECUTE format(
    'CREATE TABLE %s.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)%s',
    '{schema}', partition, parent, options
  );
  FOR one IN
    SELECT relname, substring(pg_get_indexdef(indexrelid) FROM ' USING .*') AS definition
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = format('%s.%I', '{schema}', last.name)::regclass AND indisunique AND NOT indisprimary
  LOOP
    EXECUTE format(
      'CREATE UNIQUE INDEX %I ON %s.%I%s',
      partition || substring(one.relname FROM length(last.name) + 1), '{schema}', partition, one.definition
    );
  END LOOP;
  FOR one IN
    SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee, privilege_type
    FROM pg_class, aclexplode(relacl)
    WHERE pg_class.oid = parent AND grantee <> relowner
  LOOP
    EXECUTE format('GRANT %s ON %s.%I TO %s', one.privilege_type, '{schema}', partition, one.grantee);
  END LOOP;
  EXECUTE format(
    'ALTER TABLE %s ATTACH PARTITION %s.%I FOR VALUES FROM (%s) TO (%s)',
    parent, '{schema}', partition, last.upper, upper_bound
  );
  INSERT INTO {schema}.partitions (name, parent, lower, upper) VALUES (partition, table_name, last.upper, upper_bound);
  IF number IS NOT NULL THEN
    UPDATE {schema}.partitions AS made SET begun_at = clock_timestamp()
    WHERE made.parent = table_name AND begun_at IS NULL;
  END IF;
  RETURN true;
END
$$
"""

# A statement that has begun before a partition was attached does not know it: so none begins that is younger than any
# statement may be that waits for its lock. The locks of `arrivals` tell a number modulo PLACES, and its distance from
# another: so the sequence leaps by a multiple of that.
_BEGIN_PARTITION = """
CREATE FUNCTION {schema}.begin_partition(table_name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
  numbers regclass;
  border timestamptz;
  last bigint;
  following record;
BEGIN
  SELECT ends_at INTO border FROM {schema}.current_periods() AS current WHERE current.table_name = $1;
  SELECT made.* INTO following
  FROM {schema}.partitions AS made
  WHERE parent = table_name AND begun_at IS NULL AND made_at < clock_timestamp() - interval '1 minute'
  ORDER BY lower LIMIT 1;
  IF NOT FOUND OR clock_timestamp() < border THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(
    ({inserting}::bigint << 32) | ('{schema}.' || quote_ident(table_name))::regclass::oid::bigint
  );
  UPDATE {schema}.partitions SET begun_at = clock_timestamp() WHERE name = following.name AND begun_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  numbers := pg_get_serial_sequence('{schema}.' || quote_ident(table_name), 'sequence')::regclass;
  last := coalesce(pg_sequence_last_value(numbers), 0);
  IF last < following.lower THEN
    PERFORM setval(numbers, following.lower + ((last - following.lower) % {places} + {places}) % {places});
  END IF;
  RETURN true;
END
$$
"""

# Periods begin at midnight UTC.
_CURRENT_PERIODS = """
CREATE FUNCTION {schema}.current_periods()
RETURNS TABLE (table_name text, period text, ends_at timestamptz, has_next boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT
    parent,
    period,
    (date_trunc(period, max(begun_at) AT TIME ZONE 'UTC') + ('1 ' || period)::interval) AT TIME ZONE 'UTC',
    bool_or(begun_at IS NULL)
  FROM {schema}.partitions JOIN {schema}.partitioned_tables ON partitioned_tables.name = parent
  GROUP BY parent, period
$$
"""

_ENTER_PARTITION = """
CREATE FUNCTION {schema}.enter_partition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock_shared(({inserting}::bigint << 32) | TG_RELID::bigint);
  RETURN NULL;
END
$$
"""

# LIMIT, and no sequential scans: so that each one is looked up in the indexes, whatever the statistics say. That makes
# a plan look so expensive that the server would compile it. Ids that begin with the time, as ours do, lie behind all
# those of the partitions before, which one look at each shows.
_REFUSE_KNOWN = """
CREATE FUNCTION {schema}.refuse_known_{table}() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  first_added bigint;
  border bigint;
  taken text;
BEGIN
  SELECT min(sequence) INTO first_added FROM added;
  SELECT max(lower) INTO border FROM {schema}.partitions
  WHERE parent = '{table}' AND lower <= (SELECT max(sequence) FROM {schema}.{table});
  {looks}
  RETURN NULL;
END
$$
"""
_LOOK = """
  IF first_added < border THEN
    -- Rows that were brought along with their numbers: they may be anywhere.
    SELECT added.{field} INTO taken
    FROM added CROSS JOIN LATERAL (
      SELECT FROM {schema}.{table} AS stored
      WHERE stored.{field} = added.{field} AND stored.sequence <> added.sequence
      LIMIT 1
    ) AS found
    LIMIT 1;
  ELSIF border > 0 AND (SELECT min({field}) FROM added)
    <= (SELECT max({field}) FROM {schema}.{table} WHERE sequence < border)
  THEN
    SELECT added.{field} INTO taken
    FROM added CROSS JOIN LATERAL (
      SELECT FROM {schema}.{table} AS stored WHERE stored.{field} = added.{field} AND stored.sequence < border LIMIT 1
    ) AS found
    LIMIT 1;
  END IF;
  IF taken IS NOT NULL THEN
    RAISE unique_violation USING
      MESSAGE = 'another partition of {table} holds this {field}', DETAIL = format('({field})=(%s)', taken),
      SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = '{constraint}';
  END IF;
"""


def _filled(text: str) -> str:
    return text.replace("{width}", str(WIDTH)).replace("{inserting}", str(INSERTING)).replace("{places}", str(PLACES))


def _refuse_known(table: str) -> str:
    looks = "".join(
        _LOOK.replace("{field}", field).replace("{constraint}", _CONSTRAINTS[field]) for field in _KEYS[table]
    )
    return _REFUSE_KNOWN.replace("{looks}", looks.strip()).replace("{table}", table)


UP = (
    *_TABLES,
    _CURRENT_PERIODS,
    _filled(_ADD_PARTITION),
    _filled(_BEGIN_PARTITION),
    _filled(_ENTER_PARTITION),
    *(_refuse_known(table) for table in _KEYS),
)

_REQUIRE_NONE = """
DO $$ BEGIN
  IF EXISTS (SELECT FROM {schema}.partitioned_tables) THEN
    RAISE EXCEPTION 'tables are partitioned; run swarm-persistence partition --by none before';
  END IF;
END $$
"""

DOWN = (
    _REQUIRE_NONE,
    *(f"DROP FUNCTION {{schema}}.refuse_known_{table}()" for table in _KEYS),
    "DROP FUNCTION {schema}.enter_partition()",
    "DROP FUNCTION {schema}.begin_partition(text)",
    "DROP FUNCTION {schema}.add_partition(text, bigint)",
    "DROP FUNCTION {schema}.current_periods()",
    "DROP TABLE {schema}.partitions",
    "DROP TABLE {schema}.partitioned_tables",
)
