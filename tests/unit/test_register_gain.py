"""Flicker is measured and taken out; a stack without it is left exactly alone."""

from __future__ import annotations

import json
from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr, to_planes
from focusd.register.gain import Gain, GainInvalid, GainMeter
from focusd.register.sketch import Sketch
from focusd_sim.suite import SuiteStack, stack_named
from focusd_sim.suite_flaws import Flaws

FLICKER = Flaws(flicker=0.05, colour_flicker=0.03)
factors = st.floats(0.8, 1.25)


@lru_cache(maxsize=4)
def scene(name: str) -> SuiteStack:
    return stack_named(name, seed=1, noise=2, frames=14, megapixels=0.15)


def frames_of(stack: SuiteStack) -> list[Image]:
    return [stack.frame(index) for index in range(len(stack.positions_um))]


def departures(frames: list[Image | Planes], clean: list[Image | Planes]) -> np.ndarray:
    """How far each frame's brightness is from the stack's, as a share."""
    found = []
    for frame, ideal in zip(frames, clean, strict=True):
        one, other = Sketch.of(frame), Sketch.of(ideal)
        good = ~one.clipped & ~other.clipped & (other.levels.min(axis=2) > 10)
        found.append(np.median(np.log(one.luma[good] / other.luma[good])))
    return np.array(found) - np.median(found)


@pytest.mark.parametrize("name", ["general", "flat"])
@pytest.mark.parametrize("as_planes", [False, True])
def test_flicker_of_five_percent_leaves_three_in_a_thousand(name: str, as_planes: bool) -> None:
    stack = scene(name)
    turn = to_planes if as_planes else np.asarray
    clean = [turn(frame) for frame in frames_of(stack.with_noise(0))]
    flawed = [turn(frame) for frame in frames_of(stack.spoiled(FLICKER))]
    meter = GainMeter()
    made = [meter.measure(Sketch.of(frame)).apply(frame) for frame in flawed]
    assert meter.flickers
    assert np.abs(departures(flawed, clean)).max() > 0.02
    assert np.abs(departures(made, clean)).max() <= 0.003


@pytest.mark.parametrize("name", ["general", "scene-b", "bristles"])
def test_a_stack_without_flicker_is_left_exactly_alone(name: str) -> None:
    meter = GainMeter()
    for frame in frames_of(scene(name)):
        gain = meter.measure(Sketch.of(frame))
        assert gain == Gain()
        assert gain.apply(frame) is frame
    assert not meter.flickers


def test_a_bright_thing_going_out_of_focus_is_no_flicker() -> None:
    rng = np.random.default_rng(0)
    ground = rng.normal(60, 8, (240, 360)).astype(np.float32)
    thing = np.zeros_like(ground)
    thing[60:180, 80:240] = 150
    meter = GainMeter()
    for blur in (1, 4, 8, 14, 22, 32):
        frame = np.clip(ground + cv2.GaussianBlur(thing, (0, 0), blur), 0, 255).astype(np.uint8)
        assert meter.measure(Sketch.of(frame)).is_one


def test_gains_do_not_wander_over_two_hundred_frames() -> None:
    rng = np.random.default_rng(1)
    still = cv2.GaussianBlur(rng.normal(110, 400, (120, 180)).astype(np.float32), (0, 0), 4)
    meter, away = GainMeter(), []
    for _ in range(200):
        light = 1 + 0.05 * rng.uniform(-1, 1)
        noisy = np.clip(light * still + rng.normal(0, 2, still.shape), 0, 255)
        away.append(np.log(meter.measure(Sketch.of(np.rint(noisy).astype(np.uint8))).luma * light))
    settled = np.array(away[20:])
    assert np.ptp(settled) < 0.006
    assert abs(settled[-40:].mean() - settled[:40].mean()) < 0.0015


