"""The questions before an action, and the page that asks them, where no script has shown a dialog."""

from collections.abc import Mapping

from litestar import Response

from swarm_persistence.web.access import Visit
from swarm_persistence.web.page.rendering import render
from swarm_persistence.web.problems import HttpProblem

_OWN_FIELDS = ("csrf_token", "confirmed")


def question_of(action: str, questions: Mapping[str, str]) -> str:
    """Return the question of an action; an unknown one is not found."""
    if action not in questions:
        raise HttpProblem(404, f"There is no action {action!r}; the actions are {', '.join(questions)}.")
    return questions[action]


def ask(  # noqa: PLR0917 - what the page shows, from top to bottom
    visit: Visit, page: str, question: str, id: str, path: str, action: str, data: Mapping[str, str]
) -> Response[str]:
    """Ask for a confirmation; its form repeats the fields of the one before."""
    fields = {name: value for name, value in data.items() if name not in _OWN_FIELDS}
    return render(
        visit,
        "confirm.html",
        is_live=False,
        page=page,
        id=id,
        path=path,
        action=action,
        question=question,
        fields=fields,
    )
