"""How pictures are scored."""

import math

import numpy as np
import pytest

from focusd.errors import FrameMismatch
from focusd_sim.score import colour_psnr, nearest_known, oracle, psnr, ssim


def noise_image(seed=0, shape=(64, 80, 3)):
    return np.random.default_rng(seed).integers(40, 216, shape).astype(np.uint8)


def ssim_by_hand(x, y):
    """Wang et al. 2004, window by window."""
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = []
    for r in range(x.shape[0] - 10):
        for c in range(x.shape[1] - 10):
            a, b = x[r : r + 11, c : c + 11].astype(float), y[r : r + 11, c : c + 11].astype(float)
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            top = (2 * ma * mb + c1) * (2 * cov + c2)
            scores.append(top / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(scores)


def test_psnr_of_a_known_error():
    a = np.full((20, 30), 100, np.uint8)
    assert psnr(a, a + 5) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(a, a) == math.inf
    wide = np.full((20, 30), 1000, np.uint16)
    assert psnr(wide, wide + 5) == pytest.approx(20 * math.log10(65535 / 5))


def test_psnr_weighs_channels_as_luma():
    a = np.full((20, 30, 3), 100, np.uint8)
    green, blue = a.copy(), a.copy()
    green[..., 1] += 10
    blue[..., 0] += 10
    assert psnr(a, green) == pytest.approx(20 * math.log10(255 / 5.87), abs=1e-3)
    assert psnr(a, blue) == pytest.approx(20 * math.log10(255 / 1.14), abs=1e-3)
    assert colour_psnr(a, green) == pytest.approx(colour_psnr(a, blue))
    assert colour_psnr(a, green) == pytest.approx(10 * math.log10(255**2 / (100 / 3)))


def test_ssim_is_the_papers():
    a = noise_image(0, (16, 18))
    b = np.clip(a + np.random.default_rng(1).normal(0, 25, a.shape), 0, 255).astype(np.uint8)
    assert ssim(a, b) == pytest.approx(ssim_by_hand(a, b), abs=1e-4)
    assert ssim(a, a) == pytest.approx(1)


def test_ssim_falls_with_structure_not_with_brightness():
    a = noise_image()
    brighter = (a + 20).astype(np.uint8)
    noisy = np.clip(a + np.random.default_rng(3).normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    assert ssim(a, brighter) > 0.95 > ssim(a, noisy)


@pytest.mark.parametrize("score", [psnr, colour_psnr, ssim])
def test_unlike_pictures_are_refused(score):
    with pytest.raises(FrameMismatch, match="one size and type"):
        score(noise_image(), noise_image()[:-1])
    with pytest.raises(FrameMismatch, match="one size and type"):
        score(noise_image(), noise_image().astype(np.uint16))


def test_ssim_refuses_less_than_a_window():
    with pytest.raises(FrameMismatch, match="11 x 11"):
        ssim(noise_image(0, (10, 30)), noise_image(1, (10, 30)))


def test_oracle_takes_each_pixel_from_the_nearest_focus():
    heights = np.array([[-30.0, -11.0, -9.0, 9.0, 11.0, 500.0, np.nan]], np.float32)
    asked = []

    def render(index):
        asked.append(index)
        return np.full((1, 7, 3), 10 * (index + 1), np.uint8)

    # In no particular order: frames 0, 1, 2 lie at 20, -20, 0 um.
    picture = oracle(render, heights, [20.0, -20.0, 0.0])
    assert picture[0, :, 0].tolist() == [20, 20, 30, 30, 10, 10, 10]
    assert sorted(asked) == [0, 1, 2]


def test_oracle_refuses_what_it_cannot_do():
    heights = np.zeros((4, 4), np.float32)
    with pytest.raises(FrameMismatch, match="0 positions"):
        oracle(lambda _: noise_image(), heights, [])
    with pytest.raises(FrameMismatch, match="0 known heights"):
        oracle(lambda _: noise_image(), heights * np.nan, [0.0])
    with pytest.raises(FrameMismatch, match="80 x 64"):
        oracle(lambda _: noise_image(), heights, [0.0])


def test_nearest_known_fills_only_holes():
    heights = np.array([[1.0, np.nan, np.nan, np.nan, 5.0]], np.float32)
    filled = nearest_known(heights)
    assert filled[0, [0, 1, 3, 4]].tolist() == [1, 1, 5, 5]
    assert np.isnan(heights[0, 1])