def test_a_frame_that_lies_elsewhere_is_compared_where_it_lies() -> None:
    rng = np.random.default_rng(2)
    wide = cv2.GaussianBlur(rng.normal(110, 900, (300, 420)).astype(np.float32), (0, 0), 9)
    wide = np.clip(wide, 20, 200)
    first, moved = wide[:240, :360], wide[24:264, 32:392]
    matrix = np.array([[1, 0, -32], [0, 1, -24]], np.float64)
    meter = GainMeter()
    meter.measure(Sketch.of(np.rint(first).astype(np.uint8)))
    gain = meter.measure(Sketch.of(np.rint(moved * 1.06).astype(np.uint8)), matrix)
    assert gain.luma * 1.06 == pytest.approx(1, abs=0.004)


@given(blue=factors, green=factors, red=factors)
def test_planes_are_multiplied_as_colours_are(blue: float, green: float, red: float) -> None:
    colours = np.random.default_rng(3).integers(40, 190, (6, 6, 3)).astype(np.uint8)
    image = cv2.resize(colours, (96, 96), interpolation=cv2.INTER_NEAREST)
    made = Gain(blue, green, red).apply(to_planes(image))
    wanted = image * np.array([blue, green, red])
    assert isinstance(made, Planes)
    # Within the plain squares; their edges share colour.
    inner = np.s_[4:12, 4:12]
    rest = np.clip(wanted, 0, 235)[inner].mean(axis=(0, 1)) - to_bgr(made)[inner].mean(axis=(0, 1))
    if wanted[inner].max() < 215:
        assert np.abs(rest).max() < 2.5


@pytest.mark.parametrize("kind", ["grey", "BGR", "planes", "grey 16", "BGR 16"])
@pytest.mark.parametrize("factor", [0.93, 1.08])
def test_white_stays_white_and_black_black(kind: str, factor: float) -> None:
    white = 65535 if kind.endswith("16") else 255
    shape = (33, 47) if kind.startswith("grey") else (33, 47, 3)
    frame = np.zeros(shape, np.uint16 if kind.endswith("16") else np.uint8)
    frame[:, 20:] = white
    source = to_planes(frame) if kind == "planes" else frame
    made = Gain(factor, factor * 1.01, factor * 0.99).apply(source)
    picture = made.luma if isinstance(made, Planes) else made
    assert picture[:, 22:].min() == white
    assert picture[:, :18].max() <= (1 if kind == "planes" else 0)


def test_no_level_is_missing_from_a_ramp() -> None:
    ramp = np.tile(np.repeat(np.arange(20, 200, dtype=np.uint8), 8), (64, 1))
    made = np.asarray(Gain(1.04, 1.04, 1.04).apply(ramp))
    counts = np.bincount(made.ravel(), minlength=256)[25:200]
    assert counts.min() > 0.5 * counts.max()
    # What a level became is right on the mean, though it must be whole.
    assert made.mean() == pytest.approx(1.04 * ramp.mean(), rel=1e-4)


def test_a_frame_may_be_multiplied_in_its_own_memory_and_is_not_touched_otherwise() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (50, 71, 3)).astype(np.uint8)
    for source in (frame, to_planes(frame), frame.astype(np.uint16) * 200):
        before = to_bgr(source).copy()
        gain = Gain(1.02, 0.99, 1.05)
        fresh = gain.apply(source)
        assert np.array_equal(to_bgr(source), before)
        assert gain.apply(source, out=source) is source
        assert np.array_equal(to_bgr(source), to_bgr(fresh))


def test_gains_survive_json_and_nonsense_is_refused() -> None:
    gain = Gain(1.0123456789, 0.9, 1.1)
    assert Gain.of_json(json.loads(json.dumps(gain.as_json()))) == gain
    for wrong in (
        [1, 1],
        [1, 1, "1"],
        [1, 1, float("nan")],
        [0, 1, 1],
        [1, 1, 10**400],
        "x",
        None,
        [1, 1, True],
    ):
        with pytest.raises(GainInvalid):
            Gain.of_json(wrong)
