"""The OpenAI Agents SDK's own tests of sessions pass with ours."""

from contrib.upstream.running import run_upstream

FILES = (
    "tests/memory/test_session.py",
    "tests/memory/test_session_context_wrapper.py",
    "tests/memory/test_session_limit.py",
    "tests/memory/test_session_persistence_sanitize.py",
    "tests/test_soft_cancel.py",
)


def test_the_openai_agents_sdks_own_tests_pass_with_our_session() -> None:
    assert run_upstream("openai-agents", "openai_agents_plugin", "-n0", *FILES).passed >= 120
