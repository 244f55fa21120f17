"""A serial line of one wire with TMC2209s on it: in the test's own thread, or behind a pseudo-terminal."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from focusd_sim.tmc2209 import SimTmc2209

Spoil = Callable[[bytes], bytes]


@dataclass(slots=True)
class Noise:
    """What goes wrong on the line.

    Parameters
    ----------
    on : str
        ``request``: what the Pi sends, for the chips and in its own echo; ``echo``: only what the Pi hears of
        it; ``reply``: what a chip says.
    spoil : callable
        Makes the bytes that arrive of those sent; may do to a chip what it likes meanwhile.
    skip, times : int
        So many pass before it begins; and so many are spoilt.
    """

    on: Literal["request", "echo", "reply"]
    spoil: Spoil
    skip: int = 0
    times: int = 1


def flip(bit: int) -> Spoil:
    """Turn one bit over, counted from the first byte's lowest; past the end none."""
    return lambda data: bytes(byte ^ (1 << bit % 8) * (bit // 8 == n) for n, byte in enumerate(data))


def drop(index: int) -> Spoil:
    """Lose one byte."""
    return lambda data: data[:index] + data[index + 1 :]


def lose(_data: bytes) -> bytes:
    """Lose all."""
    return b""


@dataclass
class OneWire:
    """The line: all hear all, and the Pi itself. Called without waiting, it is the daemon's wire too.

    Parameters
    ----------
    chips : sequence of SimTmc2209
        On the line.
    noise : list of Noise
        Goes wrong in this order.
    """

    chips: Sequence[SimTmc2209]
    noise: list[Noise] = field(default_factory=list)
    name: str = "sim"
    _heard: bytes = b""

    def carry(self, burst: bytes) -> bytes:
        """Bring what the Pi sends to the chips; return what the Pi hears: its own, then theirs."""
        burst = self._spoilt("request", burst)
        said = b"".join(chip.hear(burst) for chip in self.chips)
        return self._spoilt("echo", burst) + (self._spoilt("reply", said) if said else b"")

    def write(self, data: bytes) -> None:
        """Send a burst."""
        self._heard += self.carry(data)

    def read(self, count: int) -> bytes:
        """Return what was heard, `count` bytes at most."""
        heard, self._heard = self._heard[:count], self._heard[count:]
        return heard

    def reset_input(self) -> None:
        """Forget what was heard."""
        self._heard = b""

    def _spoilt(self, part: Literal["request", "echo", "reply"], data: bytes) -> bytes:
        for noise in self.noise:
            if noise.on != part:
                continue
            if noise.skip:
                noise.skip -= 1
            elif noise.times:
                noise.times -= 1
                data = noise.spoil(data)
        return data


class Pty:
    """A line behind a pseudo-terminal of the system, for a genuine serial library to open at `path`.

    Parameters
    ----------
    line : OneWire
        What is behind it; used by a thread of this object until `close`.
    """

    def __init__(self, line: OneWire) -> None:
        self._line = line
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._waker, self._wake = os.pipe()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="tmc2209 line", daemon=True)
        self._thread.start()

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Pull the plug; raises what went wrong on the line's thread. Does nothing the second time."""
        if self._thread.is_alive():
            os.write(self._wake, b".")
        self._thread.join()
        for number in (self._ours, self._theirs, self._waker, self._wake):
            if number >= 0:
                os.close(number)
        self._ours = self._theirs = self._waker = self._wake = -1
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _serve(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self._ours, self._waker], [], [])
                if self._waker in ready:
                    return
                os.write(self._ours, self._line.carry(os.read(self._ours, 256)))
        except BaseException as failure:  # noqa: BLE001  # the owner gets it from close
            self._failure = failure
