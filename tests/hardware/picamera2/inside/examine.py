"""Examinations of the Pi camera's driver on the genuine picamera2; each prints what it found as JSON.

python -m inside.examine NAME
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from focusd.errors import FocusdError
from focusd.estimate import Pace
from focusd.fusion import Fusion
from focusd.job import JobSettings
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr
from focusd.plan import StackPlan
from focusd.rig import Frame, Shot
from focusd.runner import Runner
from focusd_sim.score import psnr

from .negative import negative
from .studio import Studio, open_studio
from .virtual import GATE

SETTINGS = JobSettings()


def attempt(action: Callable[[], Any]) -> dict[str, Any]:
    """Say what came of it and how long it took, s."""
    began_s = time.monotonic()
    error: FocusdError | None = None
    try:
        action()
    except FocusdError as raised:
        error = raised
    return {
        "error": type(error).__name__ if error else None,
        "message": str(error or ""),
        "took_s": time.monotonic() - began_s,
    }


@contextmanager
def hang() -> Any:
    """Have libcamera give no frames; it can be stopped all the same."""
    fault = Path(os.environ["LIBCAMERA_VIRTUAL_FAULT"] + ".hang")
    fault.touch()
    try:
        yield
    finally:
        fault.unlink()


def move(studio: Studio, um: float) -> None:
    rail = studio.sim.rig.rail
    rail.move_to(um, rail.spec.reach(SETTINGS.approach, 0.0, 0.0))


def colour_space() -> dict[str, Any]:
    """The virtual pipeline gives Rec. 709, whatever is asked for."""
    studio = open_studio(as_made=True)
    return attempt(lambda: studio.driver.begin(SETTINGS))


def no_raw() -> dict[str, Any]:
    """The virtual camera has no raw stream, as a camera on USB has none."""
    studio = open_studio(camera={"files": "dng"})
    found = {"begin": attempt(lambda: studio.driver.begin(SETTINGS))}
    return {**found, "close": attempt(studio.driver.close)}


class Album:
    """Takes a stack's frames by a function, and nothing amiss with any."""

    def __init__(self, take: Callable[[Shot, Frame], None]) -> None:
        self.deliver = take

    def spoiled(self, *, settled: bool = False) -> tuple[Shot, ...]:
        return ()

    def inspect(self, frame: Frame) -> None:
        raise AssertionError(f"{frame.name}: no test frame was asked for")


def stack() -> dict[str, Any]:
    """A whole stack by the daemon's runner, and the truth of each frame."""
    studio = open_studio()
    fusion, frames, records = Fusion(), [], []

    def deliver(shot: Shot, frame: Frame) -> None:
        truth = studio.truth_of(frame)
        frames.append({**asdict(truth), "rail_um": shot.position_um, "asked_s": frame.exposure.opened_s})
        assert isinstance(frame.image, Planes)
        singles.append(psnr(to_bgr(frame.image), sharp))
        fusion.add(frame.image, shot.position_um)

    sharp, singles = studio.sim.scene.all_in_focus, []
    positions_um = (-150.0, -90.0, -30.0, 30.0, 90.0, 150.0)
    plan = StackPlan(positions_um, 60.0, 60.0)
    runner = Runner(studio.sim.rig, studio.clock, studio.signals, Pace(settle_s=0.6))
    runner.run(plan, SETTINGS, Album(deliver), lambda _event: None, records)
    drawn = list(studio.shown.values())
    return {
        "frames": frames,
        "drawn": len(drawn),
        "drawn_moving": sum(truth.step_edges > 0 for truth in drawn),
        "singles_db": singles,
        "fused_db": psnr(to_bgr(fusion.image()), sharp),
        "shots": [shot.error for record in records for shot in record.shots],
    }


def next_buffer() -> dict[str, Any]:
    """What whoever takes the next buffer after a move gets, and what the driver gets, ten times each."""
    studio = open_studio()
    studio.driver.begin(SETTINGS)
    naive, ours = [], []
    for index in range(10):
        move(studio, 60.0 * (index % 2 * 2 - 1))
        arrived_s = time.monotonic()
        request = studio.camera.capture_request()
        metadata = request.get_metadata()
        request.release()
        naive.append(metadata["SensorTimestamp"] * 1e-9 - metadata["ExposureTime"] * 1e-6 - arrived_s)
        move(studio, 0.0)
        arrived_s = time.monotonic()
        truth = studio.truth_of(studio.photograph())
        ours.append([truth.t_open_s - arrived_s, truth.step_edges])
    return {"naive_s": naive, "ours": ours}


