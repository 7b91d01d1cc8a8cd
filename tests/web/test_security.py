"""What a server refuses: callers without the token, other names, pages of other sites, and bodies without end."""

import html
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from swarm_persistence import InvalidQueryError, MemoryStorage
from swarm_persistence.web import swarm_app
from web.servers import TOKEN, URL, client_of

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGE = {"Accept": "text/html"}
OWN_PAGE = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}


async def csrf_token(client: httpx.AsyncClient) -> str:
    page = await client.get("/login", headers=PAGE)
    (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', page.text)
    return str(token)


async def log_in(client: httpx.AsyncClient, token: str = TOKEN, **fields: str) -> httpx.Response:
    form = {"token": token, "csrf_token": await csrf_token(client), **fields}
    return await client.post("/login", data=form, headers=OWN_PAGE)


class TestToken:
    @pytest.fixture
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with client_of(token=TOKEN) as client:
            yield client

    @pytest.mark.parametrize("path", ["/api/v1/tasks", "/api/v1/nothing", "/api/openapi.json", "/nothing"])
    async def test_a_program_without_it_is_told_so(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.get(path)

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"

    async def test_a_wrong_one_opens_nothing(self, client: httpx.AsyncClient) -> None:
        for wrong in (TOKEN[:-1], TOKEN + "x", "", "ü"):
            headers = {b"Authorization": f"Bearer {wrong}".encode()}
            assert (await client.get("/api/v1/tasks", headers=headers)).status_code == 401

    async def test_it_opens_the_api(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/api/v1/tasks", headers=BEARER)).status_code == 200

    async def test_a_browser_is_led_to_the_login_and_back(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/api?x=1", headers=PAGE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fapi%3Fx%3D1")

        answer = await log_in(client, next="/api?x=1")

        assert (answer.status_code, answer.headers["location"]) == (303, "/api?x=1")
        assert (await client.get("/api", headers=PAGE)).status_code == 200

    async def test_the_cookie_is_for_our_pages_only(self, client: httpx.AsyncClient) -> None:
        cookie = (await log_in(client)).headers["set-cookie"]

        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {each.strip() for each in cookie.split(";")}
        assert TOKEN not in cookie

    @pytest.mark.parametrize("there", ["//evil.example", "/\\evil.example", "https://evil.example", "/\tx", ""])
    async def test_the_login_leads_to_no_other_site(self, client: httpx.AsyncClient, there: str) -> None:
        assert (await log_in(client, next=there)).headers["location"] == "/"

    async def test_a_mistyped_token_does_not_lose_the_page_that_was_wanted(self, client: httpx.AsyncClient) -> None:
        there = '/tasks?task_type=a b&x="><script>'

        again = (await log_in(client, "wrong", next=there)).headers["location"]

        page = (await client.get(again, headers=PAGE)).text
        (wanted,) = re.findall(r'name="next" value="([^"]*)"', page)
        assert html.unescape(wanted) == there

    async def test_a_cookie_that_was_changed_is_none(self, client: httpx.AsyncClient) -> None:
        cookie = (await log_in(client)).headers["set-cookie"].partition(";")[0]
        name, _, value = cookie.partition("=")
        id, _, rest = value.partition(".")
        for forged in (f"x{id}.{rest}", value.replace(".1.", ".0."), value + "0", "", "....", "é"):
            async with httpx.AsyncClient(transport=client._transport, base_url=URL) as other:
                headers = {b"Cookie": f"{name}={forged}".encode()}
                assert (await other.get("/api/v1/tasks", headers=headers)).status_code == 401

    async def test_logging_out_ends_the_session(self, client: httpx.AsyncClient) -> None:
        await log_in(client)
        form = {"csrf_token": await csrf_token(client)}

        await client.post("/logout", data=form, headers=OWN_PAGE)

        assert (await client.get("/api/v1/tasks")).status_code == 401

    async def test_guessing_is_limited(self, client: httpx.AsyncClient) -> None:
        for _ in range(10):
            assert (await log_in(client, "wrong")).headers["location"] == "/login?failed=1&next=%2F"

        refused = await log_in(client)

        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0

    async def test_a_login_survives_a_restart_but_no_new_token(self, client: httpx.AsyncClient) -> None:
        await log_in(client)
        async with client_of(token=TOKEN) as again, client_of(token=f"another {TOKEN}") as changed:
            again.cookies = changed.cookies = client.cookies
            assert (await again.get("/api/v1/tasks")).status_code == 200
            assert (await changed.get("/api/v1/tasks")).status_code == 401

    async def test_a_short_one_is_refused(self) -> None:
        async with MemoryStorage() as storage:
            with pytest.raises(InvalidQueryError, match="16 characters"):
                swarm_app(storage, token="secret")


class TestNames:
    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""])
    async def test_another_name_is_refused(self, host: str) -> None:
        async with client_of() as client:
            answer = await client.get("/api/v1/tasks", headers={"Host": host})
        assert answer.status_code == 421

    @pytest.mark.parametrize("host", ["localhost:80", "127.0.0.1", "[::1]:8787", "Swarm.Example", "swarm.example.:443"])
    async def test_addresses_and_own_names_are_answered(self, host: str) -> None:
        async with client_of(hosts=["swarm.example"]) as client:
            assert (await client.get("/api/v1/tasks", headers={"Host": host})).status_code == 200

    async def test_an_application_that_checks_them_itself_can_say_so(self) -> None:
        async with client_of(hosts=None) as client:
            assert (await client.get("/api/v1/tasks", headers={"Host": "any.example"})).status_code == 200


class TestPagesOfOtherSites:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:3000"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Content-Type": "application/x-www-form-urlencoded"},
        ],
    )
    async def test_they_change_nothing(self, headers: dict[str, str]) -> None:
        async with client_of() as client:
            answer = await client.post("/logout", headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")

    async def test_our_own_need_the_token_of_their_session(self) -> None:
        async with client_of() as client, client_of() as other:
            token, foreign = await csrf_token(client), await csrf_token(other)
            for wrong in ("", foreign, token[:-1]):
                headers = {**OWN_PAGE, "X-CSRF-Token": wrong}
                assert (await client.post("/logout", headers=headers)).status_code == 403
            answer = await client.post("/logout", headers={**OWN_PAGE, "X-CSRF-Token": token})
            assert answer.status_code == 303

    async def test_no_answer_allows_them_to_read(self) -> None:
        async with client_of() as client:
            answer = await client.get("/api/v1/tasks", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_each_answer_has_the_headers_that_browsers_heed() -> None:
    async with client_of() as client:
        for path in ("/", "/api", "/api/v1/tasks", "/nothing", "/static/page.css"):
            headers = (await client.get(path, headers=PAGE)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


async def test_no_page_has_an_inline_script_or_style() -> None:
    async with client_of() as client:
        for path in ("/", "/api", "/login"):
            text = (await client.get(path, headers=PAGE)).text
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text)
            assert not re.search(r'(?:src|href)="(?:https?:)?//', text)


async def test_a_body_that_is_too_long_is_refused() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    headers = {"Content-Type": "application/x-www-form-urlencoded", **OWN_PAGE}
    async with client_of(largest_body=1000) as client:
        announced = await client.post("/login", content=b"x" * 1001, headers=headers)
        sent = await client.post("/login", content=endless(), headers=headers)
    assert [announced.status_code, sent.status_code] == [413, 413]


async def test_a_server_that_is_read_only_changes_nothing() -> None:
    async with client_of(read_only=True) as client:
        assert (await client.get("/api/v1/tasks")).status_code == 200
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await client.request(method, "/api/v1/tasks")
            assert (answer.status_code, answer.json()["detail"]) == (403, "This server is read-only.")


@pytest.mark.parametrize("origin", ["http://[::1", "null", "http://", "//", "http://127.0.0.1:8787@other.example"])
async def test_an_origin_that_is_malformed_is_of_another_site(origin: str) -> None:
    async with client_of() as client:
        token = await csrf_token(client)
        headers = {"Origin": origin, "X-CSRF-Token": token}
        answer = await client.post("/api/v1/tasks", json={"task_type": "t"}, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")


async def test_a_caller_without_the_token_sends_no_long_form() -> None:
    async with client_of(token=TOKEN) as client:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        fields = b"a=b&" * 20_000
        assert (await client.post("/login", content=fields, headers=form)).status_code == 413
        headers = {**form, "X-CSRF-Token": await csrf_token(client)}
        assert (await client.post("/login", content=fields, headers=headers)).status_code == 413


async def test_several_names_of_the_server_in_one_request_are_refused() -> None:
    async with client_of() as client:
        request = client.build_request("GET", "/api/v1/tasks")
        request.headers = httpx.Headers([*request.headers.multi_items(), ("host", "other.example")])
        assert (await client.send(request)).status_code == 400


@pytest.mark.parametrize("length", ["²", "9" * 5000])
async def test_a_length_that_is_no_number_or_without_end_fails_nothing(length: str) -> None:
    async with client_of() as client:
        headers = {b"Content-Length": length.encode("latin-1"), b"Content-Type": b"application/json"}
        answer = await client.post("/api/v1/tasks", content=b'{"task_type": "t"}', headers=headers)
        assert answer.status_code == (413 if length.isascii() else 400)


@pytest.mark.parametrize(
    "path",
    ["/tasks/%E6%97%A5", "/tasks/a%3Fb", "/tasks/a%2Fb", "/tasks/a%23b?x=%E6%97%A5", "/tasks/50%25", "/tasks/=.."],
)
async def test_a_login_leads_back_to_any_id(path: str) -> None:
    async with client_of(token=TOKEN) as client:
        login = (await client.get(path, headers=PAGE)).headers["location"]
        page = (await client.get(login, headers=PAGE)).text
        (there,) = re.findall(r'name="next" value="([^"]*)"', page)
        answer = await log_in(client, next=html.unescape(there))
        assert (answer.status_code, answer.headers["location"]) == (303, path)
        assert (await log_in(client, next="/tasks/日")).headers["location"] == "/tasks/%E6%97%A5"


async def test_no_static_file_has_a_name_with_a_nul() -> None:
    async with client_of() as client:
        assert (await client.get("/static/%00")).status_code == 404
        assert (await client.get("/static/page.css%00")).status_code == 404
