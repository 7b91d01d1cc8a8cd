"""The live page in a real browser: what it shows without a reload, what it runs, what it needs, and whom it serves."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from chromium import needs
from swarm_persistence import (
    AgentModel,
    BlockingStorage,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    ScheduleModel,
    SqliteStorage,
    TaskModel,
    TaskStatus,
    open_storage,
)
from web.page_swarm import fill
from web.servers import server

# The loop of the browser's driver runs in this thread, and has nothing else to do.
pytestmark = pytest.mark.filterwarnings("ignore:a blocking call stops this thread's event loop:RuntimeWarning")

PAGES = (
    "/",
    "/tasks",
    "/tasks?task_type=summarize",
    "/tasks/analyze",
    "/tasks/approve-publish",
    "/approvals",
    "/schedules",
    "/schedules/nightly-report",
    "/limits",
    "/documents",
    "/documents?in=memories&in=agent-ada",
    "/documents/item?in=files&in=octo&in=hello&key=README.md",
    "/agents",
    "/agents/agent-ada",
    "/events",
    "/messages",
    "/messages/agent-ada/agent-grace",
    "/measurements?type=tokens",
    "/search?q=nothing",
)
STILL = ("/forms/limit?task_type=summarize", "/forms/schedule?name=nightly-report", "/api")
TIMEOUT_MILLISECONDS = 30_000
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
HOSTILE = "\"'><script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>"
FIND_FAULTS = """async () => {
  const found = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] });
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ").slice(0, 300)}`);
}"""


async def _fill(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await fill(storage, finished=80)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a database with a swarm."""
    missing = needs.missing()
    if missing:
        pytest.fail(f"the browser tests need {missing}", pytrace=False)
    path = tmp_path_factory.mktemp("page") / "swarm.db"
    with ThreadPoolExecutor(1) as thread:  # the loop of the browser's driver runs in this one
        thread.submit(asyncio.run, _fill(path)).result()
    return path


@pytest.fixture(scope="module")
def url(database: Path) -> Iterator[str]:
    """Serve it."""
    with server(database.parent, str(database)) as serving:
        yield serving.url


@pytest.fixture
def storage(database: Path) -> Iterator[BlockingStorage]:
    """Give the storage, as another process would use it."""
    with open_storage(database) as opened:
        yield opened


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """Give a tab; what goes wrong in it fails the test."""
    expect.set_options(timeout=TIMEOUT_MILLISECONDS)
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    yield page
    page.close()
    assert wrong == []


def show(page: Page, url: str) -> None:
    """Open a page, and wait until it follows the swarm, unless it is one that stands still."""
    page.goto(url)
    expect(page.locator("#live")).to_have_text("static" if url.endswith(STILL) else "live")


def go(page: Page, button: Locator) -> None:
    """Click what leads to another page, and wait for its script: without it, a form asks by a page, not by a dialog."""
    with page.expect_navigation(wait_until="load"):
        button.click()


def status_of(storage: BlockingStorage, id: str) -> TaskStatus:
    task = storage.get_task(id)
    assert task is not None
    return task.status


