"""What the fused picture and its depth are worth, against known truth."""

from __future__ import annotations

import gc
import tracemalloc

import cv2
import numpy as np
import pytest

from focusd.fusion import Fusion
from focusd.fusion.relief import Reason
from focusd.fusion.sums import interleaved
from focusd.outputs.prints import write_prints
from focusd.pictures.images import read_image

ROWS, COLS, FRAMES = 160, 240, 12


def texture(rows, cols, seed):
    """Grey detail from a pixel up, 8-bit levels."""
    rng = np.random.default_rng(seed)
    total = np.zeros((rows, cols), np.float32)
    for octave in range(5):
        rough = rng.normal(0, 1, (rows >> octave, cols >> octave)).astype(np.float32)
        total += cv2.resize(rough, (cols, rows), interpolation=cv2.INTER_CUBIC) * 0.8**octave
    return np.clip(120 + 28 * total, 5, 250)


def slope(noise, positions, seed=5, gain=1.0):
    """Textured plane from the first position (left) to the last: frames, true image and true depth."""
    truth = texture(ROWS, COLS, seed)
    depth = np.tile(np.linspace(positions[0], positions[-1], COLS, dtype=np.float32), (ROWS, 1))
    sizes = np.arange(0, 12.5, 0.5)
    blurs = [truth if s == 0 else cv2.GaussianBlur(truth, (0, 0), s) for s in sizes]
    rng = np.random.default_rng(seed + 1)
    frames = []
    for position in positions:
        sigma = np.abs(depth - position) * 1.0
        index = np.clip(sigma / 0.5, 0, len(sizes) - 1.001)
        whole = index.astype(int)
        stacked = np.stack(blurs)
        low = np.take_along_axis(stacked, whole[None], axis=0)[0]
        high = np.take_along_axis(stacked, whole[None] + 1, axis=0)[0]
        frame = low + (high - low) * (index - whole) + rng.normal(0, noise, truth.shape)
        frames.append(np.clip(np.rint(frame * gain), 0, 255 if gain == 1.0 else 65535))
    kind = np.uint8 if gain == 1.0 else np.uint16
    return [frame.astype(kind) for frame in frames], truth * gain, depth


def fuse(frames, positions, **options):
    fusion = Fusion(**options)
    for frame, position in zip(frames, positions, strict=True):
        fusion.add(frame, float(position))
    return fusion


def psnr(one, other, peak=255.0):
    return 10 * np.log10(peak**2 / np.mean((one.astype(np.float64) - other) ** 2))


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_fused_is_no_worse_than_the_oracle(kernel, noise):
    z = list(range(FRAMES))
    frames, truth, depth = slope(noise, z)
    nearest = np.rint(depth).astype(int)
    oracle = np.take_along_axis(np.stack(frames), nearest[None], axis=0)[0]
    fused = fuse(frames, z).result().image
    assert psnr(fused, truth) >= psnr(oracle, truth) - 1.0
    assert psnr(fused, truth) >= max(psnr(frame, truth) for frame in frames) + 3


@pytest.mark.parametrize(
    "z",
    [
        [float(i) for i in range(FRAMES)],
        [100.0 - i for i in range(FRAMES)],
        [0, 0.7, 2, 3.1, 3.9, 5, 6.2, 7, 8.1, 8.8, 10, 11],
    ],
)
def test_depth_is_sub_step(kernel, z):
    frames, _, depth = slope(2.0, z)
    result = fuse(frames, z).result()
    confident = result.confidence >= np.median(result.confidence)
    error = np.abs(result.depth_um - depth)[confident]
    assert np.median(error) <= 0.15
    assert np.mean(error > 1) <= 0.01
    # Whole-step depth would be off by a quarter of a step in the median.
    whole = np.abs(np.sort(z)[result.origin] - depth)[confident]
    assert np.median(error) < 0.6 * np.median(whole)


def test_depth_is_in_the_positions_unit():
    z = [20.0 * i + 1000 for i in range(FRAMES)]
    frames, _, _ = slope(2.0, list(range(FRAMES)))
    one, twenty = fuse(frames, range(FRAMES)).result(), fuse(frames, z).result()
    np.testing.assert_allclose(twenty.depth_um, one.depth_um * 20 + 1000, rtol=1e-4)


