"""One caller's inserts with `durability="normal"`, which do not wait for the disk."""

from collections.abc import Callable

from benchmarks.bench import Bench, Case
from benchmarks.peers.peer import Work
from benchmarks.peers.raw_apsw import ApswAutocommit
from benchmarks.peers.swarm import ConfiguredSwarm, Swarm
from benchmarks.records import make_events
from benchmarks.requirements import require
from benchmarks.results import Row
from swarm_persistence import SqliteStorage


class NormalDurability:
    """One insert after the other, each its own commit."""

    key = "normal-durability"
    title = "Single insert, not synced"
    about = (
        'One caller stores one event at a time, with `durability="normal"` and `synchronous=NORMAL`: a commit survives '
        "the process, but may be lost with the machine."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        events = make_events(bench.scale.operations)

        async def measure_once(case: Case) -> float:
            peer = _PEERS[case[0]]()
            path = await bench.site.copy(self.key, peer, list)
            await peer.open(str(path))
            try:
                outcome = await peer.run((Work("insert", event) for event in events), 1, bench.scale.seconds)
            finally:
                await peer.close()
            require(bench.site.count(path, "events") == outcome.done, f"{peer.title} has lost writes")
            bench.site.remove(path)
            return outcome.rate

        return await bench.measure(self.key, [(key, 1) for key in _PEERS], measure_once)


class _ApswAutocommit(ApswAutocommit):
    async def open(self, path: str) -> None:
        """Open the connection."""
        await super().open(path)
        self.connection.execute("PRAGMA synchronous = NORMAL").fetchall()


_PEERS: dict[str, Callable[[], Swarm | ApswAutocommit]] = {
    "swarm": lambda: ConfiguredSwarm(SqliteStorage.builder().durability("normal")),
    "apsw-autocommit": _ApswAutocommit,
}
