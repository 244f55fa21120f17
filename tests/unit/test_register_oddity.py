"""One bad frame among many is found, and no good one is accused."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from focusd.pictures.samples import Image, to_planes
from focusd.register.course import Course
from focusd.register.oddity import Gate, Oddity
from focusd.register.sketch import Sketch
from focusd_sim.suite import stack_named
from focusd_sim.suite_flaws import Flaws

STACKS = Path(os.environ.get("FOCUSD_STACKS", "../shared/stacks"))
FRAMES, MEGAPIXELS = 50, 0.1


@lru_cache(maxsize=8)
def frames_of(name: str, seed: int = 1, noise: float = 2.0) -> tuple[Image, ...]:
    stack = stack_named(
        name, seed=seed, noise=noise, frames=FRAMES, megapixels=MEGAPIXELS, flaws=Flaws(flicker=0.05)
    )
    return tuple(stack.frame(index) for index in range(FRAMES))


def accused(sketches: Iterable[Sketch]) -> dict[int, str]:
    gate: Gate[int] = Gate()
    out = [judged for number, sketch in enumerate(sketches) for judged in gate.enter(number, sketch)]
    out += gate.close()
    assert [judged.item for judged in out] == list(range(len(out)))
    return {judged.item: judged.oddity.reason for judged in out if judged.oddity is not None}


def smeared(frame: Image) -> Image:
    """As a knock of 14 px blurs, with the sensor's own noise after it."""
    kernel = np.zeros((15, 15), np.float32)
    np.fill_diagonal(kernel[2:13, 2:13], 1)
    blurred = cv2.filter2D(frame, cv2.CV_32F, kernel / kernel.sum())
    noise = np.random.default_rng(5).normal(0, 2, frame.shape)
    return np.clip(np.rint(blurred + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "reason, at",
    [(reason, at) for reason in ("black", "exposure", "foreign", "blurred") for at in (1, 24, 40)],
)
def test_one_bad_frame_of_fifty_is_found(reason: str, at: int) -> None:
    frames = list(frames_of("general"))
    frames[at] = {
        "black": lambda: np.full_like(frames[at], 1),
        "exposure": lambda: cv2.convertScaleAbs(frames[at], alpha=0.6),
        "foreign": lambda: frames_of("bristles", 2)[20],
        "blurred": lambda: smeared(frames[at]),
    }[reason]()
    assert accused(map(Sketch.of, frames)) == {at: reason}


def test_a_frame_lit_too_much_is_found() -> None:
    frames = list(frames_of("flat"))
    frames[30] = cv2.convertScaleAbs(frames[30], alpha=1.5)
    assert accused(map(Sketch.of, frames)) == {30: "exposure"}


@pytest.mark.parametrize("noise", [2.0, 5.0])
@pytest.mark.parametrize("name", ["general", "scene-a", "scene-b", "wide", "bristles"])
def test_no_frame_of_five_hundred_good_ones_is_accused(name: str, noise: float) -> None:
    # Fifty frames of each of ten stacks; and once more backwards.
    sketches = [Sketch.of(frame) for frame in frames_of(name, 1, noise)]
    assert len(sketches) == FRAMES
    assert accused(sketches) == {}
    assert accused(sketches[::-1]) == {}


@pytest.mark.skipif(not STACKS.is_dir(), reason="real stacks are not here: set FOCUSD_STACKS")
@pytest.mark.parametrize("name", ["amber-flies", "crystal", "fiber", "pcb", "ring", "scorpion"])
def test_no_frame_of_a_real_stack_is_accused(name: str) -> None:
    sketches = [Sketch.of(cv2.imread(str(path))) for path in sorted((STACKS / name).iterdir())]
    assert accused(sketches) == {}
    assert accused(sketches[::-1]) == {}


def test_the_last_frame_is_judged_by_those_before_it() -> None:
    frames = list(frames_of("general"))
    frames[-1] = frames_of("bristles", 2)[20]
    assert accused(map(Sketch.of, frames)) == {FRAMES - 1: "foreign"}


def test_two_odd_frames_in_a_row_do_not_drag_good_ones_along() -> None:
    frames = list(frames_of("general"))
    frames[20] = frames[21] = np.zeros_like(frames[0])
    assert accused(map(Sketch.of, frames)) == {20: "black", 21: "black"}


def test_a_gate_is_as_new_when_closed_and_an_empty_one_gives_nothing() -> None:
    gate: Gate[str] = Gate()
    assert gate.close() == []
    assert gate.enter("a", Sketch.of(frames_of("general")[0])) == []
    assert [judged.item for judged in gate.close()] == ["a"]
    assert gate.close() == []


def test_planes_and_sixteen_bits_are_judged_as_other_frames() -> None:
    frames = list(frames_of("general"))[:12]
    frames[6] = smeared(frames[6])
    assert accused(Sketch.of(to_planes(frame)) for frame in frames) == {6: "blurred"}
    assert accused(Sketch.of(frame.astype(np.uint16) * 16, 4095) for frame in frames) == {6: "blurred"}


def test_frames_of_a_few_pixels_and_of_other_sizes_are_let_through() -> None:
    sizes = ((1, 1), (3, 5), (16, 9), (16, 9), (16, 9), (40, 60))
    assert accused(Sketch.of(np.full(size, 90, np.uint8)) for size in sizes) == {}


def course_of(shifts: Iterable[tuple[float, float]]) -> dict[int, str]:
    course = Course()
    return {number: str(odd) for number, shift in enumerate(shifts) if (odd := course.judge(shift, 0.2))}


def drift(count: int = FRAMES, wander_px: float = 0.2) -> list[tuple[float, float]]:
    noise = np.random.default_rng(6).normal(0, wander_px, (count, 2))
    return [(0.4 * number + x, -0.2 * number + y) for number, (x, y) in enumerate(noise)]


def test_a_frame_that_was_shifted_is_found_and_its_neighbours_are_not() -> None:
    shifts = drift()
    shifts[30] = (shifts[30][0] + 12, shifts[30][1] - 9)
    assert list(course_of(shifts)) == [30]


def test_a_rig_moved_for_good_costs_one_frame() -> None:
    shifts = [(x + 40 * (number >= 20), y) for number, (x, y) in enumerate(drift())]
    assert list(course_of(shifts)) == [20]


@pytest.mark.parametrize("wander_px", [0.0, 0.3, 3.0])
def test_a_drift_however_unsteady_is_no_fault(wander_px: float) -> None:
    assert course_of(drift(200, wander_px)) == {}


def test_a_residual_far_beyond_the_others_is_found() -> None:
    course = Course()
    residuals = [0.2, 0.25, 0.3, 0.28, 0.22, 20.0, 0.25]
    odd = [course.judge((0.0, 0.0), residual) for residual in residuals]
    assert [each is not None for each in odd] == [False] * 5 + [True, False]


def test_an_oddity_says_what_was_found_and_what_was_expected() -> None:
    odd = Oddity("blurred", 0.4123456, 0.88)
    assert str(odd) == "blurred: 0.41 of its neighbours' detail, at least 0.88 is expected"
    assert odd.as_json() == {"reason": "blurred", "value": 0.4123, "limit": 0.88}
