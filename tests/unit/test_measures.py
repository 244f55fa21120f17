"""The sharpness measures, each against its formula worked out by hand on a few pixels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from focusd.errors import FusionError
from focusd.focus.fourier import frequency_share, frequency_share_by_bands
from focusd.focus.measures import (
    brenner,
    laplacian_energy,
    laplacian_variance,
    local_maxima,
    log_norm,
    log_norm_maxima,
    tenengrad,
)

Measure = Callable[..., np.ndarray]
WINDOWED: tuple[Measure, ...] = (laplacian_variance, laplacian_energy, tenengrad, brenner, log_norm_maxima)
ALL: tuple[Measure, ...] = (*WINDOWED, log_norm, frequency_share, frequency_share_by_bands)
EXTENT = 11
MIDDLE = EXTENT // 2

# One pixel of 9 on black: what each kernel makes of it can be written down.
SPOT = np.zeros((EXTENT, EXTENT), np.uint8)
SPOT[MIDDLE, MIDDLE] = 9
# From column 6 on 10, black before it.
EDGE = np.zeros((EXTENT, EXTENT), np.uint8)
EDGE[:, 6:] = 10


def textured(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Detail of all sizes."""
    rng = np.random.default_rng(seed)
    total = np.full((rows, cols), 128.0)
    for scale in (1, 2, 4, 8, 16):
        coarse = rng.normal(0, 8 + scale, (rows // scale + 2, cols // scale + 2))
        total += cv2.resize(coarse, (cols, rows), interpolation=cv2.INTER_CUBIC)
    return total.clip(0, 255).astype(np.uint8)


def as_grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., np.newaxis], 3, axis=2)


def test_the_laplacian_of_a_spot_has_an_energy_of_twenty_squares() -> None:
    # The response is -4 x 9 at the spot and 9 at each of its four neighbours.
    assert laplacian_energy(SPOT, 3)[MIDDLE, MIDDLE] == pytest.approx((16 + 4) * 81 / 9)
    # One place to the right the window holds the spot, the neighbours above and below it not, those beside it
    # on the right: the spot, its right, upper and lower neighbours.
    assert laplacian_energy(SPOT, 3)[MIDDLE, MIDDLE + 1] == pytest.approx((16 + 3) * 81 / 9)
    assert laplacian_energy(SPOT, 3)[MIDDLE, MIDDLE + 3] == 0


def test_the_laplacian_of_a_spot_has_its_energy_as_variance_where_its_mean_is_zero() -> None:
    variance = laplacian_variance(SPOT, 3)
    assert variance[MIDDLE, MIDDLE] == pytest.approx((16 + 4) * 81 / 9)
    # Sum of the responses -36 + 3 x 9 = -9, so that the mean is -1.
    assert variance[MIDDLE, MIDDLE + 1] == pytest.approx((16 + 3) * 81 / 9 - 1)


def test_the_laplacian_takes_the_border_for_a_mirror() -> None:
    # Second differences along a row: 10 before the edge and -10 behind it, none at the border.
    energy = laplacian_energy(EDGE, 3)
    assert energy[0].tolist() == pytest.approx(energy[MIDDLE].tolist())
    assert energy[0].tolist() == pytest.approx([0, 0, 0, 0, *[100 / 3, 200 / 3, 200 / 3, 100 / 3], 0, 0, 0])


def test_tenengrad_of_an_edge_is_the_square_of_four_times_its_height() -> None:
    # Sobel: 1 + 2 + 1 times the height, at the two columns beside the edge.
    gradient = tenengrad(EDGE, 3)
    assert gradient[MIDDLE].tolist() == pytest.approx(
        [0, 0, 0, 0, *[1600 / 3, 3200 / 3, 3200 / 3, 1600 / 3], 0, 0, 0]
    )


def test_tenengrad_of_a_spot_sums_both_directions() -> None:
    # Across 1, 2, 1 times 9 down each column beside it, the squares of which sum to 2 x 6; down as much.
    assert tenengrad(SPOT, 3)[MIDDLE, MIDDLE] == pytest.approx(2 * 12 * 81 / 9)


