"""LangGraph's own tests of graphs pass with our saver."""

import pytest

from contrib.upstream.running import run_upstream

FEWEST = 648
"""The tests of LangGraph 1.1 that take a checkpointer; later versions have more."""

PART = ("test_checkpoint_migration", "test_interruption", "test_subgraph_persistence_async", "test_time_travel_async")


def test_a_part_of_langgraphs_own_tests_passes_with_our_saver() -> None:
    files = [f"tests/{name}.py" for name in PART]

    assert run_upstream("langgraph", "langgraph_plugin", "-n0", *files, NO_DOCKER="true").passed >= 84


@pytest.mark.frameworks
def test_langgraphs_own_tests_pass_with_our_saver() -> None:
    assert run_upstream("langgraph", "langgraph_plugin", "-n2", NO_DOCKER="true").passed >= FEWEST
