"""Curves through focus: peaks, and how far two are apart, against curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from focusd.focus.curves import interpolated, peaks, shift
from focusd.focus.tiles import Tiles, brightness

AT = np.arange(0.0, 41.0)


def bell(middle: float, width: float = 8.0, top: float = 1.0, floor: float = 0.1) -> np.ndarray:
    return floor + top / (1 + ((AT - middle) / width) ** 2) ** 2


@pytest.mark.parametrize("middle", [15.0, 17.3, 20.5, 24.75])
def test_a_peak_is_found_between_positions(middle: float) -> None:
    assert peaks(AT, bell(middle)[:, None])[0] == pytest.approx(middle, abs=0.03)


@pytest.mark.parametrize(
    "curve", [bell(0.0), bell(40.0), bell(55.0), np.ones_like(AT), bell(20.0, top=0.05), np.zeros_like(AT)]
)
def test_what_does_not_go_through_focus_has_no_peak(curve: np.ndarray) -> None:
    assert np.isnan(peaks(AT, curve[:, None])[0])


@pytest.mark.parametrize("play", [0.0, 0.4, 2.0, 6.3, -3.1])
def test_a_shift_is_found_whatever_light_and_noise_floor(play: float) -> None:
    reference, moved = bell(22.0), 1.7 * bell(22.0 - play, floor=0.3)
    assert shift(AT, reference, moved, round(play)) == pytest.approx(play, abs=0.02)


def test_a_shift_of_curves_without_a_common_part_is_not_known() -> None:
    assert np.isnan(shift(AT, bell(20.0), bell(20.0), 38.0))


def test_a_shift_of_opposite_curves_is_not_known() -> None:
    assert np.isnan(shift(AT, bell(20.0), 2 - bell(20.0), 0.0))


def test_noise_moves_a_shift_by_its_share() -> None:
    rng = np.random.default_rng(3)
    found = [
        shift(AT, bell(22) + 0.005 * rng.standard_normal(41), bell(20) + 0.005 * rng.standard_normal(41), 2.0)
        for _ in range(100)
    ]
    assert np.mean(found) == pytest.approx(2.0, abs=0.02)
    assert 0.005 < np.std(found) < 0.1


def test_interpolation_keeps_samples_and_parabolas() -> None:
    """Keys's kernel is exact for polynomials of second degree."""
    parabola = (AT - 13.2) ** 2 / 7 - 3
    at = np.array([0.0, 0.25, 7.0, 19.9, 39.5, 40.0])
    value, slope = interpolated(parabola, at)
    assert value == pytest.approx((at - 13.2) ** 2 / 7 - 3)
    assert slope == pytest.approx(2 * (at - 13.2) / 7)


def test_detail_counts_where_it_is_and_light_does_not() -> None:
    rng = np.random.default_rng(1)
    frame = np.full((64, 96), 100, np.float32)
    frame[16:32, 32:48] += rng.normal(0, 20, (16, 16)).astype(np.float32)
    tiles = Tiles.of(frame, 16)
    assert tiles.energy.shape == (4, 6)
    assert np.unravel_index(tiles.energy.argmax(), (4, 6)) == (1, 2)
    assert tiles.row[1, 2] == pytest.approx(23.5, abs=1.5)
    assert tiles.col[1, 2] == pytest.approx(39.5, abs=1.5)
    assert Tiles.of(frame * np.float32(1.3), 16).energy == pytest.approx(tiles.energy, rel=1e-4)


def test_detail_has_its_centre_where_the_edge_is() -> None:
    frame = np.full((32, 32), 50, np.float32)
    frame[:, 20:] = 150
    assert Tiles.of(frame, 32).col[0, 0] == pytest.approx(19.5, abs=0.05)


def test_brightness_is_in_levels_of_255_whatever_the_type() -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    assert brightness(grey) == pytest.approx(grey)
    assert brightness(grey.astype(np.uint16) * 257) == pytest.approx(grey)
    assert brightness(np.repeat(grey[..., None], 3, axis=2)) == pytest.approx(grey)
