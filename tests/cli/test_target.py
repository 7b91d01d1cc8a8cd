"""How a database is named in what is printed."""

import pytest

from swarm_persistence.cli.target import shown


@pytest.mark.parametrize(
    ("target", "printed"),
    [
        ("/data/swarm.db", "/data/swarm.db"),
        ("sqlite:///swarm.db", "sqlite:///swarm.db"),
        ("postgresql://host/swarm", "postgresql://host/swarm"),
        ("postgresql://user@host/swarm", "postgresql://user@host/swarm"),
        ("postgresql://user:se@cret@host:5432/swarm?x=1", "postgresql://user:***@host:5432/swarm?x=1"),
        ("postgresql://host/swarm?user=me&password=secret", "postgresql://host/swarm?user=me&password=***"),
        (
            "postgresql://host/swarm?sslkey=/k&sslp%61ssword=secret&schema=s",
            "postgresql://host/swarm?sslkey=/k&sslp%61ssword=***&schema=s",
        ),
        ("postgresql://host/swarm?PASSWD=secret&passfile=/p", "postgresql://host/swarm?PASSWD=***&passfile=/p"),
        ("postgresql://me:se[cret@host/swarm", "postgresql://…"),
        # The password may begin before what looks like the path, the query or the fragment.
        ("postgresql://me:12/secret@host/swarm", "postgresql://…"),
        ("postgresql://me:12?secret@host/swarm", "postgresql://…"),
        ("postgresql://me:12#secret@host/swarm", "postgresql://…"),
    ],
)
def test_a_password_is_never_shown(target: str, printed: str) -> None:
    assert shown(target) == printed
