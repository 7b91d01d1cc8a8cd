"""What the page about the live page shows: its pictures exist and are small, and its command serves it."""

import re
from pathlib import Path

import httpx

from swarm_persistence import open_storage
from web.page_pictures import PICTURES
from web.servers import server

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "page.md").read_text()


def test_the_pictures_are_those_that_the_make_target_takes() -> None:
    shown = {*re.findall(r"\((page-[a-z]+)\.png\)", TEXT), *re.findall(r'src="(page-[a-z]+)\.png"', TEXT)}

    assert shown == {*PICTURES}
    assert all((DOCS / f"{name}.png").stat().st_size < 100_000 for name in shown)


def test_the_command_serves_each_page_that_the_table_names(tmp_path: Path) -> None:
    (command,) = re.findall(r"^\$ swarm-persistence serve (.+)$", TEXT, re.MULTILINE)
    open_storage(tmp_path / command).close()
    named = re.findall(r"^\| ([A-Z][a-z]+) \|", TEXT, re.MULTILINE)
    assert len(named) == len({*named}) == 10
    paths = {name: name.lower() for name in named} | {"Overview": "", "Metrics": "measurements"}
    assert {*paths} == {*named}

    with server(tmp_path, command) as serving, httpx.Client(base_url=serving.url) as client:
        for name, path in paths.items():
            answer = client.get(f"/{path}", headers={"accept": "text/html"})
            assert answer.status_code == 200
            assert f"<title>{name}" in answer.text
