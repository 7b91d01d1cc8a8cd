"""The pages as the server renders them: what they show, and where their links lead."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import urljoin

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from swarm_persistence import AgentModel, EventModel, MessageModel, ScheduleModel, Storage, TaskModel, TaskStatus
from swarm_persistence.clock import now
from swarm_persistence.web import swarm_app
from swarm_persistence.web.page import task_events
from swarm_persistence.web.paths import path_part
from web.page.forms import AS_PAGE, send
from web.servers import URL, client_of

pytestmark = pytest.mark.usefixtures("swarm")

PAGES = (
    "/",
    "/?range=24h",
    "/tasks",
    "/tasks?status=failed&sort=created_at",
    "/tasks/analyze",
    "/tasks?group=octo&tag=team%3Ddocs",
    "/approvals",
    "/schedules",
    "/schedules/nightly-report",
    "/limits",
    "/documents",
    "/documents?in=memories",
    "/documents?in=memories&in=agent-ada&label=fact",
    "/documents?words=build",
    "/documents/item?in=files&in=octo&in=hello&key=README.md",
    "/agents",
    "/agents/agent-ada",
    "/agents/unknown",
    "/events",
    "/events?event_type=tool_called",
    "/messages",
    "/messages/agent-ada/agent-grace",
    "/measurements",
    "/measurements?type=tokens&range=6h",
    "/search",
    "/search?q=nothing+is+named+so",
)
FORMS = ("/forms/limit", "/forms/limit?task_type=summarize", "/forms/schedule", "/forms/schedule?name=nightly-report")


class TestPages:
    @pytest.mark.parametrize("path", [*PAGES, *FORMS])
    async def test_every_page_is_shown(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.get(path)

        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "<h1" in answer.text

    @pytest.mark.parametrize("path", PAGES)
    async def test_every_page_of_an_empty_storage_says_what_is_missing(self, path: str) -> None:
        async with client_of() as client:
            answer = await client.get(path, headers=AS_PAGE)

        missing = ("/tasks/analyze", "/schedules/nightly-report", "/documents/item")
        assert answer.status_code == (404 if path.startswith(missing) else 200)
        assert 'class="empty' in answer.text or path == "/agents/unknown"

    async def test_links_and_files_are_below_the_mount(self, storage: Storage) -> None:
        mounted = Starlette(routes=[Mount("/swarm", swarm_app(storage))])
        found: set[str] = set()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted), base_url=URL, headers=AS_PAGE) as client:
            for path in (*PAGES, *FORMS):
                answer = await client.get(f"/swarm{path}")
                assert answer.status_code == 200
                found |= {
                    unescape(each) for each in re.findall(r'(?:href|src|action|data-live)="([^"#]+)"', answer.text)
                }
            assert {each for each in found if not each.startswith("/swarm/")} == set()
            for file in (each for each in found if "/static/" in each):
                assert (await client.get(file)).status_code == 200

    async def test_pages_hold_neither_inline_scripts_nor_inline_styles(self, client: httpx.AsyncClient) -> None:
        for path in (*PAGES, *FORMS):
            text = (await client.get(path)).text
            assert re.search(r"<style|\sstyle=|<script(?! src=)|\son[a-z]+=|javascript:", text) is None, path

    async def test_the_overview_tells_every_status_with_its_count(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        text = (await client.get("/")).text

        counts = {status.value: count for (status,), count in (await storage.count_by(TaskModel, "status")).items()}
        shown = re.findall(r'class="tile is-(\w+)".*?<strong>([\d,]+)</strong>', text, re.DOTALL)
        assert {name: int(count) for name, count in shown if count != "0"} == counts

    async def test_a_task_that_is_not_stored_is_told_with_status_404(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/tasks/nothing%2Fhere")

        assert answer.status_code == 404
        assert "nothing/here" in answer.text

    @pytest.mark.parametrize("id", [".", "..", "../..", "=", "a/b"])
    async def test_links_lead_to_any_id_though_browsers_remove_dots_from_paths(
        self, client: httpx.AsyncClient, storage: Storage, id: str
    ) -> None:
        agent = AgentModel(id=id, name="dotted", agent_type="a")
        schedule = ScheduleModel(name=id, task_type="dotted", every=60)
        await storage.store_agent(agent)
        await storage.store_task(TaskModel(id=id, task_type="dotted"))
        await storage.store_schedule(schedule)
        await storage.store_message(MessageModel.new("dotted", id, "note", "hello"))

        for page, heading in (
            ("/tasks?task_type=dotted", "dotted"),
            ("/agents?", "dotted"),
            ("/schedules", "dotted"),
            ("/messages", "hello"),
        ):
            noun = page.partition("?")[0]
            text = (await client.get(page)).text
            links = [unescape(each) for each in re.findall(rf'href="({noun}/[^"?]+)"', text)]
            # As a browser does: `.` and `..` go, however they are written.
            shown = [await client.get(urljoin(URL, re.sub(r"(?i)/%2e(?=[/%]|$)", "/.", each))) for each in links]
            assert any(id in unescape(each.text) and heading in each.text for each in shown), links
            assert {each.status_code for each in shown} == {200}, links
        assert (await client.get("/search", params={"q": id})).headers["location"] == f"/tasks/{path_part(id)}"
        text = unescape((await client.get(f"/tasks/{path_part(id)}")).text)
        assert f'action="/tasks/{path_part(id)}/cancel"' in text
        answer = await send(client, f"/tasks/{path_part(id)}/cancel")
        assert answer.headers["location"] == f"/tasks/{path_part(id)}?done=cancel"

    @pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
    async def test_a_task_of_the_ends_of_the_calendar_is_shown(
        self, client: httpx.AsyncClient, storage: Storage, moment: datetime
    ) -> None:
        task = TaskModel(task_type="t", created_at=moment, updated_at=moment, completed_at=moment)
        await storage.store_task(task)
        for page in (f"/tasks/{task.id}", "/tasks", "/", "/approvals"):
            assert (await client.get(page)).status_code == 200

    async def test_the_page_of_a_task_shows_its_payload_its_events_and_its_relatives(
        self, client: httpx.AsyncClient
    ) -> None:
        text = unescape((await client.get("/tasks/analyze")).text)

        assert '"goal": "map the modules of the repository"' in text
        assert "octo/hello@main" in text
        for id in ("plan", "fetch", "report", "notify"):
            assert f'href="/tasks/{id}"' in text
        assert '{"step": 0, "tool": "grep"}' in text

    async def test_the_page_of_a_task_shows_its_group_its_tags_and_its_progress(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        task = TaskModel(
            task_type="grouped",
            group="run-7",
            tags={"tenant": "acme"},
            progress=0.25,
            progress_text="read 5 of 20 files",
        )
        await storage.store_task(task)

        text = (await client.get(f"/tasks/{task.id}")).text
        assert 'href="/tasks?group=run-7"' in text
        assert "tenant: acme" in text
        assert "25 %" in text
        assert "read 5 of 20 files" in text
        assert f'data-key="{task.id}"' in (await client.get("/tasks?group=run-7")).text

    async def test_the_page_of_a_task_shows_every_claim_in_order(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        task = await storage.store_task(TaskModel(task_type="claimed-often"))

        async def claim(agent_id: str) -> TaskModel:
            found = await storage.claim_next_task(agent_id, task_types=["claimed-often"])
            assert found is not None
            return found

        assert "Claims of this task" not in (await client.get(f"/tasks/{task.id}")).text
        await storage.fail_task(await claim("agent-1"), "<b>no luck</b>", retry_in=0)
        await storage.release_task(await claim("agent-2"))
        await storage.fail_task(await claim("agent-3"), "no hope", max_retries=0)
        await storage.retry_task(task.id)
        await claim("agent-4")

        text = (await client.get(f"/tasks/{task.id}")).text
        rows = re.findall(r'<tr data-key="claim \d+">(.*?)</tr>', text)
        expected = ["failed, to be retried", "released", "failed for good", "assigned"]
        for number, (row, outcome) in enumerate(zip(rows, expected, strict=True), start=1):
            assert f"<td>{number}</td>" in row
            assert f'href="/agents/agent-{number}"' in row
            assert f"<td>{outcome}</td>" in row
        assert "&lt;b&gt;no luck&lt;/b&gt;" in rows[0]
        assert "no hope" in rows[2]
        life = [re.sub("<time.*|<.*?>", "", line) for line in re.findall(r'<span class="life-text">(.*)', text)]
        assert life == [
            "Stored",
            "Started by agent-1",
            "Claim 1: failed, to be retried by agent-1",
            "Started (claim 2) by agent-2",
            "Claim 2: released by agent-2",
            "Started (claim 3) by agent-3",
            "Claim 3: failed for good by agent-3",
            "Started (claim 4) by agent-4",
            "Lease expires",
        ]

    async def test_the_page_of_a_task_leads_to_the_events_that_it_does_not_show(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        task = await storage.store_task(TaskModel(task_type="talkative"))
        for _ in range(100):
            await storage.store_event(EventModel(event_type="step", task_id=task.id))

        assert "all events of this task" not in (await client.get(f"/tasks/{task.id}")).text
        await storage.store_event(EventModel(event_type="step", task_id=task.id))
        text = (await client.get(f"/tasks/{task.id}")).text

        assert text.count(">step</a>") == 100
        assert f'<a href="/events?task_id={task.id}">all events of this task</a>' in text

    async def test_the_life_of_a_task_costs_no_more_than_the_events_at_its_beginning_and_at_its_end(
        self, client: httpx.AsyncClient, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_events, "MOST_SEARCHED", 3)
        task = await storage.store_task(TaskModel.new("t", None))

        def event(number: int, task_id: str | None) -> EventModel:
            at = task.created_at + timedelta(minutes=number)
            return EventModel(event_type=f"step-{number}", task_id=task_id, timestamp=at)

        await storage.append_events([event(1, task.id), event(2, None), event(3, None), event(4, task.id)])
        few = (await client.get(f"/tasks/{task.id}")).text
        await storage.append_events([event(number, task.id if number in (6, 8) else None) for number in range(5, 10)])
        many = (await client.get(f"/tasks/{task.id}")).text

        assert [number for number in range(1, 10) if f"step-{number}<" in few] == [1, 4]
        assert "not searched here" not in few
        assert [number for number in range(1, 10) if f"step-{number}<" in many] == [1, 8]
        assert "not searched here" in many
        assert f'<a href="/events?task_id={task.id}">all events of this task</a>' in many

    async def test_events_long_after_the_end_of_a_task_are_left_out_and_those_soon_after_are_not(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        (task,) = [each for each in await storage.repository(TaskModel).find_all() if each.id == "plan"]
        for name, hours in (("soon", 0.5), ("late", 2.0)):
            at = task.updated_at + timedelta(hours=hours)
            await storage.store_event(EventModel(event_type=f"audited-{name}", task_id="plan", timestamp=at))

        text = (await client.get("/tasks/plan")).text

        assert "audited-soon" in text
        assert "audited-late" not in text


class TestLists:
    async def test_pages_of_a_list_hold_each_task_once(self, client: httpx.AsyncClient, storage: Storage) -> None:
        path, ids = "/tasks?sort=task_type", list[str]()
        while path:
            text = (await client.get(path)).text
            ids += re.findall(r'<tr data-key="([^"]+)"', text)
            following = re.search(r'href="([^"]+)" rel="next"', text)
            path = unescape(following[1]) if following else ""

        assert sorted(ids) == sorted(task.id for task in await storage.repository(TaskModel).find_all())

    async def test_a_filter_with_a_wrong_value_is_explained(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/tasks?status=asleep")

        assert answer.status_code == 200
        assert 'role="alert"' in answer.text
        assert "asleep" in answer.text

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("analyze", "/tasks/analyze"),
            ("octo/hello@main", "/tasks/analyze"),
            ("agent-grace", "/agents/agent-grace"),
            ("edsger", "/agents/agent-edsger"),
            ("write-report", "/tasks?task_type=write-report"),
            ("tool_called", "/events?event_type=tool_called"),
            ("ready-", "/tasks?id.ge=ready-&sort=id"),
            ("repor", "/tasks/report"),
        ],
    )
    async def test_the_search_leads_to_what_a_text_names(
        self, client: httpx.AsyncClient, text: str, place: str
    ) -> None:
        answer = await client.get("/search", params={"q": text})

        assert (answer.status_code, answer.headers["location"]) == (303, place)

    async def test_the_search_of_what_cannot_be_stored_is_explained(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/search", params={"q": "a\0b"})

        assert answer.status_code == 200
        assert 'role="alert"' in answer.text


class TestLargeLists:
    async def test_a_value_that_took_long_is_cached_and_the_page_says_when_to_ask_again(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        first = await client.get("/")
        await storage.store_task(TaskModel.new("new", None))
        second = await client.get("/")

        again = re.search(r'data-again="([\d.]+)"', second.text)
        assert first.status_code == second.status_code == 200
        assert again is not None
        assert 0 < float(again[1]) <= 60

    async def test_a_long_payload_is_cut_with_a_note(self, client: httpx.AsyncClient, storage: Storage) -> None:
        task = TaskModel.new("long", "x" * 100_000)
        await storage.store_task(task)

        text = (await client.get(f"/tasks/{task.id}")).text

        assert "more characters; the API gives all of it" in text
        assert len(text) < 60_000

    async def test_times_lie_in_the_charts_of_every_range(self, client: httpx.AsyncClient, storage: Storage) -> None:
        for seconds in (1, 800, 3000, 20_000, 80_000):
            end = now() - timedelta(seconds=seconds)
            await storage.store_task(
                TaskModel(
                    task_type="old", status=TaskStatus.COMPLETED, created_at=end, started_at=end, completed_at=end
                )
            )
        for name in ("15m", "1h", "6h", "24h"):
            text = (await client.get("/", params={"range": name})).text
            places = [float(x) for x in re.findall(r'class="bar bar-\w+" x="([-\d.]+)"', text)]
            assert places
            assert all(0 <= place < 100 for place in places)