class TestChanges:
    def test_a_new_task_and_its_end_appear_without_a_reload(
        self, page: Page, url: str, storage: BlockingStorage
    ) -> None:
        show(page, f"{url}/tasks?task_type=brand-new")
        page.evaluate("window.wasLoadedOnce = true")
        expect(page.get_by_text("No task matches these filters.")).to_be_visible()

        task = storage.store_task(TaskModel.new("brand-new", {"n": 1}))
        row = page.locator(f'tr[data-key="{task.id}"]')
        expect(row).to_contain_text("pending")
        assert storage.cancel_task(task.id)
        expect(row).to_contain_text("cancelled")
        assert page.evaluate("window.wasLoadedOnce") is True

    def test_the_overview_counts_on_and_keeps_what_is_open_and_typed(
        self, page: Page, url: str, storage: BlockingStorage
    ) -> None:
        show(page, url)
        page.locator(".numbers summary").click()
        page.locator("#q").fill("half typed")
        before = int(page.locator(".tile.is-pending strong").inner_text())

        storage.store_tasks([TaskModel.new("counted", None) for _ in range(3)])

        expect(page.locator(".tile.is-pending strong")).to_have_text(str(before + 3))
        expect(page.locator(".numbers .records")).to_be_visible()
        expect(page.locator("#q")).to_have_value("half typed")

    def test_progress_limits_and_documents_appear_without_a_reload(
        self, page: Page, url: str, storage: BlockingStorage
    ) -> None:
        task = storage.get_task("analyze")
        assert task is not None
        show(page, f"{url}/tasks/analyze")
        storage.report_progress(task, 0.9, "module 27 of 30")
        expect(page.locator("main > .progress")).to_have_text("90 %module 27 of 30")
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.9")

        show(page, f"{url}/limits")
        storage.set_limit("appears", running=7)
        expect(page.locator('section[data-key="appears"]')).to_contain_text("0 of 7")
        assert storage.delete_limit("appears")
        expect(page.locator('section[data-key="appears"]')).to_have_count(0)

        show(page, f"{url}/documents?in=live")
        storage.put_documents([DocumentModel.new(("live",), "key", 1)])
        expect(page.locator('tr[data-key="key"]')).to_be_visible()

    def test_a_paused_list_stands_still(self, page: Page, url: str, storage: BlockingStorage) -> None:
        show(page, f"{url}/events")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#live")).to_have_text("paused")
        event = storage.store_event(EventModel.new("arrived-meanwhile", None))
        page.get_by_role("button", name="Go on").click()

        expect(page.locator(f'tr[data-key="{event.id}"]')).to_be_visible()


