"""The lock whose holder can defer an action until its release."""

import threading

from swarm_persistence.engines.rows.memory.write_queue import DeferredLock


def test_an_action_runs_at_once_if_nobody_is_inside() -> None:
    lock, done = DeferredLock(), []

    lock.run_or_defer(lambda: done.append(1))

    assert done == [1]


def test_an_action_asked_from_inside_runs_when_the_thread_leaves() -> None:
    lock, done = DeferredLock(), list[int]()

    with lock:
        lock.run_or_defer(lambda: done.append(1))
        assert done == []

    assert done == [1]


def test_an_action_may_ask_for_another() -> None:
    lock, done = DeferredLock(), list[int]()

    lock.run_or_defer(lambda: lock.run_or_defer(lambda: done.append(1)))

    assert done == [1]


def test_actions_of_many_threads_all_run_and_one_at_a_time() -> None:
    lock, done = DeferredLock(), list[int]()
    inside = 0

    def act() -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        done.append(threading.get_ident())
        inside -= 1

    def ask() -> None:
        for number in range(500):
            lock.run_or_defer(act)
            if number % 3 == 0:
                with lock:
                    act()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 4 * (500 + 167)


def test_an_error_inside_releases_the_lock() -> None:
    lock = DeferredLock()

    try:
        with lock:
            raise ValueError
    except ValueError:
        pass

    with lock:
        pass
