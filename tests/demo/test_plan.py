"""Planning."""

from swarm_persistence import TaskPriority
from swarm_persistence.demo.library import Module
from swarm_persistence.demo.plan import make_plan

MODULES = [
    Module("abc", "(top level)", "/lib/abc.py", 10, 1),
    Module("json", "json", "/lib/json/__init__.py", 20, 1),
    Module("json.decoder", "json", "/lib/json/decoder.py", 30, 1),
]


def test_packages_depend_on_their_modules_and_the_report_on_all_packages() -> None:
    plan = make_plan(MODULES)
    by_id = {task.id: task for task in plan.tasks}
    (package,) = [task for task in plan.tasks if task.payload == {"package": "json", "modules": 2}]
    assert [by_id[id].payload["module"] for id in package.dependencies] == ["json", "json.decoder"]
    assert [by_id[id].payload["package"] for id in plan.report.dependencies] == ["(top level)", "json"]
    assert len(plan.tasks) == 3 + 2 + 1


def test_the_largest_modules_come_first() -> None:
    names = [task.payload.get("module") for task in make_plan(MODULES).tasks]
    assert names[:3] == ["json.decoder", "json", "abc"]


def test_modules_are_more_urgent_than_packages_and_packages_than_the_report() -> None:
    priorities = [task.priority for task in make_plan(MODULES).tasks]
    assert priorities == [TaskPriority.HIGH] * 3 + [TaskPriority.MEDIUM] * 2 + [TaskPriority.LOW]


def test_the_same_files_give_the_same_tasks() -> None:
    assert make_plan(MODULES).ids == make_plan(MODULES).ids
    assert len(make_plan(MODULES).ids) == 6


def test_a_changed_file_makes_new_tasks_of_it_and_of_what_depends_on_it() -> None:
    changed = [*MODULES[:2], Module("json.decoder", "json", "/lib/json/decoder.py", 30, 2)]
    old, new = make_plan(MODULES), make_plan(changed)
    again = {task.payload.get("module") or task.payload.get("package") for task in new.tasks if task.id not in old.ids}
    assert again == {"json.decoder", "json", None}
    assert len(new.ids - old.ids) == 3
