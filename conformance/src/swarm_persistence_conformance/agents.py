"""Facts about agents."""

import pytest

from swarm_persistence import AgentModel, AgentStatus, ConflictError, InvalidQueryError, NotFoundError, Storage
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.records import after, an_agent, ids


@pytest.mark.asyncio
class TestAgents:
    """The contract of the agent verbs."""

    async def test_a_new_agent_can_be_stored_and_read(self, storage: Storage) -> None:
        agent = AgentModel.new("worker-001", "researcher", ["analysis"])

        await storage.store_agent(agent)

        assert await storage.get_agent(agent.id) == agent

    async def test_an_agent_that_was_never_stored_is_none(self, storage: Storage) -> None:
        assert await storage.get_agent("agent-123") is None

    async def test_storing_gives_the_callers_agent_its_first_version(self, storage: Storage) -> None:
        agent = an_agent()

        await storage.store_agent(agent)

        assert agent.version == 1

    async def test_a_known_id_is_refused_with_model_and_id(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        with pytest.raises(ConflictError, match=r"^Conflict: .*agent 'agent-1'"):
            await storage.store_agent(an_agent(name="another"))

    async def test_a_refused_duplicate_leaves_the_stored_agent_as_it_is(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)

        with pytest.raises(ConflictError):
            await storage.store_agent(an_agent(name="another"))

        assert await storage.get_agent("agent-1") == agent

    async def test_a_refused_duplicate_keeps_the_version_of_the_callers_agent(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        duplicate = an_agent(name="another")

        with pytest.raises(ConflictError):
            await storage.store_agent(duplicate)

        assert duplicate.version == 0

    async def test_an_update_replaces_every_field(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        changed = an_agent(
            name="renamed",
            agent_type="coder",
            status=AgentStatus.PAUSED,
            capabilities=["x"],
            metadata={"k": 1},
            heartbeat=after(1),
            created_at=after(2),
            updated_at=after(3),
            version=1,
        )

        await storage.update_agent(changed)

        assert await storage.get_agent("agent-1") == changed

    async def test_an_agent_that_was_read_can_be_changed_and_updated(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_agent(an_agent())
        agent = await storage.get_agent("agent-1")
        assert agent is not None

        agent.set_status(AgentStatus.BUSY)
        await storage.update_agent(agent)

        stored = await storage.get_agent("agent-1")
        assert stored == an_agent(status=AgentStatus.BUSY, updated_at=clock.now(), version=2)

    async def test_an_update_raises_the_version_of_the_callers_agent(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)

        await storage.update_agent(agent)
        await storage.update_agent(agent)

        assert agent.version == 3

    async def test_updating_a_missing_agent_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match=r"^Not found: agent 'agent-1'"):
            await storage.update_agent(an_agent())

    async def test_updating_a_missing_agent_stores_nothing(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError):
            await storage.update_agent(an_agent())

        assert await storage.list_agents() == []

    async def test_forcing_the_update_of_a_missing_agent_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError):
            await storage.update_agent(an_agent(), force=True)

    async def test_a_copy_that_is_out_of_date_is_refused(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)
        stale = await storage.get_agent("agent-1")
        assert stale is not None
        await storage.update_agent(agent)

        with pytest.raises(ConflictError, match=r"agent 'agent-1' .*version 2.* has 1"):
            await storage.update_agent(stale)

    async def test_a_refused_copy_changes_nothing(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)
        await storage.update_agent(agent)
        stale = an_agent(name="stale", version=1)

        with pytest.raises(ConflictError):
            await storage.update_agent(stale)

        assert (await storage.get_agent("agent-1"), stale.version) == (agent, 1)

    async def test_a_version_of_the_future_is_refused(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())

        with pytest.raises(ConflictError):
            await storage.update_agent(an_agent(version=7))

    async def test_force_overwrites_a_newer_agent(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)
        await storage.update_agent(agent)
        stale = an_agent(name="stale", version=1)

        await storage.update_agent(stale, force=True)

        assert await storage.get_agent("agent-1") == an_agent(name="stale", version=3)

    async def test_force_tells_the_callers_agent_its_new_version(self, storage: Storage) -> None:
        agent = an_agent()
        await storage.store_agent(agent)
        await storage.update_agent(agent)
        stale = an_agent(name="stale", version=1)

        await storage.update_agent(stale, force=True)

        assert stale.version == 3

    async def test_agents_are_listed_newest_first(self, storage: Storage) -> None:
        for id, age in (("b", 2), ("c", 3), ("a", 1)):
            await storage.store_agent(an_agent(id, created_at=after(age)))

        assert ids(await storage.list_agents()) == ["c", "b", "a"]

    async def test_agents_of_one_moment_are_listed_latest_arrival_first(self, storage: Storage) -> None:
        for id in ("m", "z", "a"):
            await storage.store_agent(an_agent(id))

        assert ids(await storage.list_agents()) == ["a", "z", "m"]

    async def test_an_update_does_not_change_an_agents_place_among_equals(self, storage: Storage) -> None:
        first, second = an_agent("first"), an_agent("second")
        await storage.store_many([first, second])

        await storage.update_agent(first)

        assert ids(await storage.list_agents()) == ["second", "first"]

    async def test_an_empty_storage_lists_no_agents(self, storage: Storage) -> None:
        assert await storage.list_agents() == []

    async def test_agents_are_listed_by_status_newest_first(self, storage: Storage) -> None:
        await storage.store_agent(an_agent("old", status=AgentStatus.ACTIVE))
        await storage.store_agent(an_agent("idle", status=AgentStatus.IDLE, created_at=after(1)))
        await storage.store_agent(an_agent("new", status=AgentStatus.ACTIVE, created_at=after(2)))

        assert ids(await storage.list_agents_by_status("active")) == ["new", "old"]

    @pytest.mark.parametrize("status", list(AgentStatus))
    async def test_a_status_may_be_given_as_member_or_as_text(self, storage: Storage, status: AgentStatus) -> None:
        await storage.store_agent(an_agent(status=status))

        by_member = await storage.list_agents_by_status(status)

        assert ids(by_member) == ids(await storage.list_agents_by_status(status.value)) == ["agent-1"]

    async def test_an_updated_status_shows_in_the_list_by_status(self, storage: Storage) -> None:
        agent = an_agent(status=AgentStatus.IDLE)
        await storage.store_agent(agent)

        agent.status = AgentStatus.BUSY
        await storage.update_agent(agent)

        assert await storage.list_agents_by_status("idle") == []
        assert ids(await storage.list_agents_by_status("busy")) == ["agent-1"]

    async def test_an_unknown_status_is_refused_with_the_known_ones(self, storage: Storage) -> None:
        known = "initializing, active, idle, busy, paused, error, shutdown"
        with pytest.raises(InvalidQueryError, match=rf"'sleepy'.*{known}"):
            await storage.list_agents_by_status("sleepy")
