"""Shows a problem to a person: the pages that a browser gets in place of application/problem+json."""

from swarm_persistence.web.access import Visit
from swarm_persistence.web.page.rendering import page_text
from swarm_persistence.web.problems import problem_in

_ADVICE = {
    401: "Log in, and try again.",
    403: "Nothing was changed.",
    404: "The address may be misspelt, or what it named was deleted.",
    405: "This address is for programs; the pages are in the navigation above.",
    409: "Something has changed meanwhile. Look at it again before you repeat this.",
    422: "Check the address, or what was filled in.",
    429: "Wait for a moment.",
    503: "The server is busy or stops; try again soon.",
}


def problem_page(visit: Visit, body: bytes) -> bytes:
    """Return the page that shows the problem of a body."""
    problem = problem_in(body)
    advice = _ADVICE.get(problem.status, "")
    return page_text(visit, "problem.html", is_live=False, problem=problem, advice=advice).encode()
