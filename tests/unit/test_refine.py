"""The second pass: exact focus where depth is sure, the first pass's picture everywhere else."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.errors import FrameMismatch, FusionError
from focusd.fusion import Fusion
from focusd.fusion.focus_fit import FocusFit
from focusd.fusion.refinable import Agreement, Strip
from focusd.fusion.refine import Refinement
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr, to_planes
from focusd_sim.score import psnr
from focusd_sim.suite import NAMES, SuiteStack, stack_named
from focusd_sim.suite_flaws import Flaws

Frames = list[npt.NDArray[Any]] | list[Planes]
KINDS = ("BGR", "grey", "4:2:0", "BGR 16", "BGR 12 in 16")


@cache
def scene(name: str) -> SuiteStack:
    return stack_named(name, seed=3, noise=0.0, megapixels=0.06)


def frames_of(stack: SuiteStack, kind: str = "BGR") -> list[Any]:
    return [as_kind(stack.frame(index), kind) for index in range(len(stack.positions_um))]


def as_kind(frame: npt.NDArray[np.uint8], kind: str) -> Any:
    match kind:
        case "grey":
            return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        case "4:2:0":
            return to_planes(frame)
        case "BGR 16":
            return frame.astype(np.uint16) * np.uint16(257)
        case "BGR 12 in 16":
            return frame.astype(np.uint16) * np.uint16(16)
    return frame


def first_pass(frames: list[Any], positions_um: tuple[float, ...]) -> tuple[Fusion, Refinement]:
    fusion = Fusion()
    for frame, position_um in zip(frames, positions_um, strict=True):
        fusion.add(frame, position_um)
    assert fusion.sigma is not None
    return fusion, Refinement(fusion.relief(), fusion.image(), fusion.positions_um, fusion.sigma)


def refined(frames: list[Any], positions_um: tuple[float, ...]) -> tuple[Any, Any]:
    """First and second pass's picture."""
    fusion, second = first_pass(frames, positions_um)
    for frame, position_um in zip(frames, positions_um, strict=True):
        second.add(frame, position_um)
    return fusion.image(), second.image()


# The fit.


@given(
    st.lists(st.floats(0.3, 3.0), min_size=3, max_size=12),
    st.floats(0, 1),
    st.floats(0.4, 1.0),
    st.floats(-500, 500),
)
def test_weights_add_up_to_one_whatever_the_stops(
    gaps: list[float], at: float, window_steps: float, start_um: float
) -> None:
    positions_um = start_um + np.cumsum([0.0, *gaps]) * 7
    fit = FocusFit.of(positions_um, float(np.median(np.diff(positions_um))), window_steps)
    column = int(at * (fit.weights.shape[1] - 1))
    weights = fit.weights[:, column]
    assert np.isfinite(fit.weights).all()
    assert abs(float(weights.sum()) - 1) < 1e-4
    # Noise is gathered, not made: no weight is far above 1 (2.1 where stops lie three times as far apart).
    assert float(np.abs(weights).max()) < 3


@pytest.mark.parametrize("depth_steps", [4.0, 4.25, 4.5, 0.0, 9.0])
def test_a_value_that_falls_off_with_the_square_of_defocus_is_found_at_its_top(depth_steps: float) -> None:
    positions_um = np.arange(10.0) * 20
    fit = FocusFit.of(positions_um, 20.0, 0.7)
    values = 200 - 30 * (positions_um / 20 - depth_steps) ** 2
    column = int(fit.columns_of(np.array([[depth_steps * 20]], np.float32))[0, 0])
    assert abs(float(values @ fit.weights[:, column]) - 200) < 0.2


def test_a_frame_far_from_focus_has_no_weight() -> None:
    fit = FocusFit.of(np.arange(30.0), 1.0, 0.7)
    column = int(fit.columns_of(np.array([[15.0]], np.float32))[0, 0])
    assert np.flatnonzero(fit.weights[:, column]).tolist() == [13, 14, 15, 16, 17]


# The pass.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_no_scene_of_the_suite_loses_by_it(name: str, noise: float) -> None:
    stack = scene(name).with_noise(noise)
    first, second = refined(frames_of(stack), stack.positions_um)
    assert psnr(second, stack.truth) - psnr(first, stack.truth) > -0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_in_focus_gains_whatever_the_frames_are(kind: str) -> None:
    stack = scene("flat")
    frames = frames_of(stack, kind)
    first, second = refined(frames, stack.positions_um)
    truth = as_kind(stack.truth, kind)
    assert type(second) is type(first)
    if isinstance(first, Planes):
        first, second, truth = to_bgr(first), to_bgr(second), to_bgr(truth)
    assert (second.dtype, second.shape) == (first.dtype, first.shape)
    assert psnr(second, truth) - psnr(first, truth) > 2


def test_the_order_of_frames_changes_nothing() -> None:
    stack = scene("scene-b")
    frames = frames_of(stack)
    _, up = first_pass(frames, stack.positions_um)
    _, down = first_pass(frames, stack.positions_um)
    numbers = list(range(len(frames)))
    for number in numbers:
        up.add(frames[number], stack.positions_um[number])
        down.add(frames[-1 - number], stack.positions_um[-1 - number])
    assert cv2.absdiff(up.image(), down.image()).max() <= 1


def test_what_is_handed_in_is_not_modified() -> None:
    stack = scene("scene-b")
    frames = frames_of(stack)
    kept = [frame.copy() for frame in frames]
    fusion, second = first_pass(frames, stack.positions_um)
    first = fusion.image()
    relief = fusion.relief()
    again = Refinement(relief, first, fusion.positions_um, 0.3)
    before = first.copy() if isinstance(first, np.ndarray) else first
    for frame, position_um in zip(frames, stack.positions_um, strict=True):
        again.add(frame, position_um)
    assert not np.array_equal(again.image(), before)
    assert np.array_equal(first, before)
    assert all(np.array_equal(frame, old) for frame, old in zip(frames, kept, strict=True))
    assert again.nbytes == second.nbytes