class TestActions:
    def test_a_task_is_cancelled_after_a_confirmation_only(
        self, page: Page, url: str, storage: BlockingStorage
    ) -> None:
        task = storage.store_task(TaskModel.new("unwanted", None))
        show(page, f"{url}/tasks/{task.id}")
        page.get_by_role("button", name="Cancel task").click()
        page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert status_of(storage, task.id) is TaskStatus.PENDING

        page.get_by_role("button", name="Cancel task").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel task").click()

        expect(page.get_by_text("The task was cancelled.")).to_be_visible()
        assert status_of(storage, task.id) is TaskStatus.CANCELLED

    def test_all_tasks_that_match_are_cancelled_by_the_keyboard(
        self, page: Page, url: str, storage: BlockingStorage
    ) -> None:
        tasks = storage.store_tasks([TaskModel.new("unwanted-many", None) for _ in range(3)])
        show(page, f"{url}/tasks?task_type=unwanted-many")
        page.get_by_role("button", name="Cancel all that match").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Cancel 3 tasks?")).to_be_visible()
        assert status_of(storage, tasks[0].id) is TaskStatus.PENDING
        page.get_by_role("button", name="Yes, cancel").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("3 tasks were cancelled.")).to_be_visible()
        assert {status_of(storage, task.id) for task in tasks} == {TaskStatus.CANCELLED}

    def test_the_keyboard_is_enough(self, page: Page, url: str, storage: BlockingStorage) -> None:
        task = storage.store_task(TaskModel.new("by-keyboard", None))
        show(page, url)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("/")
        page.keyboard.type(task.id)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="by-keyboard")).to_be_visible()
        expect(page.locator("#live")).to_have_text("live")
        page.get_by_role("button", name="Cancel task").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Leave it")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")

        expect(page.get_by_text("The task was cancelled.")).to_be_visible()

    def test_an_id_is_copied_by_a_click(self, page: Page, url: str) -> None:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        show(page, f"{url}/tasks/analyze")
        page.get_by_role("button", name="Copy analyze").first.click()
        expect(page.locator("#live")).to_have_text("copied")

        assert page.evaluate("navigator.clipboard.readText()") == "analyze"

    def test_a_task_is_approved_in_its_list(self, page: Page, url: str, storage: BlockingStorage) -> None:
        task = storage.store_task(TaskModel.new("approval-of-a-person", {"what": "publish"}))
        show(page, f"{url}/approvals")
        card = page.locator(f'li[data-key="{task.id}"]')
        card.get_by_label("Your name").fill("alice")
        card.get_by_label("Comment").fill("fine")
        card.get_by_role("button", name="Reject").click()
        page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
        assert status_of(storage, task.id) is TaskStatus.PENDING
        card.get_by_role("button", name="Approve").click()
        page.get_by_role("dialog").get_by_role("button", name="Approve").click()

        expect(page.get_by_text("The task was approved.")).to_be_visible()
        decided = storage.get_task(task.id)
        assert decided is not None
        assert decided.result == {"approved": True, "by": "alice", "comment": "fine"}
        other = storage.store_task(TaskModel.new("approval-of-a-person", None))
        show(page, f"{url}/tasks/{other.id}")
        expect(page.get_by_label("Your name")).to_have_value("alice")
        page.get_by_role("button", name="Reject").click()
        page.get_by_role("dialog").get_by_role("button", name="Reject").click()
        expect(page.get_by_text("The task was rejected.")).to_be_visible()
        assert status_of(storage, other.id) is TaskStatus.FAILED

    def test_a_schedule_is_paused_and_what_others_do_is_shown(
        self, page: Page, url: str, storage: BlockingStorage
    ) -> None:
        storage.store_schedule(ScheduleModel.new("hourly", "report", every=3600))
        show(page, f"{url}/schedules")
        page.get_by_role("link", name="hourly", exact=True).click()
        expect(page.locator("#live")).to_have_text("live")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(page.get_by_text("The schedule is paused.")).to_be_visible()
        storage.resume_schedule("hourly")
        expect(page.locator(".task-head .status")).to_have_text("active")

    def test_a_limit_is_set_changed_and_deleted(
        self, browser: BrowserContext, url: str, storage: BlockingStorage
    ) -> None:
        page = browser.new_page()  # its console tells of the answer 422
        show(page, f"{url}/limits")
        go(page, page.get_by_role("link", name="Set a limit"))
        page.get_by_label("Task type").fill("limited-here")
        page.get_by_label("Claimed within a period").fill("5")
        page.get_by_role("button", name="Set the limit").focus()
        page.keyboard.press("Enter")
        go(page, page.get_by_role("dialog").get_by_role("button", name="Set the limit"))
        expect(page.get_by_role("alert")).to_contain_text("starts and per belong together")
        page.get_by_label("Period in seconds").fill("60")
        page.get_by_role("button", name="Set the limit").click()
        page.get_by_role("dialog").get_by_role("button", name="Set the limit").click()
        expect(page.get_by_text("The limit is set.")).to_be_visible()
        go(page, page.get_by_role("link", name="Change the limit of limited-here"))
        page.get_by_label("Claimed at once").fill("2")
        page.get_by_role("button", name="Set the limit").click()
        go(page, page.get_by_role("dialog").get_by_role("button", name="Set the limit"))
        card = page.locator('section[data-key="limited-here"]')
        expect(card).to_contain_text("0 of 2")
        limit = storage.get_limit("limited-here")
        assert limit is not None
        assert (limit.running, limit.starts, limit.per_seconds) == (2, 5, 60)
        card.get_by_role("button").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete the limit").click()
        expect(page.get_by_text("The limit was deleted.")).to_be_visible()
        assert storage.get_limit("limited-here") is None
        page.close()

    def test_without_a_script_a_page_asks_before_a_limit_is_set(
        self, browser: BrowserContext, url: str, storage: BlockingStorage
    ) -> None:
        assert browser.browser is not None
        context = browser.browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{url}/forms/limit")
        page.get_by_label("Task type").fill("without-a-script")
        page.get_by_label("Claimed at once").fill("3")
        page.get_by_role("button", name="Set the limit").click()
        page.get_by_role("button", name="Yes, set").click()
        expect(page.get_by_text("The limit is set.")).to_be_visible(timeout=TIMEOUT_MILLISECONDS)
        context.close()
        assert storage.delete_limit("without-a-script")

    def test_a_schedule_is_stored_and_changed_by_its_form(self, page: Page, url: str, storage: BlockingStorage) -> None:
        show(page, f"{url}/schedules")
        go(page, page.get_by_role("link", name="New schedule"))
        page.get_by_label("Name").fill("by-form")
        page.get_by_label("Type of its tasks").fill("report")
        page.get_by_label("or every so many seconds").fill("3600")
        page.get_by_label("Payload of each task").fill('{"scope": "all"}')
        page.get_by_role("button", name="Store the schedule").click()
        page.get_by_role("dialog").get_by_role("button", name="Store the schedule").click()
        expect(page.get_by_text("The schedule is stored.")).to_be_visible()
        go(page, page.get_by_role("link", name="Change"))
        page.get_by_label("Retries").fill("9")
        page.get_by_role("button", name="Store the schedule").click()
        page.get_by_role("dialog").get_by_role("button", name="Store the schedule").click()
        expect(page.get_by_role("heading", name="by-form")).to_be_visible()
        expect(page.get_by_text("The schedule is stored.")).to_be_visible()
        schedule = storage.get_schedule("by-form")
        assert schedule is not None
        assert (schedule.payload, schedule.every, schedule.max_retries) == ({"scope": "all"}, 3600, 9)

    def test_a_document_is_deleted_after_a_confirmation(
        self, browser: BrowserContext, url: str, storage: BlockingStorage
    ) -> None:
        page = browser.new_page()  # its console tells of an answer 404: the page may be read again before it is left
        storage.put_documents([DocumentModel.new(("unwanted",), "key", 1)])
        show(page, f"{url}/documents?in=unwanted")
        go(page, page.get_by_role("link", name="key", exact=True))
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete the document").click()
        expect(page.get_by_text("The document was deleted.")).to_be_visible()
        page.close()
        assert storage.get_document(("unwanted",), "key") is None

    def test_what_is_deleted_while_it_is_shown_is_told(
        self, browser: BrowserContext, url: str, storage: BlockingStorage
    ) -> None:
        storage.store_schedule(ScheduleModel.new("doomed", "report", every=3600))
        page = browser.new_page()  # its console tells of the answer 404
        show(page, f"{url}/schedules/doomed")
        assert storage.delete_schedule("doomed")
        expect(page.get_by_role("heading", name="There is no such schedule")).to_be_visible(
            timeout=TIMEOUT_MILLISECONDS
        )
        page.close()


