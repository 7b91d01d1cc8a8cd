"""What the tests of the index of words share, on files and on servers."""

from textwrap import dedent

from sqlite.old_release import of_release
from sqlite.programs import Program
from swarm_persistence import DocumentModel, Storage

NAME = "an index of words"
NOTES = ("notes",)

_PUT = """
    import asyncio
    from swarm_persistence import DocumentModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while word := input():
                await storage.delete_documents(("notes",), keys=["old"])
                await storage.put_documents([DocumentModel.new(("notes",), word, word)])
                print("put", flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that deletes `old` and stores a document for each word that it is told."""
    return of_release(dedent(_PUT).replace("Backend", backend))


async def fill(storage: Storage) -> None:
    """Store documents, and keep an index of them."""
    await storage.put_documents([DocumentModel.new(NOTES, str(number), f"common w{number}") for number in range(250)])
    await storage.put_documents([DocumentModel.new(NOTES, "old", "word")])
    await storage.index_documents(NOTES)


async def found(storage: Storage, query: str) -> list[str]:
    """Return the keys of the documents that a search finds."""
    return [each.document.key for each in await storage.search_documents(query, NOTES)]


async def require_neighbourliness(storage: Storage, *old: Program) -> None:
    """Require that what programs of the old code write is found, and what they delete is not."""
    await fill(storage)
    for number, program in enumerate(old):
        assert await found(storage, "word") == ["old"]
        program.tell(f"new{number}")
        assert program.wait_for_line() == "put"
        assert await found(storage, f"new{number}") == [f"new{number}"]
        assert await found(storage, "word") == []
        await storage.put_documents([DocumentModel.new(NOTES, "old", "word")])
        program.tell("")
        program.finish()
