"""How late steps are, and how soon a stop is heard, while the fusion works beside: real time, no hardware.

    python tests/bench/bench_pulses.py [--moves 40] [--stops 100]

Each way of timing steps makes moves of 60 steps at 600 steps/s while nothing else runs, while frames of 12 MP
are fused, and while another thread runs Python without a pause. Lateness is what the engines report
(`worst_late_s`), one value a move. A stop is timed from `Halt.set` on another thread to the return of the
move on the job's, after which EN is released: everything between the message and the motor but for the
network. Lines lead nowhere: the C loop writes to a function of libc, the Python loop to a gpiozero mock pin.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from gpiozero import DigitalOutputDevice
from gpiozero.pins.mock import MockFactory

from focusd.clock import SystemClock
from focusd.drivers import native
from focusd.drivers.native import NOW, READ, SLEEP, WRITE, Board, NativePulses
from focusd.drivers.pulses import TIMINGS, PinPulses, Pulses
from focusd.fusion import Fusion
from focusd.halt import Halt
from focusd.ramp import Ramp

RAMP = Ramp(100.0, 600.0, 1200.0)
STEPS = 60
Engines = dict[str, Callable[[], Pulses]]


def c_loop() -> Pulses:
    """Make the C loop write to `abs`, which does nothing and answers no error."""
    loop, libc = native.library(), ctypes.CDLL(None)
    board = Board(
        ctypes.cast(libc.abs, WRITE),
        ctypes.cast(libc.abs, READ),
        ctypes.cast(loop.focusd_now_ns, NOW),
        ctypes.cast(loop.focusd_sleep_until, SLEEP),
    )
    return NativePulses(board, 17, TIMINGS["a4988"], SystemClock())


def python_loop() -> Pulses:
    """Make the Python loop write to a mock pin, whose list of states is dropped."""
    pin = DigitalOutputDevice(17, pin_factory=MockFactory())
    pin.pin.clear_states = lambda: None
    return PinPulses(pin, TIMINGS["a4988"], SystemClock())


@contextmanager
def beside(work: Callable[[], None] | None, nice: int) -> Iterator[None]:
    """Run `work` again and again on another thread."""
    over = threading.Event()

    def go_on() -> None:
        if nice:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        while work is not None and not over.is_set():
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def lateness_ms(make: Callable[[], Pulses], moves: int) -> list[float]:
    """Return the worst lateness of each of so many moves."""
    worst = []
    for _ in range(moves):
        pulses = make()
        pulses.run(STEPS, RAMP, Halt(), ())
        worst.append(pulses.worst_late_s * 1e3)
    return worst


def stops_ms(make: Callable[[], Pulses], stops: int) -> list[float]:
    """Return how long each of so many stops in the middle of a move took to be obeyed."""
    rng = np.random.default_rng(1)
    pulses, taken = make(), []
    for _ in range(stops):
        halt, pressed_s = Halt(), [0.0]

        def press(halt: Halt = halt, pressed_s: list[float] = pressed_s) -> None:
            time.sleep(rng.uniform(0.02, 0.08))
            pressed_s[0] = time.perf_counter()
            halt.set()

        presser = threading.Thread(target=press)
        presser.start()
        pulses.run(1_000_000, RAMP, halt, ())
        taken.append((time.perf_counter() - pressed_s[0]) * 1e3)
        presser.join()
    return taken


def row(name: str, values: list[float]) -> None:
    """Print median, 99th percentile and maximum."""
    p50, p99 = np.percentile(values, [50, 99])
    print(f"  {name:34s} {p50:8.3f} {p99:8.3f} {max(values):8.3f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--stops", type=int, default=100)
    args = parser.parse_args()
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 255, (3000, 4000, 3), dtype=np.uint8)
    fusion, place = Fusion(), iter(range(10**9))

    def fuse() -> None:
        fusion.add(frame, float(next(place)))

    def spin() -> None:
        sum(range(100_000))

    engines: Engines = {"Python": python_loop}
    if native.LIBRARY.is_file():
        engines["C"] = c_loop
    loads = {
        "idle": (None, 0),
        "fusing": (fuse, 0),
        "fusing, nice 10": (fuse, 10),
        "Python busy": (spin, 0),
        "Python busy, nice 10": (spin, 10),
    }
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    print(f"  {'ms':34s} {'median':>8s} {'p99':>8s} {'max':>8s}")
    for load, (work, nice) in loads.items():
        with beside(work, nice):
            for name, make in engines.items():
                row(f"{name}, {load}: late", lateness_ms(make, args.moves))
                row(f"{name}, {load}: stop", stops_ms(make, args.stops))


if __name__ == "__main__":
    main()
