"""Ctrl-C, SIGTERM and a terminal that closes, for a command that works hardware on a thread of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from types import FrameType
from typing import Protocol, TypeVar

from focusd.errors import Stopped
from focusd.halt import Halt

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HEARD_S = 0.2


class _Closes(Protocol):
    def close(self) -> None: ...


_Hardware = TypeVar("_Hardware", bound=_Closes)
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


def worked(
    build: Callable[[], _Hardware], work: Callable[[_Hardware], _Result], stop: Halt, message: str
) -> _Result:
    """Take hardware, work it and give it back, on a thread of its own; return the work's result.

    Parameters
    ----------
    build : callable
        Takes the hardware.
    work : callable
        What to do with it; it heeds `stop`.
    stop : Halt
        Set by an interrupt.
    message : str
        Of the error after an interrupt.

    Raises
    ------
    Stopped
        There was an interrupt.
    Exception
        What the work raised.
    """

    def whole() -> _Result:
        with closing(build()) as hardware:
            return work(hardware)

    with interrupts(stop) as heard, ThreadPoolExecutor(1, "rig") as pool:
        future = pool.submit(whole)
        while not future.done():
            # A wait without end would not let a signal be heard on every system.
            wait([future], _HEARD_S)
        if heard:
            raise Stopped(message) from future.exception()
        return future.result()
