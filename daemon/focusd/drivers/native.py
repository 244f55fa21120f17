"""STEP pulses timed by a loop in C, where the package was built with a compiler."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gpiozero.pins import Factory

from focusd.clock import Clock
from focusd.drivers.pulses import PulseTiming
from focusd.errors import ConfigError, RailError
from focusd.halt import Halt
from focusd.rail import READINGS, Until
from focusd.ramp import Ramp

LIBRARY = Path(__file__).with_name("_pulses.so")
_VERSION = 2
_FAILED = 3
# The job thread shows no sign of life during a run: none is longer than this.
_LONGEST_RUN_S = 60.0

WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
NOW = ctypes.CFUNCTYPE(ctypes.c_int64)
SLEEP = ctypes.CFUNCTYPE(None, ctypes.c_int64)


@dataclass(frozen=True, slots=True)
class Board:
    """Lines and time as C functions: lgpio's and the kernel's, or simulated ones.

    Parameters
    ----------
    write : callable of (handle, line, level) to int
        Sets an output; answers below 0 on failure.
    read : callable of (handle, line) to int
        Level of a line; below 0 on failure.
    now_ns, sleep_until : callable
        The rig's time, ns.
    handle : int
        Of the chip that the lines belong to.
    """

    write: Any
    read: Any
    now_ns: Any
    sleep_until: Any
    handle: int = 0


class _Watch(ctypes.Structure):
    _fields_ = (("line", ctypes.c_int32), ("level", ctypes.c_int32))


class _Board(ctypes.Structure):
    _fields_ = (
        ("write", WRITE),
        ("read", READ),
        ("now_ns", NOW),
        ("sleep_until", SLEEP),
        ("handle", ctypes.c_int32),
    )


class _Move(ctypes.Structure):
    _fields_ = (
        ("step_line", ctypes.c_int32),
        ("readings", ctypes.c_int32),
        ("high_ns", ctypes.c_int64),
        ("low_ns", ctypes.c_int64),
        ("intervals_ns", ctypes.c_void_p),
        ("interval_count", ctypes.c_int64),
        ("steps", ctypes.c_int64),
        ("halt", ctypes.c_void_p),
        ("watches", ctypes.c_void_p),
        ("watch_count", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("made", ctypes.c_int64),
        ("worst_late_ns", ctypes.c_int64),
        ("reached", ctypes.c_int32),
    )


@cache
def library() -> ctypes.CDLL:
    """Load the compiled loop.

    Raises
    ------
    ConfigError
        There is none that fits.
    """
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
        fits = loaded.focusd_pulses_version() == _VERSION
    except (OSError, AttributeError):
        fits = False
    if not fits:
        raise ConfigError(
            "this focusd was built without its C loop, which times steps better than Python: apt install gcc "
            'libc6-dev and install focusd again, or set rail.pulses = "pins"'
        )
    return loaded


def lgpio_board(factory: Factory) -> Board:
    """Return the lines of gpiozero's lgpio factory, for calls from C."""
    import _lgpio

    # Python's module is linked with the C library or contains it; either way its symbols are found there.
    functions = ctypes.CDLL(_lgpio.__file__)
    loop = library()
    return Board(
        ctypes.cast(functions.lgGpioWrite, WRITE),
        ctypes.cast(functions.lgGpioRead, READ),
        ctypes.cast(loop.focusd_now_ns, NOW),
        ctypes.cast(loop.focusd_sleep_until, SLEEP),
        factory._handle,  # gpiozero keeps it to itself, but there is no other way to the same lines
    )


class NativePulses:
    """Pulses made by the C loop; no Python runs between two steps.

    Parameters
    ----------
    board : Board
        Lines and time.
    step_line : int
        The STEP line, claimed as an output at its low level.
    timing : PulseTiming
        The driver chip's.
    clock : Clock
        The rig's; shown a sign of life between long runs.

    Attributes
    ----------
    worst_late_s : float
        The latest any step has been behind its time so far, s.
    ended_by : Until or None
        What ended the last run early, if not the emergency stop.
    """

    def __init__(self, board: Board, step_line: int, timing: PulseTiming, clock: Clock) -> None:
        self._run = library().focusd_pulses_run
        self._board = _Board(board.write, board.read, board.now_ns, board.sleep_until, board.handle)
        self._step_line = step_line
        self._timing = timing
        self._clock = clock
        self.worst_late_s = 0.0
        self.ended_by: Until | None = None

    def run(self, count: int, ramp: Ramp, stop: Halt, until: Sequence[Until]) -> int:
        """Make `count` pulses; see `focusd.rail.Motor.run`. Returns the pulses made.

        Raises
        ------
        RailError
            A line cannot be written or read.
        """
        watches = (_Watch * len(until))(
            *(_Watch(end.switch.line, int(end.switch.active_high == end.pressed)) for end in until)
        )
        # A move longer than that comes to rest on its way.
        self.ended_by = None
        longest = max(1, int(_LONGEST_RUN_S * ramp.start_hz))
        total = 0
        while total < count:
            self._clock.sleep(0.0)
            steps = min(longest, count - total)
            move = self._make(steps, ramp, stop, watches)
            total += move.made
            if move.made < steps:
                self.ended_by = until[move.reached] if move.reached >= 0 else None
                break
        return total

    def _make(self, steps: int, ramp: Ramp, stop: Halt, watches: ctypes.Array[_Watch]) -> _Move:
        intervals_ns = np.rint(ramp.intervals_s((steps + 1) // 2) * 1e9).astype(np.int64)
        move = _Move(
            step_line=self._step_line,
            high_ns=round(self._timing.high_s * 1e9),
            low_ns=round(self._timing.low_s * 1e9),
            intervals_ns=intervals_ns.ctypes.data,
            interval_count=len(intervals_ns),
            steps=steps,
            halt=ctypes.addressof(stop.word),
            watches=ctypes.addressof(watches),
            watch_count=len(watches),
            readings=READINGS,
            reached=-1,
        )
        end = self._run(ctypes.byref(self._board), ctypes.byref(move))
        self.worst_late_s = max(self.worst_late_s, move.worst_late_ns / 1e9)
        if end == _FAILED:
            raise RailError(
                f"a GPIO line failed after {move.made} of {steps} steps (lgpio error {move.error}): the "
                "position is unknown; see whether another program uses the lines, then send `home`",
                steps=steps,
                made=move.made,
                error=move.error,
            )
        return move
