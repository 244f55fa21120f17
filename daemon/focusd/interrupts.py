"""Ctrl-C, SIGTERM and a terminal that closes, for a command that works hardware on a thread of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from focusd.errors import Stopped
from focusd.halt import Halt

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HEARD_S = 0.2

_Result = TypeVar("_Result")


@contextmanager
def interrupts(stop: Halt) -> Iterator[list[int]]:
    """Let an interrupt set `stop`; yield the signals that came."""
    heard: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        stop.set()

    before = {number: signal.signal(number, interrupt) for number in _ENDINGS}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def awaited(future: Future[_Result], heard: list[int], message: str) -> _Result:
    """Wait for the thread and return its result.

    Parameters
    ----------
    future : Future
        Of the thread's work.
    heard : list of int
        From `interrupts`.
    message : str
        Of the error after an interrupt.

    Raises
    ------
    Stopped
        There was an interrupt.
    Exception
        What the work raised.
    """
    while not future.done():
        # A wait without end would not let a signal be heard on every system.
        wait([future], _HEARD_S)
    if heard:
        raise Stopped(message) from future.exception()
    return future.result()
