"""Frames laid on the first by their features: known transforms, what is refused, and whole stacks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import FrameMismatch
from focusd.fusion import Fusion, Method
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr, to_planes
from focusd.seeds.aligner import Chain, FitRefused, HomographyAligner
from focusd.seeds.features import Features
from focusd.seeds.homography import corner_error_px, distortion, mapped, narrowed, warp
from focusd_sim.score import psnr
from focusd_sim.suite import stack_named
from focusd_sim.suite_flaws import Flaws

Array = np.ndarray[Any, Any]
SHAPE = (300, 400)
STILL = np.eye(3)


def textured(rows: int, cols: int, seed: int = 0) -> Array:
    """Blobs of all sizes, uint8 BGR."""
    rng = np.random.default_rng(seed)
    total = np.full((rows, cols, 3), 128.0)
    for scale in (2, 4, 8, 16, 32):
        coarse = rng.normal(0, 20, (rows // scale + 2, cols // scale + 2, 3))
        total += cv2.resize(coarse, (cols, rows), interpolation=cv2.INTER_CUBIC)
    return total.clip(0, 255).astype(np.uint8)


def turned(degrees: float, scale: float, x: float, y: float, tilt: float = 0.0) -> Array:
    """Matrix that takes a frame's points to the first's: about the middle, then shifted."""
    rows, cols = SHAPE
    linear = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), degrees, scale)
    return np.vstack([linear + np.array([[0, 0, x], [0, 0, y]]), [tilt / cols, 0, 1]])


def seen_through(scene: Array, matrix: Array) -> Array:
    """The frame that `matrix` lays on the middle of the scene."""
    rows, cols = SHAPE
    into = np.array([[1, 0, 100], [0, 1, 100], [0, 0, 1.0]]) @ matrix
    return cv2.warpPerspective(scene, into, (cols, rows), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def grid() -> Array:
    rows, cols = SHAPE
    return np.array([[x, y] for x in np.linspace(0, cols - 1, 9) for y in np.linspace(0, rows - 1, 7)])


def off_px(found: Array, truth: Array) -> float:
    """Largest distance over the frame between two matrices."""
    return float(np.linalg.norm(mapped(found, grid()) - mapped(truth, grid()), axis=1).max())


@pytest.mark.parametrize(
    "truth",
    [STILL, turned(0, 1, 6.3, -4.8), turned(0.5, 1.03, 3, 2), turned(-1, 0.97, -8, 5, tilt=0.004)],
    ids=["still", "shifted", "turned", "tilted"],
)
def test_a_known_transform_is_found(truth: Array) -> None:
    scene = textured(500, 600)
    aligner = HomographyAligner()
    first = aligner.place(seen_through(scene, STILL))
    assert np.array_equal(first.matrix, STILL)
    fit = aligner.place(seen_through(scene, truth))
    assert off_px(fit.matrix, truth) < 0.25
    assert fit.inliers > 100
    assert fit.error_px < 0.2


def test_a_frame_larger_than_features_are_looked_for_in_is_placed_at_its_own_scale() -> None:
    scene = cv2.resize(textured(500, 700), (2100, 1500), interpolation=cv2.INTER_CUBIC)
    aligner = HomographyAligner()
    aligner.place(scene[40:1340, 60:1860].copy())
    fit = aligner.place(scene[50:1350, 40:1840].copy())
    corners = np.array([[0.0, 0.0], [1799.0, 0.0], [0.0, 1299.0], [1799.0, 1299.0]])
    assert np.abs(mapped(fit.matrix, corners) - corners - (-20, 10)).max() < 0.5


@pytest.mark.parametrize("chain", ["previous", "first"])
def test_a_chain_of_frames_does_not_drift(chain: Chain) -> None:
    scene = textured(500, 600)
    aligner = HomographyAligner(chain)
    for number in range(7):
        truth = turned(0.05 * number, 1 + 0.003 * number, 0.8 * number, -0.5 * number)
        grain = np.random.default_rng(number).normal(0, 2, (*SHAPE, 3))
        frame = (seen_through(scene, truth) + grain).clip(0, 255).astype(np.uint8)
        fit = aligner.place(frame)
    assert off_px(fit.matrix, truth) < 0.5


def test_what_all_frames_cover_is_known() -> None:
    scene = textured(500, 600)
    aligner = HomographyAligner()
    aligner.place(seen_through(scene, STILL))
    assert aligner.common == (slice(0, 300), slice(0, 400))
    aligner.place(seen_through(scene, turned(0, 1, 12.5, 0)))
    aligner.place(seen_through(scene, turned(0, 1, 0, -7.5)))
    rows, cols = aligner.common
    assert rows.start <= 1
    assert cols.stop >= 399
    assert abs(rows.stop - 292) <= 1
    assert abs(cols.start - 13) <= 1


@pytest.mark.parametrize("kind", ["grey", "colour", "16 bits", "planes"])
def test_a_frame_keeps_its_kind_when_laid_on_the_first(kind: str) -> None:
    scene, truth = textured(500, 600), turned(0.5, 1.02, 5, -3)
    aligner = HomographyAligner()
    frames: list[Any] = [seen_through(scene, STILL), seen_through(scene, truth)]
    first = frames[0]
    if kind == "grey":
        frames = [frame[..., 1].copy() for frame in frames]
        first = frames[0]
    elif kind == "16 bits":
        frames = [frame.astype(np.uint16) * 257 for frame in frames]
    elif kind == "planes":
        frames = [to_planes(frame) for frame in frames]
        first = to_bgr(frames[0])
    assert aligner.align(frames[0]) is frames[0]
    before = (frames[1].luma if kind == "planes" else frames[1]).copy()
    laid = aligner.align(frames[1])
    assert np.array_equal(frames[1].luma if kind == "planes" else frames[1], before)
    assert laid.shape == frames[1].shape
    if kind == "planes":
        assert isinstance(laid, Planes)
    else:
        assert laid.dtype == frames[1].dtype
    image = to_bgr(laid) if kind == "planes" else laid
    image = (image // 257).astype(np.uint8) if kind == "16 bits" else image
    rows, cols = aligner.common
    assert psnr(image[rows, cols], first[rows, cols]) > 30


def test_a_frame_from_another_stack_is_refused_and_the_next_is_placed() -> None:
    scene = textured(500, 600, 1)
    aligner = HomographyAligner()
    aligner.place(seen_through(scene, STILL))
    with pytest.raises(FitRefused, match="leave"):
        aligner.place(seen_through(textured(500, 600, 2), STILL))
    truth = turned(0, 1.01, 2, 3)
    assert off_px(aligner.place(seen_through(scene, truth)).matrix, truth) < 0.25
    assert aligner.common[1].start in (0, 1, 2)


def test_a_stack_begins_with_a_frame_in_which_enough_is_sharp() -> None:
    sharp = seen_through(textured(500, 600), STILL)
    aligner = HomographyAligner()
    for useless in (np.full((*SHAPE, 3), 90, np.uint8), cv2.GaussianBlur(sharp, (0, 0), 25)):
        with pytest.raises(FitRefused, match="features"):
            aligner.place(useless)
    assert np.array_equal(aligner.place(sharp).matrix, STILL)


@pytest.mark.parametrize(
    "truth",
    [turned(0, 1.3, 0, 0), turned(0, 0.75, 0, 0), turned(0, 1, 90, 0), turned(0, 1, 0, 0, tilt=0.12)],
    ids=["larger", "smaller", "aside", "tilted"],
)
def test_what_no_rig_does_is_refused(truth: Array) -> None:
    scene = textured(500, 600)
    aligner = HomographyAligner()
    aligner.place(seen_through(scene, STILL))
    with pytest.raises(FitRefused, match="no rig does"):
        aligner.place(seen_through(scene, truth))


def test_features_in_one_corner_do_not_place_a_frame() -> None:
    scene = cv2.GaussianBlur(textured(500, 600), (0, 0), 25)
    scene[100:180, 100:180] = textured(80, 80, 4)
    grown = cv2.resize(scene, (900, 750), interpolation=cv2.INTER_CUBIC)
    aligner = HomographyAligner()
    full = textured(750, 900, 5)
    full[150:270, 150:270] = grown[150:270, 150:270]
    aligner.place(full)
    grain = np.random.default_rng(0).normal(0, 3, grown.shape)
    with pytest.raises(FitRefused):
        aligner.place((grown + grain).clip(0, 255).astype(np.uint8))


def test_frames_of_another_size_are_refused() -> None:
    aligner = HomographyAligner()
    aligner.place(textured(300, 400))
    with pytest.raises(FrameMismatch, match="one size"):
        aligner.place(textured(300, 401))


def test_a_feature_is_matched_once() -> None:
    scene = textured(300, 400)
    first, second = Features.of(scene), Features.of(np.roll(scene, 5, axis=1))
    pairs = second.matches(first)
    assert len(pairs) > 50
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    moved = second.points[pairs[:, 0]] - first.points[pairs[:, 1]]
    assert np.median(moved, axis=0) == pytest.approx((5, 0), abs=0.05)


def test_the_stated_error_is_the_one_made() -> None:
    rng = np.random.default_rng(3)
    truth = turned(0.4, 1.01, 3, 2, tilt=0.002)
    own = rng.uniform((50, 40), (330, 220), (60, 2))
    made, stated = [], []
    corners = np.array([[x, y] for x in (0.0, 399.0) for y in (0.0, 299.0)])
    for _ in range(200):
        there = mapped(truth, own) + rng.normal(0, 0.5, own.shape)
        matrix, _ = cv2.findHomography(own, there, 0)
        errors = np.linalg.norm(mapped(matrix, corners) - mapped(truth, corners), axis=1)
        made.append(errors)
        stated.append(corner_error_px(np.asarray(matrix), own, there, SHAPE))
    worst = np.sqrt(np.mean(np.square(made), axis=0)).max()
    assert np.median(stated) == pytest.approx(worst, rel=0.2)


def test_points_on_a_line_do_not_determine_a_homography() -> None:
    own = np.column_stack([np.linspace(0, 399, 20), np.full(20, 100.0)])
    assert corner_error_px(STILL, own, own + 0.01, SHAPE) == np.inf


def test_a_mirror_image_is_a_negative_stretch() -> None:
    least, most, tilt, shift_px = distortion(np.diag([-1.0, 1.0, 1.0]), SHAPE)
    assert (least, most, tilt) == pytest.approx((-1, 1, 0))
    assert shift_px == pytest.approx(399)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-2, 2), st.floats(0.93, 1.07), st.floats(-20, 20), st.floats(-20, 20), st.floats(-0.01, 0.01)
)
def test_what_is_common_is_covered(degrees: float, scale: float, x: float, y: float, tilt: float) -> None:
    matrix = turned(degrees, scale, x, y, tilt)
    top, bottom, left, right = narrowed((0, 300, 0, 400), matrix, SHAPE)
    along_x, along_y = np.linspace(left, right - 1, 20), np.linspace(top, bottom - 1, 20)
    border = np.array(
        [[x, y] for x in (left, right - 1) for y in along_y]
        + [[x, y] for y in (top, bottom - 1) for x in along_x]
    )
    inside = mapped(np.linalg.inv(matrix), border)
    assert inside.min() > -0.05
    assert inside[:, 0].max() < 399.05
    assert inside[:, 1].max() < 299.05


def test_planes_are_warped_as_their_picture() -> None:
    picture = cv2.GaussianBlur(textured(*SHAPE), (0, 0), 3)
    matrix = turned(1, 1.02, 4.5, -3.5)
    of_planes = to_bgr(warp(to_planes(picture), matrix))
    of_bgr = warp(picture, matrix)
    assert np.abs(of_planes[20:-20, 20:-20].astype(int) - of_bgr[20:-20, 20:-20]).mean() < 1.0


@pytest.mark.parametrize("method", ["laplacian", "average"])
def test_a_stack_that_breathes_and_drifts_is_fused_the_better_for_it(method: Method) -> None:
    flaws = Flaws(breathing=0.03, drift_px=12)
    stack = stack_named("general", seed=1, noise=2.0, frames=6, megapixels=0.15, flaws=flaws)
    aligned, still, aligner = Fusion(method=method), Fusion(method=method), HomographyAligner()
    for number, position_um in enumerate(stack.positions_um):
        frame = stack.frame(number)
        still.add(frame, position_um)
        aligned.add(aligner.align(frame), position_um)
    rows, cols = aligner.common
    images = [to_bgr(fusion.image())[rows, cols] for fusion in (aligned, still)]
    good, bad = (psnr(image, stack.truth[rows, cols]) for image in images)
    assert good > bad + 2