def test_where_depth_is_not_sure_the_first_pass_stays() -> None:
    random = np.random.default_rng(4)
    frames = [np.clip(np.rint(random.normal(128, 2, (96, 160))), 0, 255).astype(np.uint8) for _ in range(8)]
    first, second = refined(frames, tuple(range(8)))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ["scene-b", "wide", "flat"])
def test_frames_that_moved_are_left_as_they_were(name: str) -> None:
    """Without the look at its agreement the fit changes up to 18 % of these pixels by more than 8 levels."""
    stack = scene(name).spoiled(Flaws(drift_px=40.0))
    first, second = refined(frames_of(stack), stack.positions_um)
    assert np.mean(cv2.absdiff(first, second) > 8) < 0.001
    assert psnr(second, stack.truth) - psnr(first, stack.truth) > -0.02


def test_agreement_has_no_holes_beside_wild_values() -> None:
    """A large change beside none once left a running sum below zero, and a root of that."""
    random = np.random.default_rng(6)
    plane = np.zeros((192, 256), np.uint8)
    strips, sums = [], []
    for first in (0, 64, 128):
        share = np.zeros((64, 256), np.uint8)
        share[:, : 40 + first] = 255
        depth = np.zeros((64, 256), np.uint16)
        strips.append(Strip(slice(first, first + 64), depth, share, 0, 0))
        most = -2.0 if first == 64 else 4.0
        sums.append(np.where(share > 0, 10 ** random.uniform(-8, most, (64, 256)), 0).astype(np.float32))
        sums[-1][32:] *= np.float32(1e-6)
    agreement = Agreement(plane, strips, sums, 1.0)
    for strip in strips:
        kept = agreement.of(strip.rows, plane.shape)
        assert kept.shape == (64, 256)
        assert np.isfinite(kept).all()
        assert kept.min() >= 0
        assert kept.max() <= 1


def test_a_single_frame_is_its_own_second_pass() -> None:
    frame = scene("general").frame(5)
    first, second = refined([frame], (10.0,))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_it_stays_within_the_range_around_in_the_first_pass(kind: str) -> None:
    stack = scene("wide")
    first, second = refined(frames_of(stack, kind), stack.positions_um)
    window = np.ones((5, 5), np.uint8)
    levels = 2 if kind in ("BGR", "grey", "4:2:0") else 2 * 257 if kind == "BGR 16" else 2 * 4095 // 255
    pairs = zip(planes_of(first), planes_of(second), strict=True)
    for old, new in pairs:
        low, high = cv2.erode(old, window).astype(int), cv2.dilate(old, window).astype(int)
        assert (new >= low - levels - 1).all()
        assert (new <= high + levels + 1).all()
    assert any(not np.array_equal(a, b) for a, b in zip(planes_of(first), planes_of(second), strict=True))


def planes_of(image: Any) -> list[Any]:
    return [image.luma, image.blue, image.red] if isinstance(image, Planes) else [image]


@pytest.mark.parametrize(("kind", "most_bytes"), [("grey", 7.0), ("4:2:0", 9.75), ("BGR", 15.0)])
def test_memory_is_what_is_said(kind: str, most_bytes: float) -> None:
    stack = scene("scene-b")
    frames = frames_of(stack, kind)
    _, second = first_pass(frames, stack.positions_um)
    rows, cols = frames[0].shape[:2]
    assert 0.5 * most_bytes < second.nbytes / (rows * cols) <= most_bytes * 1.02
    before = second.nbytes
    for frame, position_um in zip(frames, stack.positions_um, strict=True):
        second.add(frame, position_um)
    assert second.nbytes == before


def test_odd_sizes_keep_every_pixel() -> None:
    stack = scene("scene-b")
    for kind in ("BGR", "4:2:0"):
        frames = [as_kind(stack.frame(i)[:131, :157], kind) for i in range(len(stack.positions_um))]
        first, second = refined(frames, stack.positions_um)
        assert second.shape[:2] == (131, 157)
        assert any(not np.array_equal(a, b) for a, b in zip(planes_of(first), planes_of(second), strict=True))


# What is refused.


def test_a_picture_needs_every_frame_once() -> None:
    stack = scene("general")
    frames = frames_of(stack)
    _, second = first_pass(frames, stack.positions_um)
    for frame, position_um in zip(frames[1:], stack.positions_um[1:], strict=True):
        second.add(frame, position_um)
    with pytest.raises(FusionError, match="1 frames of 24 have not come"):
        second.image()
    with pytest.raises(FusionError, match="not awaited"):
        second.add(frames[1], stack.positions_um[1])
    with pytest.raises(FusionError, match="12345 um is not awaited"):
        second.add(frames[1], 12345.0)


def test_other_frames_and_pictures_are_refused() -> None:
    stack = scene("general")
    fusion, second = first_pass(frames_of(stack), stack.positions_um)
    frame = stack.frame(0)
    for other in (frame[1:], frame[..., 0], frame.astype(np.uint16), to_planes(frame)):
        with pytest.raises(FrameMismatch):
            second.add(other, stack.positions_um[0])
    with pytest.raises(FrameMismatch):
        Refinement(fusion.relief(), frame[1:], stack.positions_um, 1.0)
    with pytest.raises(FusionError, match="without positions"):
        Refinement(fusion.relief(), frame, (), 1.0)
