"""The simulated lines and rig time as C functions, so that the daemon's C loop runs on them too."""

from __future__ import annotations

from focusd.clock import Clock
from focusd.drivers.native import NOW, READ, SLEEP, WRITE, Board
from focusd_sim.pins import SimFactory


def sim_board(factory: SimFactory, clock: Clock) -> Board:
    """Return what `focusd.drivers.native.lgpio_board` returns on a Pi.

    Parameters
    ----------
    factory : SimFactory
        Whose lines are written and read; outputs must have been opened through it.
    clock : Clock
        Rig time.
    """

    def now_ns() -> int:
        return round(clock.now_s() * 1e9)

    def sleep_until(at_ns: int) -> None:
        clock.sleep(max(0, at_ns - now_ns()) / 1e9)

    def write(_handle: int, line: int, level: int) -> int:
        pin = factory.track(line).pin
        if pin is None or pin.function != "output":
            return -1
        pin.state = bool(level)
        return 0

    return Board(
        WRITE(write), READ(lambda _handle, line: int(factory.level(line))), NOW(now_ns), SLEEP(sleep_until)
    )
