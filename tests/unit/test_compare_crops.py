"""Where pictures are looked at closely."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.compare.crops import Witness, choose
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_planes


def flat(rows=200, cols=300, value=100):
    return np.full((rows, cols), value, np.uint8)


def test_crops_lie_where_pictures_differ_most_the_middle_last():
    one, two = flat(), flat()
    two[20:40, 30:50] = 150
    two[150:170, 250:270] = 120
    first, second, middle = choose([one, two], 3, (40, 40))
    assert first.spread > second.spread > 0
    for crop, (row, col) in ((first, (30, 40)), (second, (160, 260))):
        assert crop.top <= row - 10 and row + 10 <= crop.top + crop.rows
        assert crop.left <= col - 10 and col + 10 <= crop.left + crop.cols
    assert middle.is_centre and (middle.left, middle.top) == (130, 80)


def test_the_difference_is_that_of_any_two_pictures():
    pictures = [flat(), flat(), flat()]
    pictures[1][20:40, 30:50] = 130
    pictures[2][20:40, 30:50] = 70
    crop, _ = choose(pictures, 2, (16, 16))
    assert crop.spread == pytest.approx(60, abs=1)
    wide = choose([picture.astype(np.uint16) * 16 for picture in pictures], 2, (16, 16), unit=1 / 16)
    assert (wide[0].left, wide[0].top) == (crop.left, crop.top)
    assert wide[0].spread == pytest.approx(60, abs=1)


def test_a_single_picture_is_looked_at_where_it_has_detail():
    image = flat()
    image[152:160:2, 200:240] = 200
    crop, _ = choose([image], 2, (48, 48))
    assert crop.top <= 152 and crop.top + 48 >= 160 and crop.left <= 200 and crop.left + 48 >= 240


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 200), st.integers(8, 200)),
    size=st.integers(2, 120).map(lambda side: 2 * side),
    count=st.integers(1, 6),
    margin_px=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_crops_stay_inside_keep_apart_and_begin_at_even_places(shape, size, count, margin_px, seed):
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 256, shape, np.uint8) for _ in range(2)]
    crops = choose(pictures, count, (size, size), margin_px=margin_px)
    assert 1 <= len(crops) <= count and crops[-1].is_centre
    covered = np.zeros(shape, int)
    for crop in crops:
        assert crop.left % 2 == 0 and crop.top % 2 == 0 and crop.rows > 0 and crop.cols > 0
        part = crop.of(covered)
        assert part.shape == (crop.rows, crop.cols)
        part += 1
        if min(shape) > 2 * margin_px + 2:
            keep = margin_px // 2 * 2
            assert keep <= crop.left <= shape[1] - keep - crop.cols
            assert keep <= crop.top <= shape[0] - keep - crop.rows
    assert covered.max() == 1


def test_planes_are_cut_with_their_colour():
    rng = np.random.default_rng(1)
    planes = to_planes(rng.integers(0, 256, (61, 81, 3), np.uint8))
    other = Planes(255 - planes.luma, planes.blue, planes.red)
    for crop in choose([planes, other], 3, (21, 21)):
        part = crop.of(planes)
        assert part.shape == (21, 21) and part.blue.shape == (11, 11)
        assert np.array_equal(part.blue, planes.blue[crop.top // 2 :, crop.left // 2 :][:11, :11])


def test_the_witness_is_the_sharpest_frame_of_each_crop():
    rng = np.random.default_rng(2)
    sharp = rng.integers(0, 256, (64, 128, 3), np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2)
    left, right = soft.copy(), soft.copy()
    left[:, :64], right[:, 64:] = sharp[:, :64], sharp[:, 64:]
    crops = [crop for crop in choose([left, right], 3, (30, 30)) if not crop.is_centre]
    seen = Witness(crops)
    for number, frame in enumerate([soft, left, right]):
        seen.add(number, frame)
    for crop, (number, samples) in zip(crops, seen.found(), strict=True):
        if crop.left + 30 <= 64 or crop.left >= 64:
            assert number == (1 if crop.left < 64 else 2)
            assert np.array_equal(samples, crop.of(sharp))
