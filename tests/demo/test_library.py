"""Finding the modules."""

from pathlib import Path

from swarm_persistence.demo.library import TOP_LEVEL, find_modules, library_path


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("pass\n")


def test_modules_are_named_and_grouped_by_their_package(tmp_path: Path) -> None:
    write(tmp_path, "json/__init__.py", "json/decoder.py", "abc.py", "xml/dom/minidom.py")
    found = [(module.name, module.package) for module in find_modules(str(tmp_path))]
    assert found == [("abc", TOP_LEVEL), ("json", "json"), ("json.decoder", "json"), ("xml.dom.minidom", "xml")]


def test_what_is_not_the_library_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "abc.py", "site-packages/rich.py", "dist-packages/apt.py", "json/__pycache__/x.py", "README.txt")
    assert [module.name for module in find_modules(str(tmp_path))] == ["abc"]


def test_a_link_that_leads_nowhere_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "abc.py")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nothing.py")
    assert [module.name for module in find_modules(str(tmp_path))] == ["abc"]


def test_a_limit_takes_the_first_names(tmp_path: Path) -> None:
    write(tmp_path, "c.py", "a.py", "b.py")
    assert [module.name for module in find_modules(str(tmp_path), 2)] == ["a", "b"]


def test_the_library_of_this_python_is_found() -> None:
    names = {module.name for module in find_modules(library_path())}
    assert {"ast", "json.decoder", "asyncio"} <= names
    assert len(names) > 150
