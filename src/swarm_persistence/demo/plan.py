"""Turns the library's modules into tasks with deterministic ids: the same in every run over the same files."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import uuid5

import msgspec

from swarm_persistence.demo.library import Module
from swarm_persistence.demo.vocabulary import MEASURE_MODULE, NAMESPACE, SUM_PACKAGE, WRITE_REPORT
from swarm_persistence.models import TaskModel, TaskPriority

_MEASURE_VERSION = "1"
"""Change it whenever the same file would be measured differently, so that old results are not reused."""


class TaskPlan(msgspec.Struct):
    """The tasks of a run: modules first, then the packages that depend on them, then the report."""

    modules: list[Module]
    tasks: list[TaskModel]
    ids: frozenset[str]

    @property
    def report(self) -> TaskModel:
        """Return the task that depends on all packages, and so is completed last."""
        return self.tasks[-1]

    @property
    def packages(self) -> int:
        """Return the number of packages."""
        return len(self.report.dependencies)


def make_plan(modules: list[Module]) -> TaskPlan:
    """Return the tasks that measure these modules, the largest first: the longest task must not start last."""
    by_size = sorted(modules, key=lambda module: -module.size)
    of_modules = {module.path: _module_task(module) for module in by_size}
    members: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules:
        members[module.package].append(of_modules[module.path].id)
    of_packages = [_package_task(package, ids) for package, ids in members.items()]
    tasks = [*of_modules.values(), *of_packages, _report_task(of_packages)]
    return TaskPlan(modules, tasks, frozenset(task.id for task in tasks))


def _module_task(module: Module) -> TaskModel:
    payload = {"module": module.name, "package": module.package, "path": module.path}
    # Size and modification time identify the state of a file: a changed file is another task.
    identity = (module.path, module.size, module.modified_ns)
    return _task(MEASURE_MODULE, payload, TaskPriority.HIGH, identity, [])


def _package_task(package: str, module_ids: list[str]) -> TaskModel:
    payload = {"package": package, "modules": len(module_ids)}
    return _task(SUM_PACKAGE, payload, TaskPriority.MEDIUM, (package, *module_ids), module_ids)


def _report_task(packages: list[TaskModel]) -> TaskModel:
    ids = [package.id for package in packages]
    return _task(WRITE_REPORT, {"packages": len(ids)}, TaskPriority.LOW, ids, ids)


def _task(
    task_type: str, payload: Mapping[str, object], priority: TaskPriority, identity: Iterable[object], needs: list[str]
) -> TaskModel:
    task = TaskModel.new(task_type, payload, priority)
    task.id = str(uuid5(NAMESPACE, "\n".join(map(str, (task_type, _MEASURE_VERSION, *identity)))))
    task.dependencies = needs
    return task
