"""Version 9: events and messages are stored concurrently, and commit in any order.

Code of earlier versions keeps working, and its writes are correct. But its watchers of events and messages
(`watch_events`, `watch_messages`), its readers by sequence (`read_events`) and its `mark_messages_read` may miss a
record that commits after one with a higher number: upgrade these first.
"""

from swarm_persistence.engines.sql.postgres.arrivals import PLACES

_HALF = PLACES // 2
_NUMBERED = ("events", "messages")


def _signed(number: str) -> str:
    """Return the same as `arrivals.signed`, of a number that is not negative and without an operator to look up."""
    return (
        f"pg_catalog.int4(pg_catalog.int8mi(pg_catalog.int8mod(pg_catalog.int8pl({number}, {_HALF}::bigint), "
        f"{PLACES}::bigint), {_HALF}::bigint))"
    )


_APPEND_IN_TURN = """
CREATE FUNCTION {schema}.append_in_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock((1398231632::bigint << 32) | TG_RELID::bigint);
  RETURN NULL;
END
$$
"""

# Once a transaction and table: the first lock tells of all numbers that come later. As the owner, since a role that may
# insert need not have a right to the sequence; so nothing here is looked up in the caller's search path.
_TAKE_PLACE = f"""
CREATE FUNCTION {{schema}}.take_place() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  mark CONSTANT pg_catalog.text := pg_catalog.concat('swarm_persistence.place_', TG_RELID);
BEGIN
  IF pg_catalog.length(pg_catalog.current_setting(mark, true)) OPERATOR(pg_catalog.>) 0 THEN
    RETURN NULL;
  END IF;
  PERFORM pg_catalog.set_config(mark, 'taken', true);
  PERFORM pg_catalog.pg_advisory_xact_lock_shared(
    {_signed("pg_catalog.int8(TG_RELID)")},
    {
    _signed(
        "coalesce(pg_catalog.pg_sequence_last_value(pg_catalog.pg_get_serial_sequence("
        "TG_RELID::pg_catalog.regclass::pg_catalog.text, 'sequence')::pg_catalog.regclass), 0::bigint)"
    )
}
  );
  PERFORM pg_catalog.pg_logical_emit_message(true, 'swarm-persistence', '');
  RETURN NULL;
END
$$
"""


def _trigger(name: str, table: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE INSERT ON {{schema}}.{table}\n"
        f"FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.{name}()"
    )


UP = (
    _TAKE_PLACE,
    *(_trigger("take_place", table) for table in _NUMBERED),
    *(f"DROP TRIGGER append_in_turn ON {{schema}}.{table}" for table in _NUMBERED),
    "DROP FUNCTION {schema}.append_in_turn()",
)

DOWN = (
    _APPEND_IN_TURN,
    *(_trigger("append_in_turn", table) for table in _NUMBERED),
    *(f"DROP TRIGGER take_place ON {{schema}}.{table}" for table in _NUMBERED),
    "DROP FUNCTION {schema}.take_place()",
)
