"""A test frame is refused for what would spoil its stack, and for nothing else."""

from __future__ import annotations

import json
from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.pictures.samples import to_planes
from focusd.preflight import BLUR_PX, PreflightFailed, judge, look_at, white_of_file
from focusd_sim.catalogue import scene_named
from focusd_sim.suite import NAMES, stack_named


def codes(frame, white=None):
    return [finding.code for finding in judge(frame, white)]


def noisy(plane, sigma, seed=1):
    """Add white noise, and round to 8 bits."""
    noise = np.random.default_rng(seed).normal(0, sigma, plane.shape) if sigma else 0.0
    return np.clip(np.rint(plane + noise), 0, 255).astype(np.uint8)


def blurred(plane, sigma_px):
    return cv2.GaussianBlur(np.asarray(plane, np.float32), (0, 0), sigma_px)


@lru_cache(maxsize=3)
def wasp(focus_um=0.0):
    """Draw a frame of the demo's stack, small; its middle by default."""
    return wasp_scene().render(focus_um)


@lru_cache(maxsize=1)
def wasp_scene():
    return scene_named("wasp", shape=(512, 768))


@lru_cache(maxsize=1)
def suite_stack(name):
    """Make a stack without noise once."""
    return stack_named(name, seed=1, noise=0, megapixels=0.25)


def disc(*, ground, subject, radius_px=30, shape=(400, 600)):
    """Draw a small textured subject on an even ground."""
    plane = np.full(shape, ground, np.float32)
    texture = blurred(np.random.default_rng(5).normal(0, 1, shape), 1.2)
    mask = np.zeros(shape, np.uint8)
    cv2.circle(mask, (330, 170), radius_px, 1, cv2.FILLED)
    return np.where(mask > 0, subject + 40 * texture / texture.std(), plane)


# What is black.


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0, 6.0, 12.0])
@pytest.mark.parametrize("colour", [False, True])
def test_a_lens_cap_is_found_at_any_noise(sigma, colour):
    shape = (400, 600, 3) if colour else (400, 600)
    assert codes(noisy(np.zeros(shape), sigma)) == ["black"]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0, 6.0, 16.0])
def test_a_lens_cap_over_a_pedestal_is_found_by_its_lack_of_detail(sigma):
    assert codes(noisy(np.full((400, 600), 40.0), sigma)) == ["featureless"]


def test_smoothed_noise_is_no_detail():
    soft = blurred(np.random.default_rng(1).normal(0, 1, (600, 900)), 1.0)
    assert codes(noisy(120 + 3 * soft / soft.std(), 0)) == ["featureless"]


def test_a_black_finding_says_value_limit_unit_and_remedy():
    (finding,) = judge(noisy(np.full((400, 600), 5.0), 1.0))
    assert finding.measured == pytest.approx(5, abs=1)
    assert finding.limit == 16
    assert finding.unit == "levels of 255"
    assert "5." in finding.message
    assert "lens cap" in finding.message


def test_hot_pixels_do_not_make_a_black_frame_bright():
    frame = noisy(np.zeros((400, 600)), 2.0)
    rng = np.random.default_rng(3)
    frame[rng.integers(0, 400, 60), rng.integers(0, 600, 60)] = 255
    assert codes(frame) == ["black"]


def test_a_small_bright_subject_on_black_passes():
    assert codes(noisy(disc(ground=1, subject=120), 2.0)) == []


# What is blown out.


@pytest.mark.parametrize("share", [0.6, 0.8, 1.0])
def test_a_blown_frame_is_found(share):
    luma = cv2.cvtColor(wasp(), cv2.COLOR_BGR2GRAY)
    # The light's own noise comes before the sensor is full.
    light = luma * (258 / max(1.0, np.quantile(luma, 1 - share)))
    assert codes(noisy(light, 1.0)) == ["blown"]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_a_frame_with_blown_parts_passes(share):
    luma = cv2.cvtColor(wasp(), cv2.COLOR_BGR2GRAY)
    assert codes(noisy(luma * (256 / np.quantile(luma, 1 - share)), 1.0)) == []


@pytest.mark.parametrize("ground", [240, 250])
def test_a_nearly_white_ground_passes(ground):
    assert codes(noisy(disc(ground=ground, subject=120), 0.7)) == []


# What is not sharp.


@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
def test_the_demo_passes_in_focus_and_not_far_from_it(sigma):
    assert codes(noisy(wasp(), sigma)) == []
    # 30 depths of field of 57 um beyond the nearest of it; its pixels are 8 um.
    assert codes(noisy(wasp(1270 + 2 * 30 * 57), sigma)) in (["unsharp"], ["featureless"])


