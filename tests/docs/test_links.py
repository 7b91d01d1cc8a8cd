"""Facts about the links of the documentation: each leads somewhere, every page is linked, and the map's paths exist."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "swarm_persistence"
MAP = (ROOT / "ARCHITECTURE.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
LINKS = {
    f"{page.relative_to(ROOT)}: {link}": (page, link)
    for page in (*sorted(ROOT.glob("*.md")), *DOCS)
    for link in re.findall(r"\]\(([^)\s\"]+)\)", page.read_text())
    if "://" not in link
}


@cache
def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub derives them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("named", LINKS)
def test_a_link_leads_to_a_file_and_its_heading(named: str) -> None:
    page, link = LINKS[named]
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page

    assert target.exists()
    assert not anchor or anchor in anchors_of(target)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_another_page_links_to_each_page(page: Path) -> None:
    linking = {other for other, link in LINKS.values() if (other.parent / link.partition("#")[0]).resolve() == page}

    assert linking - {page}


def paths_of_the_map() -> list[str]:
    """Return the paths that the map names, each alternative of `{a,b}` by itself."""
    paths = []
    for named in re.findall(r"`([\w./{},-]+(?:\.py|\.toml|\.md|/))`", MAP):
        before, braces, after = re.fullmatch(r"([^{]*)(\{[^}]*\})?(.*)", named).groups()  # type: ignore[union-attr]
        paths += [f"{before}{each}{after}" for each in (braces or "").strip("{}").split(",")]
    return sorted(set(paths))


@pytest.mark.parametrize("path", paths_of_the_map())
def test_a_path_of_the_map_exists(path: str) -> None:
    places = (PACKAGE, ROOT / "conformance")

    assert (ROOT / path).exists() or any(found for place in places for found in place.rglob(path.rstrip("/")))


def test_the_map_names_each_folder_of_the_package() -> None:
    folders = {each.name for each in PACKAGE.iterdir() if each.is_dir() and each.name != "__pycache__"}

    assert {folder for folder in folders if f"`{folder}/`" not in MAP} == set()
