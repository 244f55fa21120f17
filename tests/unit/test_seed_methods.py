"""The seeds' methods: each step on what can be worked out, and the whole on stacks whose truth is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.errors import FrameMismatch, FusionError
from focusd.focus.measures import log_norm
from focusd.fusion.relief import Reason
from focusd.pictures.samples import to_bgr, to_planes
from focusd.seeds.equaliser import Equaliser
from focusd.seeds.log_nms import LogNms
from focusd.seeds.surface import Surface, subject_mask
from focusd.seeds.translation import ShiftRefused, Track, overlap, shared
from focusd_sim.score import psnr

Array = np.ndarray[Any, Any]


def textured(rows: int, cols: int, seed: int = 0) -> Array:
    """Detail of all sizes, uint8 BGR."""
    rng = np.random.default_rng(seed)
    total = np.full((rows, cols, 3), 128.0)
    for scale in (1, 2, 4, 8, 16, 32):
        coarse = rng.normal(0, 16 + scale / 2, (rows // scale + 2, cols // scale + 2, 3))
        total += cv2.resize(coarse, (cols, rows), interpolation=cv2.INTER_CUBIC)
    return total.clip(5, 245).astype(np.uint8)


def blurred(image: Array, sigma: float) -> Array:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image.copy()


def noisy(image: Array, sigma: float, seed: int) -> Array:
    grain = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return (image + grain).clip(0, 255).round().astype(np.uint8)


def ramp_stack(sharp: Array, frames: int = 5) -> list[Array]:
    """Vertical bands of the picture come into focus one frame after the other."""
    cols = sharp.shape[1]
    band = np.minimum(np.arange(cols) * frames // cols, frames - 1)
    layers = [blurred(sharp, 1.5 * away) for away in range(frames)]
    return [
        np.concatenate([layers[abs(n - b)][:, band == b] for b in range(frames)], 1) for n in range(frames)
    ]


def windows(sharp: Array, shifts: list[tuple[int, int]], rows: int, cols: int) -> list[Array]:
    """Cuts of one picture: what the first has at (0, 0) each has at its shift (x, y)."""
    return [sharp[100 - y :, 100 - x :][:rows, :cols].copy() for x, y in shifts]


# --- log-nms


@pytest.mark.parametrize("kind", ["colour", "grey", "16 bits"])
def test_one_frame_is_its_own_picture(kind: str) -> None:
    frame = textured(60, 80)
    if kind == "grey":
        frame = frame[..., 1].copy()
    elif kind == "16 bits":
        frame = frame.astype(np.uint16) * 16
    before = frame.copy()
    fusion = LogNms()
    fusion.add(frame, 3.0)
    assert np.array_equal(fusion.image(), frame)
    assert fusion.image().dtype == frame.dtype
    assert np.array_equal(frame, before)
    assert fusion.positions_um == (3.0,)
    assert fusion.white == (4095 if kind == "16 bits" else 255)


def test_each_pixel_is_that_of_the_largest_response() -> None:
    frames = ramp_stack(textured(48, 90))
    fusion = LogNms(align=False, equalise=False)
    for number, frame in enumerate(frames):
        fusion.add(frame, 10.0 * number)
    responses = np.array([log_norm(frame) for frame in frames])
    best = responses.argmax(axis=0)
    expected = np.take_along_axis(np.array(frames), best[np.newaxis, ..., np.newaxis], axis=0)[0]
    assert np.array_equal(fusion.image(), expected)
    assert np.array_equal(fusion.relief().origin, best)
    assert np.array_equal(fusion.sharpness(), np.minimum(np.rint(responses[-1] * 512), 65534))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (5, 7, 3), (17, 40, 3)])
def test_the_smallest_frames_are_fused(shape: tuple[int, ...]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    fusion = LogNms()
    for number in range(3):
        fusion.add(frame, number)
    assert np.array_equal(fusion.image(), frame)
    assert fusion.relief().raw_um.shape == shape[:2]
    assert fusion.sharpness().shape == shape[:2]


def test_planes_are_fused_as_bgr() -> None:
    frames = [to_planes(frame) for frame in ramp_stack(textured(48, 90))]
    of_planes, of_bgr = LogNms(), LogNms()
    for number, frame in enumerate(frames):
        of_planes.add(frame, number)
        of_bgr.add(to_bgr(frame), number)
    assert np.array_equal(of_planes.image(), of_bgr.image())


def test_depth_follows_the_bands_that_come_into_focus() -> None:
    frames = [noisy(frame, 1.5, n) for n, frame in enumerate(ramp_stack(textured(120, 200)))]
    fusion = LogNms()
    for number, frame in enumerate(frames):
        fusion.add(frame, 20.0 * number)
    relief = fusion.relief()
    truth = 20.0 * np.minimum(np.arange(200) * 5 // 200, 4)
    depth = relief.depth_um
    assert np.isfinite(depth).mean() > 0.9
    assert np.nanmean(np.abs(depth - truth) < 1) > 0.9
    assert relief.step_um == 20.0
    assert (relief.rows, relief.cols) == fusion.image().shape[:2]


def test_plain_ground_is_no_subject_and_has_no_depth() -> None:
    sharp = np.full((160, 240, 3), 120, np.uint8)
    sharp[40:120, 60:180] = textured(80, 120)
    fusion = LogNms()
    for number, frame in enumerate(ramp_stack(sharp)):
        fusion.add(noisy(frame, 1, number), number)
    surface, relief = fusion.surface(), fusion.relief()
    assert surface.mask[50:110, 70:170].mean() > 0.99
    assert not surface.mask[:20].any()
    assert np.isnan(surface.depth[:20]).all()
    assert (relief.reason[:20] == Reason.FLAT).all()
    assert np.isnan(relief.depth_um[:20]).all()
    assert np.isfinite(relief.raw_um).all()
    assert np.nanmean(relief.depth_um[50:110, 150:170]) > np.nanmean(relief.depth_um[50:110, 70:90])


def test_confidence_is_a_half_at_the_threshold() -> None:
    fusion = LogNms(least_confidence=0.2)
    for number, frame in enumerate(ramp_stack(textured(60, 100))):
        fusion.add(frame, number)
    relief = fusion.relief()
    known = relief.reason == Reason.WHOLE_STEP
    assert relief.confidence[known].min() > 0.5
    assert relief.confidence.max() < 1
    assert relief.confidence.min() >= 0


def test_shifted_frames_are_laid_on_the_first_and_cropped() -> None:
    shifts = [(0, 0), (3, -2), (7, -5), (12, -6), (15, -9)]
    sharp = textured(420, 520)
    layers = windows(sharp, shifts, 200, 300)
    stack = ramp_stack(sharp[100:300, 100:400])
    # Each frame's focus stays with the subject, its place does not.
    moved = []
    for number, (x, y) in enumerate(shifts):
        frame = blurred(layers[number], 2.0)
        rows, cols = overlap(y, 200), overlap(x, 300)
        frame[rows[1], cols[1]] = stack[number][rows[0], cols[0]]
        moved.append(frame)
    aligned, still = LogNms(), LogNms(align=False)
    for number, frame in enumerate(moved):
        aligned.add(frame, number)
        still.add(frame, number)
    image = aligned.image()
    # The last one has moved right by 15 px and up by 9: the first's upper rows and right columns are lost.
    rows, cols = image.shape[:2]
    assert abs(rows - 191) <= 1
    assert abs(cols - 285) <= 1
    truth = sharp[100:300, 100:400][200 - rows :, :cols]
    assert psnr(image, truth) > psnr(still.image()[200 - rows :, :cols], truth) + 5


def test_a_lamp_that_changes_is_made_up_for() -> None:
    sharp = textured(160, 240)
    gains = (1.0, 1.08, 0.93, 1.05, 0.97)
    fusion = LogNms()
    for number, (frame, gain) in enumerate(zip(ramp_stack(sharp), gains, strict=True)):
        fusion.add((frame.astype(np.float32) * gain).clip(0, 255).round().astype(np.uint8), number)
    band = slice(50, 100)
    assert fusion.image()[:, band].mean() == pytest.approx(sharp[:, band].mean(), rel=0.01)
    assert psnr(fusion.image(), sharp) > 30


def test_a_brighter_frame_takes_a_stack_no_further_than_its_bits() -> None:
    sharp = textured(64, 96).astype(np.uint16) * 16
    sharp[:8, :8] = 4095
    fusion = LogNms(bits=12)
    fusion.add(sharp, 0)
    fusion.add((sharp.astype(np.float32) * 0.8).astype(np.uint16), 1)
    assert fusion.white == 4095
    assert fusion.image().max() <= 4095


def test_the_state_does_not_grow_with_the_frames() -> None:
    fusion = LogNms()
    frame = textured(64, 96)
    fusion.add(frame, 0)
    nbytes = fusion.nbytes
    for number in range(1, 30):
        fusion.add(frame, number)
    assert fusion.nbytes == nbytes == 64 * 96 * 17
    assert fusion.frames == 30


def test_a_frame_from_another_stack_is_refused_and_the_next_goes_on() -> None:
    own, other = textured(200, 300, 1), textured(200, 300, 2)
    fusion = LogNms()
    fusion.add(own, 0)
    with pytest.raises(ShiftRefused, match="leave it out"):
        fusion.add(other, 1)
    fusion.add(blurred(own, 1), 2)
    assert fusion.positions_um == (0, 2)
    assert psnr(fusion.image(), own) > 30


@pytest.mark.parametrize(
    "frame", [textured(60, 81), textured(60, 80)[..., 0], textured(60, 80).astype(np.uint16)]
)
def test_frames_that_differ_are_refused(frame: Array) -> None:
    fusion = LogNms()
    fusion.add(textured(60, 80), 0)
    with pytest.raises(FrameMismatch, match="all must be alike"):
        fusion.add(frame, 1)
    assert fusion.frames == 1


def test_a_frame_in_the_dark_is_refused() -> None:
    fusion = LogNms(align=False)
    frame = textured(64, 96)
    fusion.add(frame, 0)
    with pytest.raises(FusionError, match="times as bright"):
        fusion.add(frame // 3, 1)
    assert fusion.frames == 1


@pytest.mark.parametrize("position_um", [float("nan"), float("inf")])
def test_a_frame_from_nowhere_is_refused(position_um: float) -> None:
    with pytest.raises(FusionError, match="position_um"):
        LogNms().add(textured(60, 80), position_um)


def test_nothing_comes_of_nothing() -> None:
    for ask in (LogNms().image, LogNms().relief, LogNms().surface, LogNms().sharpness):
        with pytest.raises(FusionError, match="add a frame first"):
            ask()


@pytest.mark.parametrize(
    "figures",
    [
        {"sigma_px": 0.2},
        {"least_confidence": 0.0},
        {"least_confidence": float("nan")},
        {"median_px": 4},
        {"bits": 7},
    ],
)
def test_figures_out_of_range_are_named(figures: dict[str, Any]) -> None:
    with pytest.raises(FusionError, match=next(iter(figures))):
        LogNms(**figures)


# --- translation


def test_shifts_add_up_over_frames_that_share_detail_only_with_their_neighbours() -> None:
    shifts = [(0, 0), (5, 2), (9, 6), (16, 7), (20, 13)]
    sharp = textured(600, 700)
    track = Track()
    for number, frame in enumerate(windows(sharp, shifts, 400, 500)):
        luma = blurred(frame, 0.4 * number)[..., 1].astype(np.float32)
        assert track.follow(luma) == shifts[number]


def test_halves_of_a_pixel_are_not_forgotten() -> None:
    fine = cv2.GaussianBlur(textured(880, 1080), (0, 0), 3)
    track = Track()
    found = []
    for number in range(9):
        cut = fine[40 : 40 + 800, 100 - number : 100 - number + 960]
        half = cv2.resize(cut, (480, 400), interpolation=cv2.INTER_AREA)
        found.append(track.follow(half[..., 1].astype(np.float32)))
    assert [found[n] for n in (2, 4, 6, 8)] == [(1, 0), (2, 0), (3, 0), (4, 0)]


@given(st.integers(-60, 60), st.integers(1, 50))
def test_an_overlap_is_what_both_frames_have(shift_px: int, side_px: int) -> None:
    here, there = overlap(shift_px, side_px)
    mine, theirs = range(side_px)[here], range(side_px)[there]
    assert [i + shift_px for i in mine] == list(theirs)
    assert len(mine) == max(0, side_px - abs(shift_px))


def test_half_a_side_must_be_left_to_all() -> None:
    whole = (slice(0, 100), slice(0, 100))
    assert shared(whole, (slice(0, 50), slice(20, 100)), (100, 100)) == (slice(0, 50), slice(20, 100))
    with pytest.raises(ShiftRefused, match="49 of 100 px"):
        shared(whole, (slice(51, 100), slice(0, 100)), (100, 100))


# --- brightness


def test_a_gain_is_taken_out_and_clipped_pixels_do_not_count() -> None:
    first = textured(96, 128)[..., 1].clip(10, 160)
    # A third of the picture is white in the second, whatever the lamp.
    second = (first * 1.25).round().astype(np.uint8)
    first[:32], second[:32] = 255, 255
    equaliser = Equaliser()
    assert equaliser.equal(first, first.astype(np.float32), (0, 0)) is first
    equal = equaliser.equal(second, second.astype(np.float32), (0, 0))
    assert equal[32:].mean() == pytest.approx(first[32:].mean(), rel=0.003)


def test_white_stays_white_and_the_order_of_values_is_kept() -> None:
    first = np.tile(np.arange(256, dtype=np.uint8), (64, 1)).repeat(2, axis=1)
    for gain in (0.6, 0.9, 1.1, 1.4):
        equaliser = Equaliser()
        equaliser.equal(first, np.full(first.shape, 100 * gain, np.float32), (0, 0))
        equal = equaliser.equal(first, np.full(first.shape, 100, np.float32), (0, 0))
        assert equal.max() == 255
        assert equal[0, 200] == pytest.approx(100 * gain, abs=0.5)
        assert (np.diff(equal[0].astype(int)) >= 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_channels_get_the_gain(dtype: type) -> None:
    image = (textured(96, 128).clip(20, 200)).astype(dtype)
    equaliser = Equaliser()
    equaliser.equal(image, image[..., 1].astype(np.float32), (0, 0))
    darker = (image * 0.8).round().astype(dtype)
    equal = equaliser.equal(darker, darker[..., 1].astype(np.float32), (0, 0))
    assert equal.dtype == dtype
    assert equal.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), rel=0.01)


# --- depth cleaned up


def test_unsure_depths_are_filled_from_around_and_single_wild_ones_smoothed() -> None:
    depth = np.full((100, 100), 7, np.float32)
    depth[30:36, 30:36] = 90
    sure = np.ones((100, 100), bool)
    sure[30:36, 30:36] = False
    depth[60, 60] = 90
    surface = Surface.of(depth, sure, np.full((100, 100), 128, np.uint8))
    assert surface.mask.all()
    assert np.allclose(surface.depth, 7)
    assert not surface.sure[32, 32]


def test_what_stands_alone_is_no_subject_and_gaps_in_it_are() -> None:
    sure = np.zeros((200, 300), bool)
    sure[40:160, 60:220] = True
    sure[90:110, 100:130] = False
    sure[10, 280] = True
    mask = subject_mask(sure)
    assert mask[100, 115]
    assert not mask[10, 280]
    assert mask.sum() == pytest.approx(120 * 160, rel=0.02)


def test_without_a_sure_depth_there_is_no_subject() -> None:
    flat = np.zeros((50, 60), bool)
    surface = Surface.of(np.zeros((50, 60), np.float32), flat, np.zeros((50, 60), np.uint8))
    assert not surface.mask.any()
    assert np.isnan(surface.depth).all()
