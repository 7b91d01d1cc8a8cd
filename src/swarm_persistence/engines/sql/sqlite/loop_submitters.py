"""The submitters of each event loop, one for the writer and one for the readers, created on the loop's first call."""

import asyncio
import threading
from collections.abc import Callable

from swarm_persistence.engines.calling_thread import CallingThreadLoop
from swarm_persistence.engines.runtime import require_real_threads, running_loop
from swarm_persistence.engines.sql.sqlite.calling_threads import ThreadSubmitter
from swarm_persistence.engines.sql.sqlite.group_commit import Writer
from swarm_persistence.engines.sql.sqlite.readers import Readers
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.sql.sqlite.submit import MOST_SKIPPED, Submitter

_Submitters = tuple[Submitter, Submitter] | tuple[ThreadSubmitter, ThreadSubmitter]


class LoopSubmitters(dict[asyncio.AbstractEventLoop | None, _Submitters]):
    """The submitters by event loop; with a single connection, reads go to the writer as well.

    The key is the running loop, or `None` where none runs; a missing pair is created.
    """

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        settings: SqliteSettings,
        why_writes_wait: Callable[[], str],
        are_writes_stuck: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._writer = writer
        self._readers = readers
        self._settings = settings
        self._why_writes_wait = why_writes_wait
        self._are_writes_stuck = are_writes_stuck
        self._reads_on_writer = settings.max_connections == 1
        self._lock = threading.RLock()  # a finalizer that calls the storage may interrupt its own thread

    def __missing__(self, loop: asyncio.AbstractEventLoop | None) -> _Submitters:
        """Create those of the running loop; raise `OtherError` if none runs, or if threads were replaced."""
        running = running_loop() if loop is None else loop
        with self._lock:
            for closed in [other for other in list(self) if other is not None and other.is_closed()]:
                del self[closed]
            if isinstance(running, CallingThreadLoop):
                return self.setdefault(running, self._of_thread(running))
            require_real_threads()
            return self.setdefault(running, self._of_loop(running))

    def all(self) -> tuple[list[Submitter | ThreadSubmitter], list[Submitter | ThreadSubmitter]]:
        """Return all submitters to the writer, and all those to the readers."""
        with self._lock:
            pairs = list(self.values())
        return [writing for writing, _ in pairs], [reading for writing, reading in pairs if reading is not writing]

    def _of_loop(self, loop: asyncio.AbstractEventLoop) -> tuple[Submitter, Submitter]:
        timeout, longest_stay = self._settings.connection_timeout, self._settings.longest_stay
        writing = Submitter(
            loop,
            self._writer.send,
            timeout,
            self._why_writes_wait,
            self._are_writes_stuck,
            longest_stay=longest_stay,
            lead=self._writer.lead,
        )
        if self._reads_on_writer:
            return writing, writing
        readers = self._readers
        return writing, Submitter(
            loop,
            readers.send,
            timeout,
            self._why_reads_wait,
            _never,
            longest_stay=longest_stay,
            fewest_skipped=MOST_SKIPPED,
            run_here=readers.run_here,
        )

    def _of_thread(self, loop: CallingThreadLoop) -> tuple[ThreadSubmitter, ThreadSubmitter]:
        writer, readers, timeout = self._writer, self._readers, self._settings.connection_timeout
        writing = ThreadSubmitter(
            loop,
            writer.lead,
            writer.lead_group,
            writer.send,
            timeout=timeout,
            explain=self._why_writes_wait,
            wake_chain=writer.wake_chain,
        )
        if self._reads_on_writer:
            return writing, writing
        return writing, ThreadSubmitter(
            loop, readers.run_in_caller, readers.send, readers.send, timeout=timeout, explain=self._why_reads_wait
        )

    def _why_reads_wait(self) -> str:
        return f"all {self._settings.max_connections - 1} reading connections were in use"


def _never() -> bool:
    return False
