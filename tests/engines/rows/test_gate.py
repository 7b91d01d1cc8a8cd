"""The lock that can be asked from inside itself."""

import threading

from swarm_persistence.engines.rows.memory.gate import Gate


def test_an_action_runs_at_once_if_nobody_is_inside() -> None:
    gate, done = Gate(), []

    gate.soon(lambda: done.append(1))

    assert done == [1]


def test_an_action_asked_from_inside_runs_when_the_thread_leaves() -> None:
    gate, done = Gate(), list[int]()

    with gate:
        gate.soon(lambda: done.append(1))
        assert done == []

    assert done == [1]


def test_an_action_may_ask_for_another() -> None:
    gate, done = Gate(), list[int]()

    gate.soon(lambda: gate.soon(lambda: done.append(1)))

    assert done == [1]


def test_actions_of_many_threads_all_run_and_one_at_a_time() -> None:
    gate, done = Gate(), list[int]()
    inside = 0

    def act() -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        done.append(threading.get_ident())
        inside -= 1

    def ask() -> None:
        for number in range(500):
            gate.soon(act)
            if number % 3 == 0:
                with gate:
                    act()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 4 * (500 + 167)


def test_an_error_inside_opens_the_gate_again() -> None:
    gate = Gate()

    try:
        with gate:
            raise ValueError
    except ValueError:
        pass

    with gate:
        pass
