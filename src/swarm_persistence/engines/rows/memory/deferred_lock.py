"""A lock for short work, which can also be asked to do something from where waiting for it could never end."""

import threading
from collections import deque
from collections.abc import Callable

Action = Callable[[], object]


class DeferredLock:
    """Lets one thread in at a time. Never hold it across an `await`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: deque[Action] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._actions:
            self._act()

    def soon(self, action: Action) -> None:
        """Run the action under the lock: at once if nobody is there, else when whoever is there leaves.

        The garbage collector may call this in the very thread that is inside.
        """
        self._actions.append(action)
        self._act()

    def _act(self) -> None:
        # Whoever fails to get in leaves the action to the one inside, who looks for it after leaving.
        while self._actions and self._lock.acquire(blocking=False):
            try:
                while self._actions:
                    self._actions.popleft()()
            finally:
                self._lock.release()
