"""The pages of documents and their collections: what they show, and what their forms change."""

from datetime import timedelta
from html import unescape

import httpx
import pytest

from swarm_persistence import DocumentModel, Storage
from swarm_persistence.clock import now
from web.page.forms import form_of, send


class TestDocuments:
    @pytest.fixture(autouse=True)
    async def documents(self, storage: Storage) -> None:
        """Store some."""
        many = [DocumentModel.new(("many",), f"{n:03}") for n in range(60)]
        facts = [
            DocumentModel.new(("a", "b/c"), "k&1", {"text": "The red fox"}, b"\0ABC" * 90, label="l m"),
            DocumentModel.new(("a",), "k2", {"text": "a red hen"}, embedding=[0.5, 1.0]),
            DocumentModel.new(("a",), "gone", {"text": "red"}, expires_at=now() - timedelta(seconds=1)),
        ]
        await storage.put_documents([*many, *facts])

    async def test_collections_lead_to_those_below_and_to_documents(self, client: httpx.AsyncClient) -> None:
        top = unescape((await client.get("/documents")).text)
        below = unescape((await client.get("/documents?in=a")).text)
        inner = unescape((await client.get("/documents?in=a&in=b%2Fc")).text)

        assert 'href="/documents?in=a"' in top
        assert 'href="/documents?in=a&in=b%2Fc"' in below
        assert 'data-key="k2"' in below
        assert "gone" not in below
        assert 'href="/documents/item?in=a&in=b%2Fc&key=k%261"' in inner

    async def test_one_shows_its_value_its_data_and_its_facts(self, client: httpx.AsyncClient) -> None:
        text = unescape((await client.get("/documents/item?in=a&in=b%2Fc&key=k%261")).text)
        other = (await client.get("/documents/item?in=a&key=k2")).text

        assert '"text": "The red fox"' in text
        assert "360 B, the first 256 bytes" in text
        assert "0000  00 41 42 43" in text
        assert ".ABC.ABC" in text
        assert 'href="/documents?in=a&in=b%2Fc&label=l+m"' in text
        assert "2 dimensions" in other
        assert (await client.get("/documents/item?in=a&key=gone")).status_code == 404
        assert (await client.get("/documents/item?key=x")).status_code == 422

    async def test_a_list_shows_sizes(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await storage.put_documents([DocumentModel.new(("sized",), "k", {"text": "x" * 1488}, b"y" * 1000)])

        assert '<td class="number">2.5 kB</td>' in (await client.get("/documents?in=sized")).text

    async def test_one_is_deleted_after_a_confirmation_only_as_it_was_shown(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        await storage.put_documents([DocumentModel.new(("a", "b/c"), "k\n<1>", 1)])
        shown = form_of((await client.get("/documents/item", params={"in": ["a", "b/c"], "key": "k\n<1>"})).text)
        await storage.put_documents([DocumentModel.new(("a", "b/c"), "k\n<1>", 2)])
        asked = await send(client, "/documents/item/delete", **shown, confirmed="")
        assert "Delete this document?" in asked.text
        late = await send(client, "/documents/item/delete", **shown)
        assert (late.status_code, "was shown as another one" in late.text) == (409, True)

        answer = await send(client, "/documents/item/delete", **{**shown, "version": "2"})

        assert answer.headers["location"] == "/documents?in=a&in=b%2Fc&done=delete"
        assert await storage.get_document(("a", "b/c"), "k\n<1>") is None
        assert "The document was deleted." in (await client.get(answer.headers["location"])).text
        assert (await send(client, "/documents/item/delete", document="[]", version="1")).status_code == 422
        assert (await send(client, "/documents/item/burn", **shown)).status_code == 404

    async def test_words_are_found_here_and_below(self, client: httpx.AsyncClient) -> None:
        everywhere = (await client.get("/documents?words=RED")).text
        inner = (await client.get("/documents?in=a&in=b%2Fc&words=red")).text
        none = (await client.get("/documents?words=blue")).text

        assert "k&amp;1" in everywhere
        assert "k2" in everywhere
        assert "gone" not in everywhere
        assert "k2" not in inner
        assert "No document has all of these words." in none

    async def test_pages_hold_each_key_once_and_a_label_chooses(self, client: httpx.AsyncClient) -> None:
        first = (await client.get("/documents?in=many")).text
        second = (await client.get("/documents?in=many&after=049")).text
        labelled = (await client.get("/documents?in=a&in=b%2Fc&label=l+m")).text
        unlabelled = (await client.get("/documents?in=many&label=l+m")).text

        assert "after=049" in first
        assert [f'data-key="{n:03}"' in first for n in range(60)] == [n < 50 for n in range(60)]
        assert [f'data-key="{n:03}"' in second for n in range(60)] == [n >= 50 for n in range(60)]
        assert 'data-key="k&amp;1"' in labelled
        assert "No document here has this label." in unlabelled

    async def test_what_names_no_collection_is_explained(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/documents?in=a%00b")

        assert answer.status_code == 200
        assert 'role="alert"' in answer.text
