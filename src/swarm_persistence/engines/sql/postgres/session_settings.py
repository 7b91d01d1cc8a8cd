"""The session settings that our statements need, whatever the defaults of server, database and role are.

A role's `search_path` could replace every function and operator, its `synchronous_commit` could lose what was
acknowledged, and its limits could end our connections. A session of our own is set up once. A pooler
shares sessions among clients, which may have changed their settings: there, each transaction is set up in the message
that begins it.

Unchanged are `default_transaction_read_only`, which deliberately keeps a role or a full server from writing, and
settings that only affect performance.
"""

from swarm_persistence.engines.sql.postgres.settings import PostgresSettings

_GRACE_SECONDS = 2.0
"""How much later than the client the server ends a transaction: the client can state the reason."""

_MOST_DURABLE = "remote_apply"
"""The only value of synchronous_commit that is stronger than `on`."""
_AT_LEAST_ON = f"CASE current_setting('synchronous_commit') WHEN '{_MOST_DURABLE}' THEN '{_MOST_DURABLE}' ELSE 'on' END"

DEFAULT_COMMIT = "SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
"""The default of the role's sessions, regardless of a client's own settings."""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_SEARCH_PATH = "pg_catalog, pg_temp"
"""No schema, since our statements are qualified and one session serves several schemas. Temporary objects come last;
unless named, they come first. Set by a statement of its own, so that later ones resolve names by it."""

_SNAPSHOT_IDLE_SECONDS = 600.0
"""How long a snapshot may idle between reads: its reader may write the rows to slow storage."""


class SessionSettings:
    """The settings for sessions on a server of one version."""

    def __init__(self, settings: PostgresSettings, server_version: int) -> None:
        # A client that was stopped must not hold its locks: the server ends its transaction after this time.
        idle = settings.transaction_timeout + _GRACE_SECONDS
        self.longest_wait_for_a_lock = _wait_for_a_lock(settings, idle)
        limits = {
            "lock_timeout": self.longest_wait_for_a_lock,
            "idle_in_transaction_session_timeout": idle,
            # How long a statement may take is the client's to decide, and some of ours may take any time.
            "statement_timeout": 0,
        }
        self._is_durable = settings.durability == "full"
        self._of_transactions = {
            "synchronous_commit": "'on'" if self._is_durable else "'off'",
            "timezone": "'UTC'",
            "standard_conforming_strings": "'on'",
            "row_security": "'on'",
            **{name: f"'{_milliseconds(seconds)}'" for name, seconds in limits.items()},
        }
        # Settings that do not affect our statements are not set in each transaction, which would take time.
        self._of_session = {
            **self._of_transactions,
            "synchronous_commit": _AT_LEAST_ON if self._is_durable else "'off'",
            "datestyle": "'ISO, MDY'",
            "intervalstyle": "'postgres'",
            "bytea_output": "'hex'",
            "default_transaction_isolation": "'read committed'",
            "default_transaction_deferrable": "'off'",
        }
        if server_version >= 14:
            self._of_session["idle_session_timeout"] = "'0'"  # idle_timeout says when an idle connection is closed
        self._callers_limit = ""
        if server_version >= 17:
            self._callers_limit = f"; SET LOCAL transaction_timeout = {_milliseconds(idle)}"

    def take_default(self, synchronous_commit: str) -> None:
        """Learn the default of a role's sessions, so that no transaction is less durable than it.

        Transactions that set up a shared session cannot read it there, as another client may have changed it.
        """
        if self._is_durable and synchronous_commit == _MOST_DURABLE:
            self._of_transactions["synchronous_commit"] = f"'{_MOST_DURABLE}'"

    def for_session(self) -> str:
        """Return the text that sets up a session of our own."""
        return f"SET search_path = {_SEARCH_PATH}; {_set_config(self._of_session, 'false')}"

    def for_transaction(self) -> str:
        """Return the statement that sets up a transaction whose only other statement follows it at once.

        It fails before anything is done if the transaction has another isolation level.
        """
        # With pg_catalog's functions, and no operators: another client's path may lead to others.
        values = {
            "transaction_isolation": "'read committed'",
            "search_path": f"'{_SEARCH_PATH}'",
            **self._of_transactions,
        }
        return _set_config(values, "true")

    def begin(self, *, sets_up: bool, text: str = _BEGIN) -> str:
        """Return the text that begins a transaction of ours, and sets it up if the session is shared."""
        if not sets_up:
            return text
        # Separate SET LOCALs: set_config takes the server three times as long.
        settings = (f"SET LOCAL {name} = {value}" for name, value in self._of_transactions.items())
        return "; ".join((text, f"SET LOCAL search_path = {_SEARCH_PATH}", *settings))

    def begin_for_caller(self, *, sets_up: bool) -> str:
        """Return the text that begins a caller's transaction, with a time limit if the server supports one."""
        return self.begin(sets_up=sets_up) + self._callers_limit

    def begin_snapshot(self, hold: str, *, sets_up: bool) -> str:
        """Return the text that begins a snapshot transaction; the snapshot is taken after `hold` has run."""
        idle = f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(_SNAPSHOT_IDLE_SECONDS)}"
        # Its snapshot is taken by its first query.
        return f"{self.begin(sets_up=sets_up, text=_BEGIN_SNAPSHOT)}; {idle}; {hold}; SELECT pg_current_snapshot()"


def _set_config(values: dict[str, str], is_local: str) -> str:
    return "SELECT " + ", ".join(
        f"pg_catalog.set_config('{name}', {value}, {is_local})" for name, value in values.items()
    )


def _wait_for_a_lock(settings: PostgresSettings, idle: float) -> float:
    # An operation that is ready to wait for a whole transaction must outwait that of a stopped client, too: until the
    # server has ended it.
    if settings.connection_timeout < settings.transaction_timeout:
        return settings.connection_timeout
    return max(settings.connection_timeout, idle + _GRACE_SECONDS)


def _milliseconds(seconds: float) -> int:
    # A server has 32 bits for it: longer limits are cut to 24 days.
    return max(1, min(round(seconds * 1000), 2**31 - 1)) if seconds else 0
