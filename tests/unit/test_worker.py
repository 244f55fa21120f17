"""A thread whose death is heard."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from focusd.worker import Worker, WorkerDied

ANSWER_S = 10.0  # a failing test's patience, not a passing one's


def test_the_body_runs_on_a_thread_of_that_name() -> None:
    seen: queue.SimpleQueue[str] = queue.SimpleQueue()
    deaths: list[WorkerDied] = []
    worker = Worker("job", lambda w: seen.put(f"{threading.current_thread().name} {w.name}"), deaths.append)
    worker.start()
    assert worker.join(ANSWER_S)
    assert seen.get(timeout=ANSWER_S) == "job job"
    assert deaths == []


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_whatever_kills_it_is_posted_and_not_swallowed(error: BaseException) -> None:
    deaths: queue.SimpleQueue[WorkerDied] = queue.SimpleQueue()

    def body(_worker: Worker) -> None:
        raise error

    worker = Worker("fuse", body, deaths.put)
    worker.start()
    died = deaths.get(timeout=ANSWER_S)
    assert (died.name, died.error) == ("fuse", error)
    assert worker.join(ANSWER_S)


def test_join_gives_up_on_a_thread_that_hangs() -> None:
    release = threading.Event()
    worker = Worker("job", lambda _w: release.wait(ANSWER_S) and None, lambda _died: None)
    assert worker.join(0.0), "a thread that was never started has ended"
    worker.start()
    assert not worker.join(0.0)
    release.set()
    assert worker.join(ANSWER_S)


def test_silence_is_counted_from_the_last_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    worker = Worker("job", lambda _w: None, lambda _died: None)
    now_s[0] = 130.0
    assert worker.silent_s() == 30.0
    worker.beat()
    now_s[0] = 132.5
    assert worker.silent_s() == 2.5
