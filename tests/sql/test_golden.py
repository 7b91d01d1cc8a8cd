"""The statements of every verb, as they reach SQLite, are those that a reviewer has read.

`SWARM_WRITE_GOLDEN=1 pytest tests/sql/test_golden.py` writes them anew.
"""

import os
from pathlib import Path

import pytest

from sql.verbs import VERBS
from sqlite.tracing import Watch
from swarm_persistence import SqliteStorage

GOLDEN = Path(__file__).parent / "golden"
IS_WRITING = "SWARM_WRITE_GOLDEN" in os.environ


class TestGolden:
    @pytest.mark.parametrize("verb", VERBS)
    async def test_the_statements_of_a_verb_are_the_known_ones(
        self, filled: SqliteStorage, watch: Watch, verb: str
    ) -> None:
        await VERBS[verb](filled)

        # The writer looks for other processes' commits whenever it comes to it.
        statements = [statement for statement in watch.statements if statement != "PRAGMA data_version"]
        text = "".join(f"{statement};\n\n" for statement in statements).rstrip("\n") + "\n"
        if IS_WRITING:
            (GOLDEN / f"{verb}.sql").write_text(text)
        assert text == (GOLDEN / f"{verb}.sql").read_text()

    def test_there_are_no_others(self) -> None:
        assert {file.stem for file in GOLDEN.iterdir()} == set(VERBS)
