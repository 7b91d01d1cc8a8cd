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
    ],
)
def test_a_password_is_never_shown(target: str, printed: str) -> None:
    assert shown(target) == printed
