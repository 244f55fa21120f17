"""What the frames, or the truth, say of a picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from focusd.compare.fidelity import fidelity
from focusd.compare.metrics import Judge, luma_of
from focusd.errors import FrameMismatch
from focusd.pictures.samples import to_planes

TOP = 0.9994 / (1 + math.exp(-15 * 0.5)) * 0.9879 / (1 + math.exp(-22 * 0.2))
"""What the formula gives an edge that is kept as it is."""


def textured(rows=96, cols=150, seed=1, contrast=60):
    noise = np.random.default_rng(seed).normal(0, 1, (rows, cols)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return np.clip(128 + contrast * smooth / smooth.std(), 0, 255).astype(np.uint8)


def judged(picture, frames, **how):
    judge = Judge([picture], **how)
    for frame in frames:
        judge.add(frame)
    return judge.scores()[0]


def sobel(image):
    wide = cv2.copyMakeBorder(image.astype(np.float64), 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
    across = wide[:, 2:] - wide[:, :-2]
    down = wide[2:] - wide[:-2]
    x = across[:-2] + 2 * across[1:-1] + across[2:]
    y = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return x, y


def by_the_paper(picture, frames):
    """Q_AB/F over all frames as Xydeas and Petrovic write it: arctangents, whole planes, 64-bit floats."""
    fx, fy = sobel(picture)
    strength_f, angle_f = np.hypot(fx, fy), np.arctan(fy / np.where(fx == 0, 1e-12, fx))
    found = weight = 0.0
    for frame in frames:
        ax, ay = sobel(frame)
        strength, angle = np.hypot(ax, ay), np.arctan(ay / np.where(ax == 0, 1e-12, ax))
        more, less = np.maximum(strength, strength_f), np.minimum(strength, strength_f)
        g = less / np.where(more == 0, 1, more)
        a = np.abs(np.abs(angle - angle_f) - np.pi / 2) / (np.pi / 2)
        kept = 0.9994 / (1 + np.exp(-15 * (g - 0.5))) * 0.9879 / (1 + np.exp(-22 * (a - 0.8)))
        found += (kept * strength).sum()
        weight += strength.sum()
    return found / weight


def test_a_picture_judged_by_itself_keeps_every_edge_and_all_sharpness_and_leaves_no_range():
    image = textured()
    scores = judged(image, [image])
    assert scores.edges == pytest.approx(TOP, abs=1e-4)
    assert scores.recovered == pytest.approx(1) and scores.recovered_least == pytest.approx(1)
    assert scores.overshoot == 0


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(5, 140), st.integers(5, 80)),
    seed=st.integers(0, 1000),
    count=st.integers(1, 3),
)
def test_edges_kept_are_those_of_the_paper_whatever_the_size(shape, seed, count):
    rng = np.random.default_rng(seed)
    picture, *frames = (rng.integers(0, 256, shape, np.uint8) for _ in range(count + 1))
    assert judged(picture, frames).edges == pytest.approx(by_the_paper(picture, frames), abs=2e-4)


def test_a_blurred_picture_keeps_fewer_edges_and_less_sharpness():
    sharp = textured()
    soft, softer = (cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (1.0, 3.0))
    one, two, three = (judged(picture, [sharp, softer]) for picture in (sharp, soft, softer))
    assert one.edges > two.edges > three.edges
    assert one.recovered > two.recovered > three.recovered


def test_sharpness_is_that_of_the_sharpest_frame_tile_by_tile():
    sharp = textured(128, 128)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2.0)
    left, right = sharp.copy(), sharp.copy()
    left[:, 64:], right[:, :64] = soft[:, 64:], soft[:, :64]
    scores = judged(sharp, [left, right])
    assert scores.tiles.shape == (2, 2)
    # Tiles have a seam at their inner edge, in the frames alone.
    assert scores.tiles == pytest.approx(1, abs=0.05)


def test_noise_is_no_detail_but_texture_of_its_strength_is():
    rng = np.random.default_rng(3)
    noisy = (np.full((128, 192), 90.0) + rng.normal(0, 4, (128, 192))).astype(np.uint8)
    assert np.isnan(judged(noisy, [noisy]).tiles).all()
    noisy[:64, :64] = textured(64, 64, contrast=20)
    assert np.isnan(judged(noisy, [noisy]).tiles).sum() == 5


def test_tiles_without_detail_are_not_counted():
    image = np.full((128, 192), 90, np.uint8)
    image[:, :64] = textured(128, 64)
    tiles = judged(image, [image]).tiles
    # The seam makes an edge in the second column.
    assert not np.isnan(tiles[:, 0]).any() and np.isnan(tiles[:, 2]).all()


def test_overshoot_counts_pixels_that_no_frame_comes_near():
    image = np.full((40, 50), 100, np.uint8)
    picture = image.copy()
    picture[10, 10], picture[20, 20], picture[30, 30] = 104, 105, 95
    assert judged(picture, [image]).overshoot == pytest.approx(2 / image.size)
    near = image.copy()
    near[22, 22] = 105
    assert judged(picture, [image, near]).overshoot == pytest.approx(1 / image.size)


def test_sixteen_bits_are_judged_as_eight_of_the_same_picture():
    sharp, soft = textured(), cv2.GaussianBlur(textured(), (0, 0), 1.5)
    small = judged(soft, [sharp, soft])
    large = judged(
        soft.astype(np.uint16) * 16, [each.astype(np.uint16) * 16 for each in (sharp, soft)], white=4080
    )
    assert (large.edges, large.recovered, large.overshoot) == pytest.approx(
        (small.edges, small.recovered, small.overshoot), rel=1e-4
    )


def test_colour_is_judged_by_its_luma_and_planes_likewise():
    colour = cv2.merge([textured(seed=seed) for seed in (1, 2, 3)])
    planes = to_planes(colour)
    assert judged(colour, [colour]).edges == pytest.approx(judged(planes, [planes]).edges, abs=1e-6)
    assert judged(luma_of(colour), [planes]).edges == pytest.approx(TOP, abs=1e-4)


def test_a_margin_is_not_judged():
    image = textured()
    spoiled = image.copy()
    spoiled[:7], spoiled[:, -7:] = 255, 0
    scores = judged(spoiled, [image], margin_px=8)
    assert scores.edges == pytest.approx(TOP, abs=1e-4) and scores.overshoot == 0


def test_pictures_are_judged_together_as_each_by_itself():
    frames = [textured(seed=seed) for seed in (1, 2)]
    pictures = [frames[0], cv2.addWeighted(*[frames[0], 0.5], *[frames[1], 0.5], 0)]
    judge = Judge(pictures)
    for frame in frames:
        judge.add(frame)
    for together, picture in zip(judge.scores(), pictures, strict=True):
        alone = judged(picture, frames)
        assert together.edges == pytest.approx(alone.edges, abs=1e-8)
        assert together.overshoot == alone.overshoot
        assert together.tiles == pytest.approx(alone.tiles, nan_ok=True)


def test_sizes_that_do_not_go_together_are_refused():
    with pytest.raises(FrameMismatch, match="beside pictures of"):
        Judge([textured()]).add(textured(80, 80))
    with pytest.raises(FrameMismatch, match="beside pictures of"):
        Judge([textured()]).add(textured().astype(np.uint16))
    with pytest.raises(FrameMismatch, match="all must be alike"):
        Judge([textured(), textured(80, 80)])
    with pytest.raises(FrameMismatch, match="margins of 50 px"):
        Judge([textured()], margin_px=50)
    with pytest.raises(FrameMismatch, match="add one first"):
        Judge([textured()]).scores()


def plain_ssim(x, y):
    """SSIM of Wang et al., 11x11 Gaussian of 1.5 px, window by window."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (each[top : top + 11, left : left + 11].astype(float) for each in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            both = (window * (a - mean_a) * (b - mean_b)).sum()
            top_part = (2 * mean_a * mean_b + c1) * (2 * both + c2)
            found.append(top_part / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    return np.mean(found)


@settings(max_examples=15, deadline=None)
@given(pair=arrays.arrays(np.uint8, (2, 14, 19)))
def test_psnr_and_ssim_are_those_of_their_formulas(pair):
    found = fidelity(pair[0], pair[1])
    squares = ((pair[0].astype(float) - pair[1]) ** 2).mean()
    assert found.psnr_db == pytest.approx(math.inf if squares == 0 else 10 * math.log10(255**2 / squares))
    assert found.ssim == pytest.approx(plain_ssim(*pair), abs=1e-3)


def test_ssim_has_no_seams_between_its_strips():
    truth = textured(300, 60)
    other = cv2.GaussianBlur(truth, (0, 0), 1.0)
    assert fidelity(other, truth).ssim == pytest.approx(plain_ssim(other, truth), abs=1e-4)


def test_the_truth_itself_is_as_near_as_can_be():
    truth = cv2.merge([textured(seed=seed) for seed in (1, 2, 3)])
    found = fidelity(truth, truth)
    assert (found.psnr_db, found.colour_psnr_db) == (math.inf, math.inf)
    assert found.ssim == pytest.approx(1)


def test_colour_alone_shows_in_the_colour_figure():
    truth = np.full((20, 20, 3), 100, np.uint8)
    # Red and green against each other, the luma kept: 0.299 x 59 = 0.587 x 30.
    shifted = truth + np.array([0, -30 + 256, 59], np.uint16).astype(np.uint8)
    found = fidelity(shifted, truth)
    assert found.psnr_db > 45 and found.colour_psnr_db < 20


def test_a_truth_of_another_size_is_refused():
    with pytest.raises(FrameMismatch, match="the truth is 50 x 30 px"):
        fidelity(np.zeros((20, 20), np.uint8), np.zeros((30, 50), np.uint8))
    with pytest.raises(FrameMismatch, match="11 px a side"):
        fidelity(np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), margin_px=6)
