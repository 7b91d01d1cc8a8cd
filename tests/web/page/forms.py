"""The forms of the pages, as a browser reads and sends them."""

import re
from html import unescape

import httpx

AS_PAGE = {"accept": "text/html"}


def csrf_token(text: str) -> str:
    """Return the token of the first form in the content of a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', text)
    assert found is not None
    return found[1]


async def send(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send the form of an action."""
    page = await client.get("/login")
    return await client.post(path, data={"csrf_token": csrf_token(page.text), "confirmed": "yes", **fields})


def form_of(text: str) -> dict[str, str]:
    """Return the fields of the first form in the content of a page, as a browser would send them."""
    form = text.partition("<main")[2].partition("<form")[2].partition("</form>")[0]
    inputs = dict(re.findall(r'<input[^>]*? name="(\w+)"[^>]*? value="([^"]*)"', form))
    areas = {
        match[1]: match[2] for match in re.finditer(r'<textarea name="(\w+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL)
    }
    choices = {
        match[1]: re.findall(r'<option(?: value="(\w+)")? selected>(\w+)', match[2])[0]
        for match in re.finditer(r'<select name="(\w+)">(.*?)</select>', form, re.DOTALL)
    }
    chosen = {name: value or text for name, (value, text) in choices.items()}
    return {name: unescape(value) for name, value in {**inputs, **areas, **chosen}.items()}