def test_brenner_of_an_edge_is_the_square_of_its_height() -> None:
    difference = brenner(EDGE, 3)
    assert difference[MIDDLE].tolist() == pytest.approx(
        [0, 0, 0, 0, *[100 / 3, 200 / 3, 200 / 3, 100 / 3], 0, 0, 0]
    )
    assert np.allclose(brenner(EDGE.T.copy(), 3), difference.T)


def test_brenner_of_a_spot_is_four_squares() -> None:
    assert brenner(SPOT, 3)[MIDDLE, MIDDLE] == pytest.approx(4 * 81 / 9)


def test_the_log_norm_of_a_spot_is_the_laplacian_of_a_gaussian() -> None:
    sigma_px = 1.0
    along = np.exp(-(np.arange(-4, 5) ** 2) / (2 * sigma_px**2))
    along /= along.sum()
    # Laplacian of the kernel at its middle: 4 x (its neighbour less itself).
    expected = 4 * 9 * (along[4] * along[4] - along[4] * along[5])
    assert log_norm(SPOT, sigma_px)[MIDDLE, MIDDLE] == pytest.approx(expected, rel=1e-3)


def test_the_log_norm_is_the_euclidean_norm_over_the_channels() -> None:
    channels = [textured(24, 31, seed) for seed in (1, 2, 3)]
    each = [log_norm(channel, 1.2) for channel in channels]
    together = log_norm(np.dstack(channels), 1.2)
    assert np.allclose(together, np.sqrt(sum(np.square(plane) for plane in each)), atol=1e-4)


def test_only_maxima_are_left() -> None:
    response = np.array([[1, 2, 1, 0], [1, 1, 1, 0], [0, 0, 0, 5]], np.float32)
    assert local_maxima(response).tolist() == [[0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]]


def test_the_maxima_of_the_log_norm_are_averaged() -> None:
    # A spot has one maximum, and around it a lower ring where the sign is the other.
    response = log_norm(SPOT)
    maxima = local_maxima(response)
    assert maxima[MIDDLE, MIDDLE] == response[MIDDLE, MIDDLE]
    assert maxima[MIDDLE - 1 : MIDDLE + 2, MIDDLE - 1 : MIDDLE + 2].sum() == response[MIDDLE, MIDDLE]
    assert log_norm_maxima(SPOT, window_px=3)[MIDDLE, MIDDLE] == pytest.approx(response[MIDDLE, MIDDLE] / 9)


def by_hand(block: np.ndarray) -> float:
    """Reference: the whole transform by its definition, and the count."""
    rows, cols = block.shape
    down = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(rows)) / rows)
    across = np.exp(-2j * np.pi * np.outer(np.arange(cols), np.arange(cols)) / cols)
    amplitude = np.abs(down @ block.astype(float) @ across)
    return float(np.count_nonzero(amplitude > amplitude.max() / 1000) / (rows * cols))


@pytest.mark.parametrize("side", [4, 7, 8])
def test_the_frequency_measure_counts_coefficients_above_a_thousandth(side: int) -> None:
    frame = textured(2 * side + 3, 3 * side + 1, side)
    share = frequency_share(frame, side)
    assert share.shape == (2, 3)
    for row in range(2):
        for col in range(3):
            block = frame[row * side : (row + 1) * side, col * side : (col + 1) * side]
            assert share[row, col] == pytest.approx(by_hand(block))


def test_the_frequency_measure_of_a_plain_block_is_one_coefficient() -> None:
    assert frequency_share(np.full((8, 8), 77, np.uint8), 8).tolist() == [[pytest.approx(1 / 64)]]


def test_the_frequency_measure_of_a_wave_is_three_coefficients() -> None:
    # A mean, and a wave of two turns: its two coefficients stand for plus and minus its frequency.
    wave = np.tile(128 + 100 * np.cos(2 * np.pi * 2 * np.arange(16) / 16), (16, 1))
    share = frequency_share(np.rint(wave * 256).astype(np.uint16), 16)
    assert share[0, 0] == pytest.approx(3 / 256)


def test_the_frequency_measure_of_a_spot_is_all_coefficients() -> None:
    assert frequency_share(SPOT, EXTENT)[0, 0] == 1


