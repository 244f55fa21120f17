"""A whole stack by the flash contact and by lights in turn, held against the simulator's truth."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import pytest

from focusd.job import JobSettings, JobStatus

FEEDBACK: dict[str, Any] = {"feedback_pin": 16, "release_lag_s": 0.1, "exposure_s": 0.5}
LIGHTS: dict[str, Any] = {
    "left": {"pin": 5, "warm_up_s": 0.4},
    "right": {"pin": 6, "active": "low", "warm_up_s": 2.0},
    "back": {"pin": 13, "on": "job", "warm_up_s": 5.0},
}
LAMPS: dict[str, Any] = {
    "left": {"side": "left", "warm_up_s": 0.4, "brightness": 0.7},
    "right": {"side": "right", "warm_up_s": 2.0, "brightness": 0.7},
    "back": {"warm_up_s": 5.0, "brightness": 0.3},
}


def test_a_stack_whose_every_exposure_was_confirmed(studio: Callable[..., Any]) -> None:
    rig = studio(camera=FEEDBACK, sim={"dslr": {"exposure_s": 0.5, "light_s": 0.5, "sync_bounces": 2}})
    job = rig.run_job(range=100, step=25)
    assert (job.status, job.missing, job.retaken) == (JobStatus.DONE, (), 0)
    assert [exposure.step_edges for exposure in rig.sim.truth.exposures] == [0] * 5


def test_a_camera_slower_than_was_said_is_not_moved_during_its_exposure(
    studio: Callable[..., Any],
) -> None:
    slow = {"release_lag_s": 0.55, "exposure_s": 0.5, "light_s": 0.5}
    blind = {**FEEDBACK, "feedback_pin": None}
    edges = {}
    for name, camera in (("contact", FEEDBACK), ("blind", blind)):
        rig = studio(camera=camera, stack={"settle_s": 1.5}, sim={"dslr": slow})
        rig.run_job(range=100, step=25)
        edges[name] = sum(exposure.step_edges for exposure in rig.sim.truth.exposures)
    assert edges["contact"] == 0
    assert edges["blind"] > 0


def test_a_press_that_did_nothing_is_repeated_at_the_same_stop(studio: Callable[..., Any]) -> None:
    rig = studio(
        camera={**FEEDBACK, "frame_timeout_s": 3.0},
        sim={
            "dslr": {"exposure_s": 0.5, "light_s": 0.5},
            "faults": [{"kind": "hang_camera", "at_exposure": 2, "for_s": 0.5}],
        },
    )
    job = rig.run_job(range=100, step=25)
    assert (job.status, job.missing, job.retaken) == (JobStatus.DONE, (), 1)
    focus_um = [exposure.focus_um for exposure in rig.sim.truth.exposures]
    assert [b - a for a, b in pairwise(focus_um)] == pytest.approx([25.0] * 4, abs=1.5)


def test_lights_in_turn_give_each_stop_a_frame_by_each_of_them_warmed_up(
    studio: Callable[..., Any],
) -> None:
    rig = studio(lights=LIGHTS, sim={"lamps": LAMPS})
    burning: list[str] = []
    for name in ("left", "right"):
        pin, lit = LIGHTS[name]["pin"], LIGHTS[name].get("active") != "low"
        rig.sim.factory.watch(
            pin, lambda _line, level, _t, name=name, lit=lit: burning.append(f"{name} {level is lit}")
        )
    job = rig.run_job(
        range=100, step=50, settings=JobSettings(lights=("left", "right"), keep_frames="source")
    )
    assert job.status == JobStatus.DONE, job.error
    assert burning == ["left True", "left False", "right True", "right False"] * 3
    exposures = rig.sim.truth.exposures
    assert len(exposures) == 6
    inbox = rig.config.data.dir / "inbox"
    pictures = [cv2.imread(str(inbox / (exposure.frame_file or ""))) for exposure in exposures]
    means = [[float(part.mean()) for part in (p[:, :40], p[:, -40:])] for p in pictures]
    left, right = means[0::2], means[1::2]
    assert all(a[0] > 1.3 * b[0] and b[1] > 1.3 * a[1] for a, b in zip(left, right, strict=True))
    whole = [float(p.mean()) for p in pictures]
    assert max(whole) < 1.06 * min(whole), "each was warm, or it would be darker"


def test_in_a_dark_room_the_frames_are_black(studio: Callable[..., Any]) -> None:
    rig = studio(lights={"left": LIGHTS["left"]}, sim={"lamps": {"left": {"brightness": 0.0}}})
    rig.run_job(range=50, step=50)
    inbox = rig.config.data.dir / "inbox"
    assert float(cv2.imread(str(next(inbox.glob("*.JPG")))).mean()) < 3