def lock() -> dict[str, Any]:
    """Twenty frames, locked and with an automatic exposure that cannot be switched off."""
    found: dict[str, Any] = {}
    for name, automatic in (("locked", False), ("automatic", True)):
        studio = open_studio(automatic=automatic)
        studio.driver.begin(SETTINGS)
        found[name] = [attempt(studio.photograph) for _ in range(20)]
        found[f"{name}_exposures_s"] = sorted(
            {round(truth.t_close_s - truth.t_open_s, 6) for truth in studio.shown.values()}
        )
        studio.driver.close()
    return found


def hang_and_recover() -> dict[str, Any]:
    """Frames stop in the middle of a stack, for longer than one deadline, and come again."""
    studio = open_studio()
    studio.driver.begin(SETTINGS)
    found = {"before": attempt(studio.photograph)}
    with hang():
        found["during"] = attempt(studio.photograph)
        found["restarted"] = attempt(studio.photograph)
    for index in range(5):
        found[f"after {index}"] = attempt(studio.photograph)
    found["end"] = attempt(studio.driver.close)
    return found


def stop_blocks() -> dict[str, Any]:
    """Frames stop and so does `stop`; then both are let go."""
    studio = open_studio()
    driver = studio.driver
    driver.begin(SETTINGS)
    found = {"before": attempt(studio.photograph)}
    GATE.clear()
    found["during"] = attempt(studio.photograph)
    found["no stop"] = attempt(studio.photograph)
    found["end"] = attempt(driver.end)
    found["begin"] = attempt(lambda: driver.begin(SETTINGS))
    GATE.set()
    found["begin again"] = attempt(lambda: driver.begin(SETTINGS))
    found["after"] = attempt(studio.photograph)
    found["close"] = attempt(driver.close)
    return found


def leave() -> dict[str, Any]:
    """Close a camera whose `stop` blocks; the process must end all the same."""
    studio = open_studio()
    studio.driver.begin(SETTINGS)
    GATE.clear()
    return {"close": attempt(studio.driver.close)}


def emergency() -> dict[str, Any]:
    """The emergency stop while no frame comes."""
    studio = open_studio(camera={"frame_timeout_s": 60})
    studio.driver.begin(SETTINGS)
    with hang():
        threading.Timer(0.5, studio.signals.stop.set).start()
        found = {"expose": attempt(studio.photograph), "end": attempt(studio.driver.end)}
    studio.signals.stop.clear()
    found["begin"] = attempt(lambda: studio.driver.begin(SETTINGS))
    found["after"] = attempt(studio.photograph)
    return found


def behind_a_capture() -> dict[str, Any]:
    """What picamera2's own `stop` does behind a capture that was given up."""
    studio = open_studio()
    studio.driver.begin(SETTINGS)
    camera = studio.camera
    with hang():
        waited = attempt_any(lambda: camera.capture_request(wait=1.0, flush=True))
        thread = threading.Thread(target=attempt_any, args=(camera.stop,), daemon=True)
        thread.start()
        thread.join(2.0)
        blocked = thread.is_alive()
        camera.cancel_all_and_flush()
        thread.join(5.0)
        # The stop was cancelled with the capture: asked for again, it comes.
        return {
            "waited": waited,
            "blocked": blocked,
            "started": camera.started,
            "again": attempt(studio.driver.end),
        }


def buffers() -> dict[str, Any]:
    """Many more exposures than buffers; then all buffers held by somebody else."""
    studio = open_studio()
    camera = studio.camera
    studio.driver.begin(SETTINGS)
    kept = [studio.photograph() for _ in range(30)]
    # The frames are kept: each must still show its own exposure when its buffer has been filled again.
    shown = [studio.truth_of(frame).index for frame in kept]
    held = [camera.capture_request(wait=5.0) for _ in camera.allocator.buffers(camera.streams[0])]
    starved = attempt(studio.photograph)
    for request in held:
        request.release()
    found = {"shown": shown, "buffers": len(held), "starved": starved, "after": attempt(studio.photograph)}
    studio.driver.end()
    return {**found, "held": camera.allocator.held}


def attempt_any(action: Callable[[], Any]) -> str | None:
    """Name the error of whatever kind."""
    try:
        action()
    except Exception as error:  # noqa: BLE001
        return type(error).__name__
    return None


EXAMINATIONS: dict[str, Callable[[], dict[str, Any]]] = {
    examination.__name__: examination
    for examination in (
        behind_a_capture,
        buffers,
        colour_space,
        emergency,
        hang_and_recover,
        leave,
        lock,
        negative,
        next_buffer,
        no_raw,
        stack,
        stop_blocks,
    )
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    print(json.dumps(EXAMINATIONS[sys.argv[1]]()), flush=True)
