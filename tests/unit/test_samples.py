"""8 and 16 bits, BGR and planes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_8_bits, to_16_bits, to_bgr, to_planes, white_of


def smooth(rows, cols, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (rows, cols, 3)).astype(np.float32)
    return np.rint(np.clip(3 * cv2.GaussianBlur(noise, (0, 0), 3) - 255, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize(
    ("brightest", "white"), [(0, 255), (200, 255), (255, 255), (256, 511), (4095, 4095), (65535, 65535)]
)
def test_white_is_the_next_full_count_of_bits(brightest, white):
    assert white_of(np.array([[3, brightest]], np.uint16)) == max(white, 255)
    assert white_of(np.array([[3]], np.uint8)) == 255


def test_8_bits_kept_in_16_are_not_blackened():
    values = np.arange(201, dtype=np.uint16).reshape(1, -1)
    np.testing.assert_array_equal(to_8_bits(values), values)
    # A shared white holds the whole stack together, whatever one frame holds.
    assert to_8_bits(values, 4095).max() == 12


def test_strips_do_not_show():
    values = np.random.default_rng(0).integers(0, 65536, (300, 7)).astype(np.uint16)
    np.testing.assert_array_equal(to_8_bits(values), np.rint(values / 257).astype(np.uint8))


def test_16_bits_span_their_range_and_come_back():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wide = to_16_bits(values)
    assert wide.dtype == np.uint16 and wide[0, 1] == 257 and wide[15, 15] == 65535
    np.testing.assert_array_equal(to_8_bits(wide), values)
    assert to_16_bits(wide) is wide and to_8_bits(values) is values


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 1), (7, 9), (128, 64), (129, 65), (255, 30), (256, 31), (513, 40)]
)
def test_planes_there_and_back(size):
    image = smooth(*size)
    planes = to_planes(image)
    assert planes.shape == size
    np.testing.assert_array_equal(planes.luma, cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    assert np.abs(to_bgr(planes).astype(int) - image).mean() < 3


@pytest.mark.parametrize("rows", [128, 129, 256, 257, 300])
def test_colour_is_enlarged_as_if_in_one_piece(rows):
    random = np.random.default_rng(3)
    half = ((rows + 1) // 2, 20)
    blue, red = (random.integers(90, 160, half).astype(np.uint8) for _ in range(2))
    planes = Planes(np.full((rows, 39), 128, np.uint8), blue, red)
    whole = [cv2.resize(plane, None, fx=2, fy=2)[:rows, :39] for plane in (red, blue)]
    want = cv2.cvtColor(cv2.merge([planes.luma, *whole]), cv2.COLOR_YCrCb2BGR)
    np.testing.assert_array_equal(to_bgr(planes), want)


@pytest.mark.parametrize(
    ("bgr", "ycc"),
    [
        # ITU-T T.871, section 7: full range.
        ((0, 0, 0), (0, 128, 128)),
        ((255, 255, 255), (255, 128, 128)),
        ((0, 0, 255), (76, 85, 255)),
        ((0, 255, 0), (150, 44, 21)),
        ((255, 0, 0), (29, 255, 107)),
    ],
)
def test_planes_are_full_range(bgr, ycc):
    planes = to_planes(np.full((6, 6, 3), bgr, np.uint8))
    found = [int(plane[1, 1]) for plane in (planes.luma, planes.blue, planes.red)]
    np.testing.assert_allclose(found, ycc, atol=1)
    np.testing.assert_allclose(to_bgr(planes)[2, 2], bgr, atol=2)


def test_a_picture_that_is_bgr_already_stays():
    image = smooth(5, 5)
    assert to_bgr(image) is image
