"""The application within another one: its links, its logins and its streams know where it is mounted."""

import re

import httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from swarm_persistence import MemoryStorage, TaskModel
from swarm_persistence.web import swarm_app
from web.servers import TOKEN, URL


async def test_it_is_mounted_in_another_application() -> None:
    async with MemoryStorage() as storage:
        task = await storage.store_task(TaskModel.new("t", None, priority="high"))
        routes = [Route("/", lambda _: PlainTextResponse("outer")), Mount("/swarm", swarm_app(storage))]
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url=URL, headers={"Accept": "text/html"}) as client:
            assert (await client.get("/")).text == "outer"
            assert (await client.get(f"/swarm/api/v1/tasks/{task.id}")).json()["priority"] == "high"
            assert (await client.get("/swarm/api/v1/nothing")).status_code == 404
            pages = [(await client.get(path)).raise_for_status().text for path in ("/swarm/", "/swarm/api")]
            links = {link for page in pages for link in re.findall(r'(?:href|src|action)="(/[^"]*)"', page)}
            assert links
            assert {link.split("/")[1] for link in links} == {"swarm"}
            for link in links:
                assert (await client.get(link.replace("&amp;", "&"))).status_code == 200, link


async def test_links_and_cookies_are_below_a_mount_whose_name_is_no_ascii() -> None:
    async with MemoryStorage() as storage:
        await storage.store_task(TaskModel(id="a/b", task_type="t"))
        app = Starlette(routes=[Mount("/das 群れ", swarm_app(storage))])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
            page = await client.get("/das%20%E7%BE%A4%E3%82%8C/tasks", headers={"Accept": "text/html"})
            assert 'href="/das%20%E7%BE%A4%E3%82%8C/tasks/a%2Fb"' in page.text
            assert "Path=/das%20%E7%BE%A4%E3%82%8C/;" in page.headers["set-cookie"]
            assert (await client.get("/das%20%E7%BE%A4%E3%82%8C/tasks/a%2Fb")).status_code == 200


async def test_the_login_leads_back_to_the_mount() -> None:
    async with MemoryStorage() as storage:
        app = Starlette(routes=[Mount("/a/swarm", swarm_app(storage, token=TOKEN))])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
            answer = await client.get("/a/swarm/api", headers={"Accept": "text/html"})
            assert answer.headers["location"] == "/a/swarm/login?next=%2Fapi"
            form = await client.get(answer.headers["location"], headers={"Accept": "text/html"})
            (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', form.text)
            fields = {"token": TOKEN, "csrf_token": token, "next": "/api"}
            done = await client.post("/a/swarm/login", data=fields, headers={"Origin": URL})
            assert done.headers["location"] == "/a/swarm/api"
            assert "Path=/a/swarm/;" in done.headers["set-cookie"]
            assert (await client.get("/a/swarm/api/v1/tasks")).status_code == 200
