"""Dust is found where the picture moved across it, and taken out; else nothing is touched."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest

from focusd.errors import FrameMismatch
from focusd.fusion import Fusion
from focusd.pictures.samples import Image, to_bgr, to_planes
from focusd.register.dust import Drift, DustInvalid, DustMap, DustSearch, Spot
from focusd_sim.score import psnr
from focusd_sim.suite import SuiteStack, stack_named
from focusd_sim.suite_flaws import Flaws

BORDER_PX = 20


@lru_cache(maxsize=4)
def scene(drift_px: float, spots: int) -> SuiteStack:
    flaws = Flaws(drift_px=drift_px, dust_spots=spots)
    return stack_named("scene-b", seed=1, noise=2, megapixels=0.4, flaws=flaws)


@lru_cache(maxsize=4)
def frames_of(drift_px: float, spots: int) -> tuple[Image, ...]:
    stack = scene(drift_px, spots)
    return tuple(stack.frame(index) for index in range(len(stack.positions_um)))


def matrices_of(stack: SuiteStack) -> list[Any]:
    shifts = (stack.shift_px(index) for index in range(len(stack.positions_um)))
    return [np.array([[1, 0, col], [0, 1, row]], np.float64) for row, col in shifts]


def learnt(drift_px: float, spots: int) -> tuple[DustMap, DustMap]:
    """All dust found, and that which the picture moved across."""
    frames, matrices = frames_of(drift_px, spots), matrices_of(scene(drift_px, spots))
    search, drift = DustSearch(), Drift(frames[0].shape)
    for frame, matrix in zip(frames, matrices, strict=True):
        search.look(frame, matrix)
        drift.take(matrix)
    found = search.found()
    return found, found.moved(drift)


def fused(stack: SuiteStack, frames: tuple[Image, ...], dust: DustMap) -> float:
    """Luma PSNR of the picture, dB."""
    fusion = Fusion()
    for frame, matrix, position_um in zip(frames, matrices_of(stack), stack.positions_um, strict=True):
        clean = frame.copy()
        dust.clean(clean)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = frame.shape[1::-1]
        fusion.add(
            cv2.warpAffine(clean, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), position_um
        )
    inner = (slice(BORDER_PX, -BORDER_PX),) * 2
    made = to_bgr(fusion.result().image)
    return psnr(np.ascontiguousarray(made[inner]), np.ascontiguousarray(stack.truth[inner]))


def test_dust_that_the_picture_drifted_across_costs_a_decibel_less() -> None:
    stack, frames = scene(12, 60), frames_of(12, 60)
    _, moved = learnt(12, 60)
    nothing = DustMap(moved.shape, (), 0)
    assert fused(stack, frames, moved) >= fused(stack, frames, nothing) + 1.0


def test_without_dust_none_is_found() -> None:
    found, moved = learnt(12, 0)
    assert found.spots == moved.spots == ()


def test_without_drift_none_is_found_and_frames_are_left_alone() -> None:
    found, moved = learnt(0, 60)
    assert found.spots == moved.spots == ()
    frame = frames_of(0, 60)[0].copy()
    moved.clean(frame)
    assert np.array_equal(frame, frames_of(0, 60)[0])


def test_a_spot_counts_only_where_the_picture_moved_further_than_it_is_wide() -> None:
    dust = DustMap((100, 200), (Spot(20, 50, 3, 0.3), Spot(190, 50, 3, 0.3)), 9)
    drift = Drift((100, 200))
    assert dust.moved(drift).spots == ()
    # Breathing about the left edge: nothing moves there, much does on the right.
    for scale in (1.0, 1.02, 1.05):
        drift.take(np.array([[scale, 0, 0], [0, 1, 0]]))
    assert dust.moved(drift).spots == dust.spots[1:]
    assert drift.at(100, 50) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("kind", ["grey", "BGR", "planes", "BGR 16"])
def test_a_known_shadow_is_taken_out_of_every_kind_of_frame(kind: str) -> None:
    spot = Spot(40.3, 31.7, 5.0, 0.3)
    y, x = np.mgrid[:64, :81]
    left = 1 - spot.loss * np.clip(spot.radius_px + 0.5 - np.hypot(y - spot.y, x - spot.x), 0, 1)
    plain = np.array([90.0, 140.0, 110.0]) if kind != "grey" else np.array([120.0])
    ideal = np.broadcast_to(plain, (64, 81, len(plain))).squeeze()
    dusty = ideal * (left if kind == "grey" else left[..., None])
    frame: Any = np.rint(dusty * (200 if kind.endswith("16") else 1))
    frame = frame.astype(np.uint16 if kind.endswith("16") else np.uint8)
    if kind == "planes":
        frame = to_planes(frame)
    DustMap((64, 81), (spot,), 9).clean(frame)
    off = np.abs(to_bgr(frame) / (200 if kind.endswith("16") else 1) - ideal)
    # Colour is shared by four pixels, so a spot's rim is not exact in planes.
    assert np.median(off) <= 1
    assert off.max() <= (12 if kind == "planes" else 4)


def test_spots_at_the_edge_and_beyond_do_no_harm() -> None:
    spots = tuple(Spot(x, y, 6, 0.5) for x in (-1, 0, 59.5, 60) for y in (-1, 0, 39.5, 40))
    frame = np.full((40, 60, 3), 100, np.uint8)
    DustMap((40, 60), spots, 9).clean(frame)
    assert frame.min() >= 100


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(FrameMismatch, match="learn the dust"):
        DustMap((40, 60), (), 9).clean(np.zeros((40, 61), np.uint8))


def test_a_map_survives_json_and_nonsense_is_refused() -> None:
    dust = DustMap((40, 60), (Spot(1.5, 2.25, 3.125, 0.2),), 24)
    text = json.dumps(dust.as_json())
    assert DustMap.of_json(json.loads(text)) == dust
    for key, wrong in (
        ("is", "x"),
        ("size", [60]),
        ("size", [60, 0]),
        ("size", [60, True]),
        ("spots", [[1, 2, 3]]),
        ("spots", [[1, 2, -3, 0.2]]),
        ("spots", [[1, 2, 3, 1.0]]),
        ("spots", [[float("nan"), 2, 3, 0.2]]),
        ("spots", [[10**400, 2, 3, 0.2]]),
        ("spots", 7),
        ("frames", -1),
    ):
        with pytest.raises(DustInvalid):
            DustMap.of_json({**json.loads(text), key: wrong})
    with pytest.raises(DustInvalid):
        DustMap.of_json([])


def test_few_frames_and_none_tell_nothing() -> None:
    search = DustSearch()
    assert search.found().spots == ()
    for number in range(7):
        search.look(np.full((60, 80), 100, np.uint8), np.array([[1, 0, 3.0 * number], [0, 1, 0]]))
    assert search.found() == DustMap((60, 80), (), 7)
