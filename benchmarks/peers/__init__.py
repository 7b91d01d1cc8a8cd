"""The peers: the library, and what Python users combine by hand today, each as its own documentation recommends."""

from benchmarks.peers.aiosqlite_driver import AiosqliteHelper, AiosqliteIsolated, AiosqliteShared
from benchmarks.peers.peer import Peer
from benchmarks.peers.queues import Huey, PersistQueue
from benchmarks.peers.raw_apsw import ApswAutocommit, ApswBatches
from benchmarks.peers.sqlalchemy_orm import SqlalchemyOrm
from benchmarks.peers.standard_sqlite3 import StandardSqlite3
from benchmarks.peers.swarm import Swarm, SwarmChecksums
from benchmarks.peers.swarm_blocking import SwarmBlocking

PEERS: dict[str, type[Peer]] = {
    peer.key: peer
    for peer in (
        Swarm,
        SwarmChecksums,
        SwarmBlocking,
        ApswBatches,
        ApswAutocommit,
        StandardSqlite3,
        AiosqliteIsolated,
        AiosqliteHelper,
        AiosqliteShared,
        SqlalchemyOrm,
        PersistQueue,
        Huey,
    )
}

__all__ = ["PEERS", "Peer"]
