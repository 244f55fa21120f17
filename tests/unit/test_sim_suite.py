"""The fusion suite's stacks tell the truth, and the rules they are measured against are what they say."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import ConfigError, FrameMismatch, FusionError
from focusd_sim.references import ReferenceFusion, collapse, float_max, laplacian, narrow_max, plain_power
from focusd_sim.score import oracle, psnr
from focusd_sim.suite import NAMES, stack_named
from focusd_sim.suite_flaws import Flaws
from focusd_sim.suite_parts import STEP_UM

SMALL_MP = 0.06


@lru_cache(maxsize=8)
def small(name, *, frames=None, megapixels=SMALL_MP):
    """Make a stack without noise once; its scene serves every noise and flaw."""
    return stack_named(name, seed=1, noise=0, frames=frames, megapixels=megapixels)


def random_frame(seed, shape=(45, 64, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def mean_error(a, b, where):
    return float(np.abs(a.astype(float) - b)[where].mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_stack_follows_from_name_and_seed(name):
    one = stack_named(name, seed=3, noise=2, frames=4, megapixels=0.03)
    same = stack_named(name, seed=3, noise=2, frames=4, megapixels=0.03)
    other = stack_named(name, seed=4, noise=2, frames=4, megapixels=0.03)
    assert np.array_equal(one.frame(2), same.frame(2))
    assert np.array_equal(one.frame(2), one.frame(2))
    assert np.array_equal(one.truth, same.truth)
    assert not np.array_equal(one.truth, other.truth)
    assert one.frame(0).dtype == np.uint8
    assert not np.array_equal(one.frame(0), one.frame(1))


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_focused_at_a_surface_shows_the_truth_there(name):
    stack = small(name)
    # Away from steps in height, where something before or behind is blurred.
    plain = np.nan_to_num(stack.height_um, nan=-1e5)
    window = np.ones((9, 9), np.uint8)
    even = cv2.dilate(plain, window) - cv2.erode(plain, window) < 2.5 * STEP_UM
    sharp, blurred = [], []
    for index, position_um in enumerate(stack.positions_um):
        near = even & (np.abs(stack.height_um - position_um) < 0.1 * STEP_UM)
        far = (index + 12) % len(stack.positions_um)
        for frame, errors in ((index, sharp), (far, blurred)):
            off = np.abs(stack.frame(frame).astype(float) - stack.truth).max(axis=2)
            errors.append(off[near])
    # Something before the surface may cover a part of it with its blur: the median.
    assert sum(errors.size > 30 for errors in sharp) >= 4
    assert np.median(np.concatenate(sharp)) <= 2
    if name != "flat":
        assert np.median(np.concatenate(blurred)) > 12


@pytest.mark.parametrize("name", NAMES)
def test_the_heights_lie_within_the_travel(name):
    stack = small(name)
    known = stack.height_um[np.isfinite(stack.height_um)]
    assert known.size > 0
    assert known.min() >= stack.positions_um[0] - STEP_UM / 2
    assert known.max() <= stack.positions_um[-1] + STEP_UM / 2
    assert np.allclose(np.diff(stack.positions_um), stack.step_um)
    # Enough of the travel is used that most frames are somewhere the sharpest.
    assert np.ptp(known) > 0.3 * (stack.positions_um[-1] - stack.positions_um[0])


@pytest.mark.parametrize(
    ("name", "masks"),
    [
        ("general", {"flat", "ring", "foreground"}),
        ("scene-a", {"flat", "ring", "foreground"}),
        ("scene-b", {"ring", "foreground"}),
        ("wide", {"ring", "foreground"}),
        ("bristles", {"ring", "foreground"}),
        ("flat", {"flat"}),
    ],
)
def test_masks_are_there_and_not_empty(name, masks):
    stack = small(name, megapixels=0.3)
    assert set(stack.masks) == masks
    for mask in stack.masks.values():
        assert mask.dtype == bool
        assert mask.shape == stack.truth.shape[:2]
        assert mask.sum() > 200
    if "ring" in masks:
        assert not (stack.masks["ring"] & stack.masks["foreground"]).any()


@pytest.mark.parametrize("name", ["general", "scene-a", "flat"])
def test_flat_places_show_nothing_in_any_frame(name):
    stack = small(name, megapixels=0.3)
    flat = stack.masks["flat"]
    for index in (0, len(stack.positions_um) // 2, len(stack.positions_um) - 1):
        assert np.abs(stack.frame(index).astype(int) - stack.truth)[flat].max() <= 1


def test_the_ground_of_scene_a_is_never_in_focus_and_that_of_scene_b_is():
    never, once = small("scene-a"), small("scene-b")
    # Two px off, for a leaf's soft edge.
    leaves = cv2.dilate(never.masks["foreground"].astype(np.uint8), np.ones((5, 5), np.uint8))
    ground = leaves == 0
    assert np.isnan(never.height_um[ground]).all()
    assert np.isfinite(once.height_um).all()
    detail = [cv2.Laplacian(cv2.cvtColor(s.truth, cv2.COLOR_BGR2GRAY), cv2.CV_32F) for s in (never, once)]
    assert np.abs(detail[0][ground]).mean() < 2 < 10 < np.abs(detail[1][ground]).mean()


def test_the_foregrounds_blur_covers_its_ground():
    stack = small("scene-b")
    ring, luma = stack.masks["ring"], cv2.cvtColor(stack.truth, cv2.COLOR_BGR2GRAY).astype(float)
    close = ring & (cv2.dilate(stack.masks["foreground"].astype(np.uint8), np.ones((11, 11))) > 0)
    far = ~stack.masks["foreground"] & ~ring
    # The frame that has the ground in focus: bright haze beside the leaves, the truth away from them.
    frame = cv2.cvtColor(stack.frame(2), cv2.COLOR_BGR2GRAY).astype(float)
    haze = (frame - luma)[close].mean()
    assert haze > 20
    assert np.median(np.abs(frame - luma)[far]) < 8
    # And where a leaf is in focus its edge is clean: no haze of its own.
    at = np.nanmedian(stack.height_um[stack.masks["foreground"]])
    sharp = int(np.argmin(np.abs(np.array(stack.positions_um) - at)))
    beside = cv2.cvtColor(stack.frame(sharp), cv2.COLOR_BGR2GRAY).astype(float)
    assert (beside - luma)[close].mean() < haze / 2


def test_a_wide_apertures_discs_are_seventy_pixels_wide():
    stack = small("wide")
    travel_um = stack.positions_um[-1] - stack.positions_um[0]
    assert 2 * stack.scene.lens.disc_radius_px(travel_um) == pytest.approx(70, rel=0.01)
    assert 2 * small("general").scene.lens.disc_radius_px(STEP_UM) < 2


@pytest.mark.parametrize("noise", [2, 6])
def test_noise_is_as_asked(noise):
    stack = small("scene-a")
    clean, noisy = stack.frame(5), stack.with_noise(noise).frame(5)
    inside = (clean > 40) & (clean < 215)
    off = (noisy.astype(float) - clean)[inside]
    assert off.std() == pytest.approx(noise, rel=0.05)
    assert abs(off.mean()) < 0.1
    again = stack.with_noise(noise).frame(6).astype(float) - stack.frame(6)
    shared = np.corrcoef(again[inside], (noisy.astype(float) - clean)[inside])[0, 1]
    assert abs(shared) < 0.05


def test_flicker_changes_the_light_of_a_frame():
    stack = small("scene-b")
    spoiled = stack.spoiled(Flaws(flicker=0.05))
    gains = [
        np.median(spoiled.frame(i).astype(float)[..., 1] / np.maximum(stack.frame(i)[..., 1], 1)[...])
        for i in range(8)
    ]
    assert min(gains) >= 0.94
    assert max(gains) <= 1.06
    assert np.ptp(gains) > 0.03
    tints = stack.spoiled(Flaws(colour_flicker=0.05)).frame(0).astype(float).mean((0, 1))
    ratio = tints / stack.frame(0).astype(float).mean((0, 1))
    assert np.ptp(ratio) > 0.005


def test_breathing_and_drift_move_the_picture_as_they_say():
    stack = small("bristles")
    last = len(stack.positions_um) - 1
    spoiled = stack.spoiled(Flaws(breathing=0.03, drift_px=12))
    assert spoiled.magnification(0) == 1
    assert spoiled.shift_px(0) == (0, 0)
    assert np.array_equal(spoiled.frame(0), stack.frame(0))
    assert spoiled.magnification(last) == pytest.approx(1.03)
    assert np.hypot(*spoiled.shift_px(last)) == pytest.approx(12)
    # Undone by the transform it states, the frame is the plain one again.
    rows, cols = stack.truth.shape[:2]
    scale, (down, right) = spoiled.magnification(last), spoiled.shift_px(last)
    middle = np.array([(cols - 1) / 2, (rows - 1) / 2])
    offset = middle * (1 - scale) + (right, down)
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(spoiled.frame(last), matrix, (cols, rows), flags=flags)
    inner = (slice(20, -20), slice(20, -20))
    plain = stack.frame(last)
    assert mean_error(back, plain, inner) < 1.5
    assert mean_error(spoiled.frame(last), plain, inner) > 3 * mean_error(back, plain, inner)


def test_dust_stays_where_it_is_on_the_sensor():
    stack = small("bristles")
    spoiled = stack.spoiled(Flaws(dust_spots=6, drift_px=30))
    drifted = stack.spoiled(Flaws(drift_px=30))
    marks = []
    for index in (0, 23):
        plain = drifted.frame(index).astype(float)
        loss = 1 - spoiled.frame(index) / np.maximum(plain, 1)
        marks.append((loss.max(axis=2) > 0.1) & (plain.min(axis=2) > 25))
    assert 0 < marks[0].mean() < 0.1
    both = marks[0] & marks[1]
    assert both.sum() > 0.6 * min(mark.sum() for mark in marks)


def test_frames_and_size_are_as_asked():
    stack = stack_named("flat", seed=1, noise=0, frames=60, megapixels=0.4)
    assert len(stack.positions_um) == 60
    rows, cols = stack.truth.shape[:2]
    assert rows * cols == pytest.approx(0.4e6, rel=0.01)
    assert cols / rows == pytest.approx(1.5, rel=0.01)
    assert len(small("flat").positions_um) == 30
    assert len(small("general").positions_um) == 24


@pytest.mark.parametrize(
    ("name", "settings_", "message"),
    [
        ("generl", {}, "did you mean 'general'"),
        ("flat", {"frames": 1}, "from 2 to 200"),
        ("flat", {"megapixels": 50}, "12.5"),
        ("flat", {"noise": -1}, "from 0 to 60"),
        ("flat", {"seed": -1}, "0 or more"),
    ],
)
def test_what_cannot_be_made_is_refused(name, settings_, message):
    with pytest.raises(ConfigError, match=message):
        stack_named(name, **{"seed": 1, "noise": 0} | settings_)


def test_a_frame_or_flaw_out_of_range_is_refused():
    stack = small("flat")
    for index in (-1, 30):
        with pytest.raises(ConfigError, match="frames 0 to 29"):
            stack.frame(index)
    with pytest.raises(ConfigError, match="breathing is 2"):
        Flaws(breathing=2)


@pytest.mark.parametrize("rule", [float_max, narrow_max, plain_power])
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 70), cols=st.integers(1, 70), seed=st.integers(0, 99))
def test_one_frame_gives_itself(rule, rows, cols, seed):
    frame = random_frame(seed, (rows, cols, 3))
    fusion = rule()
    fusion.add(frame)
    assert np.abs(fusion.image().astype(int) - frame).max() <= (0 if fusion.power is None else 1)


@pytest.mark.parametrize("rule", [float_max, plain_power])
def test_the_order_of_frames_does_not_matter(rule):
    stack = small("general").with_noise(2)
    forward, backward = rule(), rule()
    for index in range(10):
        forward.add(stack.frame(index))
        backward.add(stack.frame(9 - index))
    off = np.abs(forward.image().astype(int) - backward.image())
    assert off.max() <= 1


def test_references_pick_the_sharper_half():
    sharp = random_frame(5, (64, 96, 3))
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    left, right = sharp.copy(), sharp.copy()
    left[:, 48:] = soft[:, 48:]
    right[:, :48] = soft[:, :48]
    for rule in (float_max(), narrow_max(), plain_power()):
        rule.add(left)
        rule.add(right)
        fused = rule.image()
        assert np.abs(fused.astype(int) - sharp)[:, :36].mean() < 4
        assert np.abs(fused.astype(int) - sharp)[:, 60:].mean() < 4


def test_power_weights_average_what_a_maximum_chooses():
    grey = np.full((96, 96, 3), 128, np.uint8)
    chosen, averaged = float_max(), plain_power()
    for index in range(16):
        noise = np.random.default_rng(index).normal(0, 6, grey.shape)
        frame = np.clip(np.rint(grey + noise), 0, 255).astype(np.uint8)
        chosen.add(frame)
        averaged.add(frame)
    assert averaged.image().std() < 3.5 < 5 < chosen.image().std()


def test_references_do_not_change_or_keep_what_they_are_given():
    frame = random_frame(7)
    kept = frame.copy()
    bands = laplacian(frame)
    before = [band.copy() for band in bands]
    for rule in (float_max(), plain_power()):
        rule.add_bands(bands)
        rule.add(frame)
        rule.add(random_frame(8))
    assert np.array_equal(frame, kept)
    assert all(np.array_equal(a, b) for a, b in zip(bands, before, strict=True))
    assert np.array_equal(collapse(bands), frame)


def test_reference_rules_refuse_what_they_cannot_fuse():
    with pytest.raises(FusionError, match="no frame"):
        float_max().image()
    with pytest.raises(FusionError, match="odd"):
        ReferenceFusion(4)
    with pytest.raises(FusionError, match="at most 16"):
        ReferenceFusion(7, 40.0)
    fusion = float_max()
    fusion.add(random_frame(1))
    with pytest.raises(FrameMismatch, match="64 x 45"):
        fusion.add(random_frame(1, (40, 64, 3)))


def test_the_rules_come_near_the_oracle_and_p12_gains_with_noise():
    clean = small("general", megapixels=0.15)
    over = {}
    for noise in (0, 6):
        stack = clean.with_noise(noise)
        rules = {"max": float_max(), "p12": plain_power()}
        for index in range(len(stack.positions_um)):
            bands = laplacian(stack.frame(index))
            for rule in rules.values():
                rule.add_bands(bands)
        best = psnr(oracle(stack.frame, stack.height_um, stack.positions_um), stack.truth)
        for key, rule in rules.items():
            over[key, noise] = psnr(rule.image(), stack.truth) - best
    assert all(-4 < gain < 4 for gain in over.values())
    assert over["max", 0] > over["p12", 0]
    assert over["p12", 6] > over["max", 6]