def test_a_late_frame_gives_whole_step_depth():
    z = list(range(FRAMES))
    frames, _, _ = slope(2.0, z)
    order = [i for i in z if i != 6] + [6]
    # On the grid: at full size a pixel between two of the grid may take from both.
    relief = fuse([frames[i] for i in order], order).relief()
    late = (relief.origin == 6) & (relief.reason <= Reason.UNSURE)
    assert np.isin(relief.reason[late], (Reason.WHOLE_STEP, Reason.UNSURE)).all()
    assert np.mean(relief.reason[late] == Reason.WHOLE_STEP) > 0.5
    np.testing.assert_array_equal(relief.depth_um[late], 6.0)


def test_flat_ground_has_no_depth_and_less_noise(kernel):
    rng = np.random.default_rng(2)
    frames = [np.clip(np.rint(rng.normal(100, 2, (128, 128))), 0, 255).astype(np.uint8) for _ in range(20)]
    result = fuse(frames, range(20)).result()
    assert np.mean(np.isnan(result.depth_um)) > 0.99
    assert result.image.std() < 0.35 * frames[0].std()


def test_saturated_in_all_frames_stays_white(kernel):
    frames = [np.full((90, 90, 3), 255, np.uint8) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[:20, :20] = 40 + number
    result = fuse(frames, range(3)).result()
    assert (result.image[30:, 30:] == 255).all()
    assert np.isnan(result.depth_um[40:, 40:]).all()


def test_dark_16_bit_frames_are_fused_not_blackened(kernel, tmp_path):
    z = list(range(FRAMES))
    bright, _, _ = slope(1.0, z, gain=257.0)
    dark = [(frame // 257).astype(np.uint16) for frame in bright]
    as_8_bits = fuse([frame.astype(np.uint8) for frame in dark], z).result().image
    fusion = fuse(dark, z)
    fused = fusion.result().image
    assert fused.dtype == np.uint16
    # Its blurred planes have steps of an eighth of a level, for there is room for frames eight times as
    # bright; those of 8-bit frames have a 256th. So what lies near a half may round to the other side.
    apart = np.abs(fused.astype(int) - as_8_bits)
    assert apart.max() <= 1
    assert np.mean(apart > 0) < 0.005
    write_prints(tmp_path, fusion.image(), fusion.relief(), white=fusion.white)
    np.testing.assert_array_equal(read_image(tmp_path / "final.tif"), fused)
    shown = read_image(tmp_path / "final.jpg").astype(int)
    assert np.abs(shown - as_8_bits).mean() < 3
    assert shown.max() > 200


def test_12_bits_stay_within_12_bits(kernel):
    z = list(range(FRAMES))
    frames, _, _ = slope(0.0, z, gain=257.0)
    fusion = fuse([frame // 16 for frame in frames], z)
    assert fusion.white == 4095
    assert 3000 < fusion.result().image.max() <= 4095
    assert fuse([frame // 257 for frame in frames], z).white == 255


def test_16_bits_are_kept(kernel):
    z = list(range(FRAMES))
    frames, truth, _ = slope(0.0, z, gain=257.0)
    fused = fuse(frames, z).result().image
    assert len(np.unique(fused)) > 2000
    as_8_bits = fuse([np.rint(frame / 257).astype(np.uint8) for frame in frames], z).result().image
    assert psnr(fused, truth, 65535.0) > psnr(as_8_bits, truth / 257) - 0.1


def test_no_halo_round_a_bright_edge_that_leaves_focus(kernel):
    # A white bar over black, sharp in one frame and wide open in the others: the bar must not glow, nor
    # darken what is beside it below what any frame showed.
    bar = np.full((128, 128), 20, np.uint8)
    bar[:, 56:72] = 230
    frames = [bar, cv2.GaussianBlur(bar, (0, 0), 4), cv2.GaussianBlur(bar, (0, 0), 9)]
    fused = fuse(frames, range(3)).result().image.astype(int)
    low, high = np.min(frames, axis=0).astype(int), np.max(frames, axis=0).astype(int)
    window = np.ones((5, 5))
    low = cv2.erode(low.astype(np.float32), window) - 4
    high = cv2.dilate(high.astype(np.float32), window) + 4
    assert np.mean((fused < low) | (fused > high)) < 0.003


@pytest.mark.parametrize("method", ["pyramid", "laplacian", "average"])
def test_memory_does_not_grow_with_frames(method):
    rng = np.random.default_rng(0)
    fusion = Fusion(method=method)
    sizes = []
    tracemalloc.start()
    try:
        # Tables and buffers of ctypes are made with the first frames.
        for number in range(44):
            fusion.add(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), float(number))
            if number in (3, 23, 43):
                gc.collect()
                sizes.append((fusion.nbytes, tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert len({nbytes for nbytes, _ in sizes}) == 1
    # Less than a tenth of one frame for twenty more.
    assert sizes[2][1] - sizes[1][1] < 0.1 * 256 * 256 * 3


@pytest.mark.parametrize("method", ["pyramid", "laplacian", "average"])
@pytest.mark.parametrize("side_px", [120, 60, 17])
def test_preview_is_small_and_looks_like_the_image(method, side_px):
    z = list(range(FRAMES))
    frames, _, _ = slope(1.0, z)
    fusion = fuse(frames, z, method=method)
    small, full = fusion.preview(side_px), fusion.result().image
    assert side_px / 2 < max(small.shape) <= side_px
    expected = cv2.resize(full, small.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred, wanted = (cv2.GaussianBlur(one, (0, 0), 1.5) for one in (small.astype(np.float32), expected))
    assert np.mean(np.abs(blurred - wanted)) < 3
    assert np.std(wanted) > 3


@pytest.mark.parametrize("method", ["pyramid", "laplacian", "average"])
def test_preview_as_large_as_the_image_is_the_image(method):
    frames, _, _ = slope(1.0, range(4))
    fusion = fuse(frames, range(4), method=method)
    np.testing.assert_array_equal(fusion.preview(5000), fusion.result().image)


@pytest.mark.parametrize(("truth", "background"), [(0.7, 100), (2.0, 100), (4.0, 60)])
def test_noise_is_measured_beside_detail(truth, background):
    rng = np.random.default_rng(9)
    frame = np.full((256, 256), background, np.float32)
    # No lens lets white detail through.
    frame[:, 128:] = cv2.GaussianBlur(texture(256, 128, 4), (0, 0), 0.8)
    frame += rng.normal(0, truth, frame.shape)
    fusion = fuse([np.clip(np.rint(frame), 0, 255).astype(np.uint8)], [0])
    assert fusion.sigma == pytest.approx(truth, rel=0.35)


@pytest.mark.parametrize(("method", "side_px"), [("pyramid", 32), ("laplacian", 64), ("average", 64)])
def test_sharpness_shows_the_frame_added_last(method, side_px):
    sharp = texture(64, 64, 1).astype(np.uint8)
    fusion = fuse([sharp, cv2.GaussianBlur(sharp, (0, 0), 3)], [0, 1], method=method)
    soft = fusion.sharpness().mean()
    fusion.add(sharp, 2.0)
    # The pyramid keeps it at half the image's size.
    assert fusion.sharpness().shape == (side_px, side_px)
    assert fusion.sharpness().dtype == np.uint16
    assert fusion.sharpness().mean() > 3 * soft


def weight_at_the_middle(spot):
    """How many times as much a frame weighs at its middle as in a corner, for each level but the base."""
    frame = np.full((128, 128), 100, np.uint8)
    frame[56:72, 56:72] = spot
    planes = fuse([frame], [0], sigma=1.0).state().planes
    ratios = []
    for level in range(5):
        weight = interleaved(planes[f"weight-{level}"])
        middle, margin = weight.shape[0] // 2, weight.shape[0] // 8
        ratios.append(float(weight[middle, middle] / weight[margin, margin]))
    return ratios


def test_energies_are_carried_between_levels(kernel):
    # Fine detail of one frame also decides the coarser bands. Stripes a pixel wide are gone from all of them.
    stripes = np.tile(np.array([50, 150], np.uint8), (16, 8))
    assert min(weight_at_the_middle(stripes)[:3]) > 100
    # And a soft blob, which has no fine detail, decides the finer ones.
    spread = np.exp(-(np.linspace(-2.5, 2.5, 16) ** 2))
    blob = (100 + 60 * np.outer(spread, spread)).astype(np.uint8)
    assert min(weight_at_the_middle(blob)[:3]) > 100
    assert weight_at_the_middle(np.full((16, 16), 100, np.uint8)) == [1.0] * 5
