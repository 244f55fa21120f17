"""Hot and dead pixels are found where the picture moved across them, and mended; details of it are not."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest

from focusd.fusion import Fusion
from focusd.pictures.samples import Image, to_bgr, to_planes
from focusd.register.correction import Correction
from focusd.register.dust import Drift, DustInvalid, DustMap, DustSearch, HotPixels
from focusd.register.registration import Ready, Registration
from focusd_sim.score import psnr
from focusd_sim.suite import SuiteStack, stack_named
from focusd_sim.suite_flaws import Flaws

BORDER_PX = 20
NONE = HotPixels()


@lru_cache(maxsize=4)
def scene(name: str, drift_px: float) -> tuple[SuiteStack, tuple[Image, ...], tuple[Any, ...]]:
    """Without a hot pixel; with where its frames lie."""
    stack = stack_named(name, seed=1, noise=2, megapixels=0.2, flaws=Flaws(drift_px=drift_px))
    numbers = range(len(stack.positions_um))
    shifts = (stack.shift_px(number) for number in numbers)
    matrices = tuple(np.array([[1, 0, col], [0, 1, row]], np.float64) for row, col in shifts)
    return stack, tuple(stack.frame(number) for number in numbers), matrices


def hot_in(shape: tuple[int, ...], share: float) -> tuple[Any, Any]:
    """Rows and columns, none at the edge, and what each adds."""
    rng = np.random.default_rng(5)
    count = round(share * shape[0] * shape[1])
    rows, cols = rng.integers(4, shape[0] - 4, count), rng.integers(4, shape[1] - 4, count)
    return (rows, cols), rng.integers(60, 200, count).astype(np.int16)


def heated(frames: tuple[Image, ...], share: float) -> tuple[Image, ...]:
    where, added = hot_in(frames[0].shape, share)
    made = tuple(frame.copy() for frame in frames)
    for frame in made:
        frame[where] = np.minimum(frame[where].astype(np.int16) + added[:, None], 255)
    return made


def learnt(frames: Any, matrices: Any) -> DustMap:
    """What the picture moved across."""
    search, drift = DustSearch(), Drift(frames[0].shape)
    for frame, matrix in zip(frames, matrices, strict=True):
        search.look(frame, matrix)
        drift.take(matrix)
    return search.found().moved(drift)


def fused(stack: SuiteStack, frames: Any, matrices: Any, dust: DustMap) -> float:
    """Luma PSNR of the picture, dB."""
    fusion = Fusion()
    for frame, matrix, position_um in zip(frames, matrices, stack.positions_um, strict=True):
        clean = frame.copy()
        dust.clean(clean)
        size, flags = frame.shape[1::-1], cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        laid = cv2.warpAffine(clean, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        fusion.add(laid, position_um)
    inner = (slice(BORDER_PX, -BORDER_PX),) * 2
    made = to_bgr(fusion.result().image)
    return psnr(np.ascontiguousarray(made[inner]), np.ascontiguousarray(stack.truth[inner]))


def sliding(count: int, drift_px: float) -> list[Any]:
    return [np.array([[1, 0, drift_px * at / (count - 1)], [0, 1, 0]], np.float64) for at in range(count)]


def night(count: int, drift_px: float, sigma_px: float) -> list[Any]:
    """Stars, and a line along the way, over which the camera drifts; with noise."""
    rng = np.random.default_rng(2)
    rows, cols = 120, 160
    stars = np.column_stack([rng.uniform(0, cols, 60), rng.uniform(0, rows, 60), rng.uniform(30, 200, 60)])
    y, x = np.mgrid[:rows, :cols]
    frames = []
    for matrix in sliding(count, drift_px):
        frame = 20 + rng.normal(0, 2, (rows, cols))
        for col, row, light in stars:
            away = (x - col - matrix[0, 2]) ** 2 + (y - row) ** 2
            frame += light * np.exp(-away / (2 * sigma_px**2))
        frame[60, 10:150] += 90
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return frames


def test_hot_pixels_that_the_picture_drifted_across_are_found_and_cost_a_decibel_less() -> None:
    stack, clean, matrices = scene("scene-b", 12)
    frames = heated(clean, 0.0002)
    dust = learnt(frames, matrices)
    rows, cols = hot_in(frames[0].shape, 0.0002)[0]
    there = set(zip(cols.tolist(), rows.tolist(), strict=True))
    assert set(dust.hot.pixels) <= there
    assert len(dust.hot.pixels) >= 0.95 * len(there)
    nothing = DustMap(dust.shape, (), 0)
    better = fused(stack, frames, matrices, dust)
    assert better >= fused(stack, frames, matrices, nothing) + 1.0
    assert better >= fused(stack, clean, matrices, nothing) - 0.1


def test_they_are_found_in_planes_and_in_files_of_jpeg() -> None:
    _, clean, matrices = scene("scene-b", 12)
    frames = heated(clean, 0.0005)
    where, _ = hot_in(frames[0].shape, 0.0005)
    near = np.zeros(frames[0].shape[:2], np.uint8)
    near[where] = 1
    near = cv2.dilate(near, np.ones((3, 3), np.uint8))
    for quality in (100, 95):
        coded = (cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for frame in frames)
        hot = learnt([to_planes(cv2.imdecode(each, cv2.IMREAD_COLOR)) for each in coded], matrices).hot
        assert all(near[y, x] for x, y in hot.pixels)
        assert len(set(zip(*where[::-1], strict=True)) & set(hot.pixels)) >= 0.8 * len(where[0])


@pytest.mark.parametrize(
    ("name", "drift_px"), [("general", 12.0), ("general", 5.5), ("flat", 12.0), ("bristles", 5.5)]
)
def test_scenes_without_any_have_none(name: str, drift_px: float) -> None:
    _, frames, matrices = scene(name, drift_px)
    assert learnt(frames, matrices).hot == NONE
    assert learnt([to_planes(frame) for frame in frames], matrices).hot == NONE


def test_without_drift_none_is_found_and_frames_are_left_alone() -> None:
    _, clean, matrices = scene("scene-b", 0)
    frames = heated(clean, 0.0005)
    dust = learnt(frames, matrices)
    assert dust.hot == NONE
    frame = frames[0].copy()
    dust.clean(frame)
    assert np.array_equal(frame, frames[0])


@pytest.mark.parametrize("sigma_px", [0.4, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("drift_px", [0.0, 5.0, 5.5, 12.0])
def test_stars_move_with_the_picture_and_are_left_alone(sigma_px: float, drift_px: float) -> None:
    assert learnt(night(20, drift_px, sigma_px), sliding(20, drift_px)).hot == NONE


def test_a_stack_laid_a_second_time_is_laid_without_them() -> None:
    stack, clean, _ = scene("scene-b", 12)
    first: Registration[int] = Registration(Correction(align="translation", dust=True))
    for number, frame in enumerate(heated(clean, 0.0002)):
        first.take(number, frame, stack.positions_um[number], number=number, name=str(number))
    dust = first.found_dust()
    assert dust is not None and dust.spots == () and not dust.is_empty
    again = first.again(dust)
    (ready,) = again.take(0, heated(clean[:1], 0.0002)[0], stack.positions_um[0], number=0, name="0")
    assert isinstance(ready, Ready)
    off = cv2.absdiff(to_bgr(ready.frame), clean[0]).max(axis=2)
    assert off[hot_in(off.shape, 0.0002)[0]].mean() < 15
    assert np.count_nonzero(off) <= len(dust.hot.pixels)
    assert again.as_json()["cleaned"] == 1


def test_a_few_places_are_too_few_to_tell() -> None:
    # A knock half way: a star may lie where another lay.
    frames = [np.full((60, 80), 20, np.uint8) for _ in range(20)]
    for frame in frames:
        frame[30, 40] = 200
    matrices = [np.array([[1, 0, 9.0 * (number >= 2)], [0, 1, 0]]) for number in range(20)]
    assert learnt(frames, matrices).hot == NONE


@pytest.mark.parametrize("kind", ["grey", "BGR", "planes", "grey 16", "BGR 12"])
def test_hot_and_dead_pixels_of_every_kind_of_frame_are_mended(kind: str) -> None:
    rng = np.random.default_rng(1)
    scale = {"16": 256, "12": 16}.get(kind[-2:], 1)
    channels = 3 if kind[0] in "Bp" else 1
    matrices, frames, ideal = sliding(16, 12), [], []
    for matrix in matrices:
        light = np.sin((np.arange(90) - matrix[0, 2]) / 9) * 30 + 120
        plain = np.broadcast_to(light[None, :, None], (70, 90, channels)) + rng.normal(0, 1, (70, 90, 1))
        spoilt = plain.copy()
        spoilt[20, 31], spoilt[41, 50] = 250, 5
        # As a camera fills in colour around one hot sample.
        spoilt[54:57, 64:67] += 50
        spoilt[55, 65] += 50
        for kept, values in ((ideal, plain), (frames, spoilt)):
            frame: Any = np.rint(values.squeeze() * scale).astype(np.uint8 if scale == 1 else np.uint16)
            kept.append(to_planes(frame) if kind == "planes" else frame)
    dust = learnt(frames, matrices)
    blob = {(x, y) for y in (54, 55, 56) for x in (64, 65, 66)}
    assert set(dust.hot.pixels) == {(31, 20), (50, 41)} | blob
    for frame, want in zip(frames, ideal, strict=True):
        dust.clean(frame)
        off = np.abs(to_bgr(frame).astype(int) - to_bgr(want))
        assert off.max() <= 12 * scale


def test_a_dusty_sensor_has_its_shadows_taken_out_once() -> None:
    flaws = Flaws(drift_px=12, dust_spots=30)
    stack = stack_named("scene-b", seed=1, noise=2, megapixels=0.2, flaws=flaws)
    matrices = scene("scene-b", 12)[2]
    dust = learnt([stack.frame(number) for number in range(len(stack.positions_um))], matrices)
    assert dust.spots
    for x, y in dust.hot.pixels:
        assert all(np.hypot(spot.x - x, spot.y - y) > spot.radius_px for spot in dust.spots)


def test_what_is_kept_does_not_grow_and_pixels_are_found_in_a_thousand_frames() -> None:
    search, drift = DustSearch(), Drift((40, 60))
    rng = np.random.default_rng(0)
    sizes = set()
    for matrix in sliding(1000, 30):
        frame = rng.normal(100, 2, (40, 60)).astype(np.uint8)
        frame[11, 17] = 220
        search.look(frame, matrix)
        drift.take(matrix)
        sizes.add(search.nbytes)
    assert search.found().moved(drift).hot.pixels == ((17, 11),)
    assert len(sizes) == 1


def test_too_many_are_something_else() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.normal(100, 2, (60, 80)).astype(np.uint8) for _ in range(12)]
    for frame in frames:
        frame[5:-5:8, 5:-5:8] = 220
    assert learnt(frames, sliding(12, 12)).hot == NONE


def test_pixels_survive_json_and_nonsense_is_refused() -> None:
    dust = DustMap((41, 60), (), 24, HotPixels(((59, 40), (0, 0)), ((29, 20),)))
    assert not dust.is_empty
    assert DustMap((41, 60), (), 24).is_empty
    text = json.dumps(dust.as_json())
    assert DustMap.of_json(json.loads(text)) == dust
    for wrong in (
        None,
        [],
        {},
        {"pixels": []},
        {"pixels": 7, "colours": []},
        {"pixels": [[60, 0]], "colours": []},
        {"pixels": [[0, 41]], "colours": []},
        {"pixels": [[0, -1]], "colours": []},
        {"pixels": [[0.0, 1]], "colours": []},
        {"pixels": [[True, 1]], "colours": []},
        {"pixels": [[1]], "colours": []},
        {"pixels": ["ab"], "colours": []},
        {"pixels": [[10**400, 1]], "colours": []},
        {"pixels": [], "colours": [[30, 0]]},
        {"pixels": [[1, 1]] * 20_001, "colours": []},
    ):
        with pytest.raises(DustInvalid):
            DustMap.of_json({**json.loads(text), "hot": wrong})