@pytest.mark.parametrize("sigma_px", [20, 30])
@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0])
def test_a_frame_far_out_of_focus_is_found(sigma_px, sigma):
    big = cv2.resize(wasp(), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert codes(noisy(blurred(big, sigma_px), sigma)) in (["unsharp"], ["featureless"])


@pytest.mark.parametrize("noise", [0, 2, 6])
@pytest.mark.parametrize("name", NAMES)
def test_the_middle_of_each_suite_stack_passes(name, noise):
    stack = suite_stack(name).with_noise(noise)
    assert codes(stack.frame(len(stack.positions_um) // 2)) == []


@pytest.mark.parametrize("name", ["slope", "spheres", "chart", "ruler"])
def test_the_bench_scenes_pass_at_their_own_size(name):
    assert codes(scene_named(name).render(0.0)) == []


def test_one_part_in_a_hundred_in_focus_is_enough():
    plane = blurred(cv2.resize(cv2.cvtColor(wasp(), cv2.COLOR_BGR2GRAY), (1200, 800)), 20)
    assert codes(noisy(plane, 1.5)) == ["unsharp"]
    sharp = disc(ground=0, subject=0, radius_px=56, shape=plane.shape)
    assert np.mean(sharp != 0) == pytest.approx(0.01, rel=0.05)
    assert codes(noisy(plane + sharp, 1.5)) == []


@pytest.mark.parametrize("sigma_px", [3, 6, 8, 12])
def test_the_blur_of_a_straight_edge_is_measured(sigma_px):
    plane = np.full((400, 600), 60.0)
    plane[:, 300:] = 180
    assert look_at(noisy(blurred(plane, sigma_px), 1.0)).blur_px == pytest.approx(sigma_px, rel=0.2)


# What does not count.


@given(offset=st.integers(-35, 60), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_brightness_does_not_change_the_judgement_of_sharpness(offset, seed):
    plane = 100 + disc(ground=0, subject=0, shape=(256, 448)).clip(-60, 60)
    frame = noisy(plane, 1.5, seed)
    before, after = look_at(frame), look_at(frame + np.int16(offset).astype(np.uint8))
    assert after.detail == pytest.approx(before.detail, rel=0.02)
    assert after.blur_px == pytest.approx(before.blur_px, rel=0.02, abs=0.1)


@given(contrast=st.floats(0.5, 1.8), sigma_px=st.floats(4, 12))
@settings(max_examples=15, deadline=None)
def test_contrast_does_not_change_the_blur(contrast, sigma_px):
    plane = np.full((256, 320), -60.0)
    plane[:, 150:] = 60
    edge = blurred(plane, sigma_px)
    one, other = look_at(noisy(edge + 128, 0.5)), look_at(noisy(contrast * edge + 128, 0.5))
    assert other.blur_px == pytest.approx(one.blur_px, rel=0.2)


@given(turns=st.integers(0, 3), mirror=st.booleans())
@settings(max_examples=8, deadline=None)
def test_the_way_up_does_not_matter(turns, mirror):
    # Whole tiles, so that none is left out elsewhere.
    frame = noisy(disc(ground=90, subject=120, shape=(384, 640)), 1.5)
    turned = np.ascontiguousarray(np.rot90(frame[:, ::-1] if mirror else frame, turns))
    one, other = look_at(frame), look_at(turned)
    assert other.brightest == pytest.approx(one.brightest, rel=1e-3)
    assert other.blown_share == one.blown_share
    assert other.detail == pytest.approx(one.detail, rel=0.05)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_frames_of_16_bits_are_judged_as_those_of_8(bits):
    white = (1 << bits) - 1
    frame = noisy(wasp(), 1.5)
    deep = np.rint(frame.astype(np.float64) * white / 255).astype(np.uint16)
    one, other = look_at(frame), look_at(deep, white)
    assert other.brightest == pytest.approx(one.brightest, abs=0.6)
    assert other.blown_share == pytest.approx(one.blown_share, abs=1e-6)
    assert other.detail == pytest.approx(one.detail, rel=0.05)
    assert other.findings == one.findings == ()


def test_a_black_frame_of_16_bits_is_not_stretched_until_it_looks_bright():
    dark = np.random.default_rng(1).integers(0, 30, (400, 600)).astype(np.uint16)
    assert codes(dark) == ["black"]
    assert codes(dark, 65535) == ["black"]


def test_only_of_a_raw_file_is_white_known():
    assert white_of_file(b"", "a.cr2") == 65535
    assert white_of_file(b"\xff\xd8\xff", "a.cr2") is None
    assert white_of_file(b"\x89PNG\r\n\x1a\n", "a.png") is None
    assert white_of_file(None, "a.dng") is None


@pytest.mark.parametrize("good", [True, False])
def test_planes_are_judged_as_their_picture(good):
    frame = noisy(wasp() if good else np.zeros((512, 768, 3)), 1.5)
    assert codes(to_planes(frame)) == codes(frame)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (63, 500), (64, 64), (65, 97), (511, 513, 3)])
def test_any_size_can_be_judged(shape):
    frame = np.random.default_rng(1).integers(60, 200, shape).astype(np.uint8)
    look = look_at(frame)
    assert (look.detail is None) == (min(shape[:2]) < 64)
    assert not {finding.code for finding in look.findings} & {"black", "blown"}


# What is said.


def test_the_error_says_every_finding_and_how_to_go_on():
    findings = judge(noisy(np.zeros((400, 600)), 1.0))
    error = PreflightFailed.of(findings)
    assert error.code == "preflight"
    assert findings[0].message in str(error)
    assert '"force": true' in str(error)
    assert json.loads(json.dumps(error.values))["findings"][0]["code"] == "black"


def test_no_finding_holds_an_infinity():
    step = np.full((256, 384), 60.0)
    step[:, 192:] = 180
    (finding,) = judge(noisy(blurred(step, 60), 0.3))
    assert finding.code == "unsharp"
    assert BLUR_PX < finding.measured <= 50
    json.dumps(finding.as_json(), allow_nan=False)