def test_the_frequency_measure_of_black_is_nothing() -> None:
    assert not frequency_share(np.zeros((16, 16), np.uint8), 8).any()
    assert not frequency_share_by_bands(np.zeros((16, 16), np.uint8), 8).any()


def test_blocks_in_several_threads_are_those_in_one() -> None:
    frame = textured(60, 90)
    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(frequency_share(frame, 8, 4, each=pool.map), frequency_share(frame, 8, 4))


def ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values.ravel(), kind="stable"), kind="stable")


@pytest.mark.parametrize(("block_px", "off"), [(16, 0.12), (32, 0.06)])
def test_bands_rank_blocks_as_the_transform_does(block_px: int, off: float) -> None:
    # From sharp on the left to blurred on the right, with a camera's noise.
    sharp = textured(192, 384, 5).astype(np.float32)
    blurs = [cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp for sigma in (0, 0.7, 1.5, 3, 6, 12)]
    noisy = np.hstack(blurs) + np.random.default_rng(0).normal(0, 1, (192, 6 * 384))
    frame = noisy.clip(0, 255).astype(np.uint8)
    exact = frequency_share(frame, block_px, block_px // 4)
    about = frequency_share_by_bands(frame, block_px)
    assert about.shape == exact.shape
    assert np.corrcoef(ranks(exact), ranks(about))[0, 1] > 0.9
    assert np.abs(about - exact).mean() < off


@pytest.mark.parametrize("measure", ALL, ids=lambda measure: measure.__name__)
def test_blur_lowers_every_measure(measure: Measure) -> None:
    sharp = textured(96, 96, 3)
    means = [float(measure(cv2.GaussianBlur(sharp, (0, 0), sigma)).mean()) for sigma in (0.6, 1.2, 2.4, 4.8)]
    assert means == sorted(means, reverse=True)
    assert float(measure(sharp).mean()) >= means[0]


@pytest.mark.parametrize("measure", ALL, ids=lambda measure: measure.__name__)
def test_grey_in_colour_and_in_16_bits_measures_the_same(measure: Measure) -> None:
    grey = textured(64, 64, 4)
    plain = measure(grey)
    assert plain.dtype == np.float32
    # Three equal channels have the norm of one times the root of three.
    factor = np.sqrt(3) if measure in (log_norm, log_norm_maxima) else 1
    assert np.allclose(measure(as_grey(grey)), plain * factor, rtol=1e-4, atol=1e-3)
    assert np.allclose(measure(grey.astype(np.uint16) * 257), plain, rtol=1e-4, atol=1e-3)


@settings(deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(8, 24), st.integers(8, 24))),
    st.sampled_from(WINDOWED),
    st.sampled_from([3, 5, 9]),
)
def test_no_measure_is_below_zero_or_changes_its_frame(
    frame: np.ndarray, measure: Measure, window_px: int
) -> None:
    before = frame.copy()
    found = measure(frame, window_px=window_px)
    assert found.shape == frame.shape
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert np.array_equal(frame, before)


@settings(deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40))))
def test_a_share_is_between_nothing_and_all(frame: np.ndarray) -> None:
    for share in (frequency_share(frame, 8, 2), frequency_share_by_bands(frame, 8)):
        assert share.min() >= 0
        assert share.max() <= 1


@pytest.mark.parametrize(
    ("measure", "figures", "named"),
    [
        *[(measure, {"window_px": window}, "window_px") for measure in WINDOWED for window in (1, 4, 257)],
        (log_norm, {"sigma_px": 0.1}, "sigma_px"),
        (log_norm, {"sigma_px": float("nan")}, "sigma_px"),
        (frequency_share, {"block_px": 3}, "block_px"),
        (frequency_share, {"block_px": 33}, "block_px"),
        (frequency_share, {"block_px": 8, "stride_px": 9}, "stride_px"),
        (frequency_share, {"block_px": 8, "stride_px": 0}, "stride_px"),
        (frequency_share_by_bands, {"block_px": 12}, "block_px"),
        (frequency_share_by_bands, {"block_px": 64}, "block_px"),
    ],
)
def test_figures_out_of_range_are_named(measure: Measure, figures: dict[str, Any], named: str) -> None:
    with pytest.raises(FusionError, match=named):
        measure(textured(32, 40), **figures)