class TestSecurity:
    def test_what_records_hold_is_text_in_every_page(self, page: Page, url: str, storage: BlockingStorage) -> None:
        hostile: dict[str, Any] = {HOSTILE: [HOSTILE]}
        other = f"{HOSTILE} 2"
        task = TaskModel(
            id=HOSTILE, task_type=HOSTILE, payload=hostile, result=hostile, error=HOSTILE, assigned_to=HOSTILE,
            dependencies=[other, "missing"], idempotency_key=HOSTILE, group=HOSTILE, tags={HOSTILE: HOSTILE},
            progress_text=HOSTILE,
        )  # fmt: skip
        agent = AgentModel(
            id=HOSTILE, name=HOSTILE, agent_type=HOSTILE, capabilities=[HOSTILE], metadata={HOSTILE: HOSTILE}
        )
        event = EventModel(event_type=HOSTILE, agent_id=HOSTILE, task_id=HOSTILE, data=hostile)
        message = MessageModel(
            from_agent=HOSTILE, to_agent=other, message_type=HOSTILE, content=hostile, result=hostile
        )
        metric = MetricModel(metric_type=HOSTILE, value=1.0, unit=HOSTILE, agent_id=HOSTILE)
        storage.store_tasks([task, TaskModel(id=other, task_type=HOSTILE, payload=hostile)])
        storage.store_many([agent, event, message, metric])
        limited = f"{HOSTILE} limited"
        storage.store_tasks([TaskModel(task_type=limited, concurrency_key=HOSTILE, required_capabilities=(HOSTILE,))])
        storage.set_limit(limited, running=1, per_key=1)
        storage.store_schedule(
            ScheduleModel.new(
                HOSTILE, HOSTILE, hostile, every=60, task_fields={"group": HOSTILE, "tags": {"t": HOSTILE}}
            )
        )
        storage.put_documents(
            [DocumentModel.new((HOSTILE, HOSTILE), HOSTILE, hostile, HOSTILE.encode(), label=HOSTILE)]
        )

        lists = (
            "/tasks?sort=id",
            "/approvals",
            "/schedules",
            "/limits",
            "/agents",
            "/messages",
            "/documents",
            "/measurements",
        )
        for path in ("/", "/events", *lists):
            show(page, url + path)
            self._is_text(page)
        show(page, f"{url}/documents?words=script")
        self._is_text(page)
        visited = {url + "/measurements"}
        for start in lists:
            show(page, url + start)
            links = page.locator("main a", has_text="script").all() + page.locator('main a[title*="script"]').all()
            for address in {str(link.evaluate("link => link.href")) for link in links} - visited:
                visited.add(address)
                show(page, address)
                self._is_text(page)
        assert len(visited) > 8

    def _is_text(self, page: Page) -> None:
        assert page.evaluate("[...document.scripts].map((each) => each.src.split('/').pop())") == ["page.js"]
        assert page.evaluate("window.stolen") is None
        assert page.locator("main img").count() == 0
        expect(page.locator("main")).to_contain_text("= 1'>")

    def test_a_script_in_the_page_would_not_run(self, page: Page, browser: BrowserContext, url: str) -> None:
        tab = browser.new_page()
        tab.goto(url)
        tab.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.stolen = 1";
              document.body.append(script);
            }"""
        )
        assert tab.evaluate("window.stolen") is None
        tab.close()


class TestForAll:
    @pytest.mark.parametrize(
        ("scheme", "paths"),
        [
            ("light", (*PAGES, *STILL)),
            ("dark", ("/", "/tasks/analyze", "/tasks", "/approvals", "/limits", *STILL)),
        ],
    )
    def test_the_accessibility_check_finds_nothing(
        self, page: Page, url: str, scheme: Any, paths: tuple[str, ...]
    ) -> None:
        page.emulate_media(color_scheme=scheme)
        axe = needs.AXE.read_text()
        faults = []
        for path in paths:
            show(page, url + path)
            page.evaluate(axe)
            faults += [f"{path}: {fault}" for fault in page.evaluate(FIND_FAULTS)]

        assert faults == []

    def test_every_page_fits_a_phone(self, page: Page, url: str) -> None:
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        widths = {}
        for path in (*PAGES, *STILL):
            show(page, url + path)
            widths[path] = page.evaluate("document.documentElement.scrollWidth")

        assert widths == dict.fromkeys((*PAGES, *STILL), PHONE["width"])

    def test_the_navigation_is_one_line_on_a_desktop(self, page: Page, url: str) -> None:
        page.set_viewport_size({"width": 1200, "height": 800})
        show(page, url)

        assert page.evaluate("document.querySelector('.top').offsetHeight") < 60
        nav = page.locator(".top nav")
        assert nav.evaluate("nav => nav.scrollWidth - nav.clientWidth") == 0

    def test_nothing_comes_from_another_site(self, page: Page, url: str) -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for path in PAGES:
            show(page, url + path)

        assert [each for each in asked if not each.startswith((f"{url}/", "data:"))] == []
