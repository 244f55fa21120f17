"""What the fused picture and its depth are worth, against known truth."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from focusd.fusion import Fusion

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
def test_fused_is_no_worse_than_the_oracle(noise):
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
def test_depth_is_sub_step(z):
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
    result = fuse([frames[i] for i in order], order).result()
    late = (result.origin == 6) & np.isfinite(result.depth_um)
    assert late.any()
    np.testing.assert_array_equal(result.depth_um[late], 6.0)


def test_flat_ground_has_no_depth_and_less_noise():
    rng = np.random.default_rng(2)
    frames = [np.clip(np.rint(rng.normal(100, 2, (128, 128))), 0, 255).astype(np.uint8) for _ in range(20)]
    result = fuse(frames, range(20)).result()
    assert np.mean(np.isnan(result.depth_um)) > 0.99
    assert result.image.std() < 0.35 * frames[0].std()


def test_saturated_in_all_frames_stays_white():
    frames = [np.full((90, 90, 3), 255, np.uint8) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[:20, :20] = 40 + number
    result = fuse(frames, range(3)).result()
    assert (result.image[30:, 30:] == 255).all()
    assert np.isnan(result.depth_um[40:, 40:]).all()


def test_dark_16_bit_frames_are_fused_not_blackened():
    z = list(range(FRAMES))
    bright, _, _ = slope(1.0, z, gain=257.0)
    dark = [(frame // 257).astype(np.uint16) for frame in bright]
    as_8_bits = fuse([frame.astype(np.uint8) for frame in dark], z).result().image
    fused = fuse(dark, z).result().image
    assert fused.dtype == np.uint16
    np.testing.assert_array_equal(fused, as_8_bits)


def test_12_bits_stay_within_12_bits():
    z = list(range(FRAMES))
    frames, _, _ = slope(0.0, z, gain=257.0)
    fusion = fuse([frame // 16 for frame in frames], z)
    assert fusion.white == 4095
    assert 3000 < fusion.result().image.max() <= 4095
    assert fuse([frame // 257 for frame in frames], z).white == 255


def test_16_bits_are_kept():
    z = list(range(FRAMES))
    frames, truth, _ = slope(0.0, z, gain=257.0)
    fused = fuse(frames, z).result().image
    assert len(np.unique(fused)) > 2000
    as_8_bits = fuse([np.rint(frame / 257).astype(np.uint8) for frame in frames], z).result().image
    assert psnr(fused, truth, 65535.0) > psnr(as_8_bits, truth / 257) - 0.1


def test_no_halo_round_a_bright_edge_that_leaves_focus():
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
        for number in range(24):
            fusion.add(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), float(number))
            if number in (3, 23):
                sizes.append((fusion.nbytes, tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert sizes[0][0] == sizes[1][0]
    # Less than a tenth of one frame for twenty more.
    assert sizes[1][1] - sizes[0][1] < 0.1 * 256 * 256 * 3


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


def test_sharpness_shows_the_frame_added_last():
    sharp = texture(64, 64, 1).astype(np.uint8)
    fusion = fuse([sharp, cv2.GaussianBlur(sharp, (0, 0), 3)], [0, 1])
    soft = fusion.sharpness().mean()
    fusion.add(sharp, 2.0)
    assert fusion.sharpness().shape == sharp.shape
    assert fusion.sharpness().mean() > 3 * soft


def test_energies_are_carried_between_levels():
    # Fine detail of one frame also decides the coarser bands: at its place each level's energy must rise.
    from focusd.fusion.arrays import Scratch
    from focusd.fusion.pyramid import Grid, decompose
    from focusd.fusion.weights import focus_energies

    grid, scratch = Grid.of(128, 128), Scratch()
    _, bands = decompose(np.full((128, 128), 100, np.float32), grid, scratch)
    bands[0][60:68, 60:68] = 50.0
    down = [
        energy[energy.shape[0] // 2, energy.shape[1] // 2]
        for energy in focus_energies(bands, 1.0, grid, scratch)
    ]
    assert all(energy > 0.5 for energy in down[:3])
    _, bands = decompose(np.full((128, 128), 100, np.float32), grid, scratch)
    bands[2][14:18, 14:18] = 50.0
    up = [
        energy[energy.shape[0] // 2, energy.shape[1] // 2]
        for energy in focus_energies(bands, 1.0, grid, scratch)
    ]
    assert all(energy > 0.5 for energy in up[:3])
