"""A lock for short critical sections that can defer an action where waiting for the lock could deadlock."""

import threading
from collections import deque
from collections.abc import Callable

Action = Callable[[], object]


class DeferredLock:
    """A mutex with a queue of deferred actions. Never hold it across an `await`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: deque[Action] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._actions:
            self._run_actions()

    def run_or_defer(self, action: Action) -> None:
        """Run the action under the lock: at once if the lock is free, else when its holder releases it.

        The garbage collector may call this in the thread that holds the lock.
        """
        self._actions.append(action)
        self._run_actions()

    def _run_actions(self) -> None:
        # If the lock is held, its holder finds the action in the queue after it has released the lock.
        while self._actions and self._lock.acquire(blocking=False):
            try:
                while self._actions:
                    self._actions.popleft()()
            finally:
                self._lock.release()
