"""The questions before an action, and the page that asks them if no script has shown a dialog."""

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


def require_changes(visit: Visit) -> None:
    """Refuse a page that only makes changes if the server is read-only."""
    if visit.is_read_only:
        raise HttpProblem(403, "This server is read-only.")


def ask(  # noqa: PLR0917 - what the page shows, from top to bottom
    visit: Visit,
    page: str,
    question: str,
    id: str,
    path: str,
    action: str,
    data: Mapping[str, str],
    *,
    back: str | None = None,
) -> Response[str]:
    """Ask for confirmation; the form repeats the fields of the previous one. `back` is the path to which "no" leads."""
    fields = {name: value for name, value in data.items() if name not in _OWN_FIELDS}
    return render(
        visit,
        "confirm.html",
        is_live=False,
        page=page,
        id=id,
        path=path,
        back=back or path,
        action=action,
        question=question,
        fields=fields,
    )
