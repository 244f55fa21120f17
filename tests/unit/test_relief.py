"""Depth, confidence and reasons from responses whose truth is known."""

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import FusionError
from focusd.fusion import relief
from focusd.fusion.filling import fill
from focusd.fusion.relief import Reason, Relief
from focusd.fusion.selection import Selection

NOISE = 1.0


def peaks(centre_um, z, width_um=1.5, height=60.0, base=0.0):
    """Responses over z, levels: a Gaussian about `centre_um` at each pixel."""
    centre = np.asarray(centre_um, np.float32)
    return [
        (base + height * np.exp(-((position - centre) ** 2) / (2 * width_um**2))).astype(np.float32)
        for position in z
    ]


def measured(frames, z, order=None, **options):
    order = list(range(len(z))) if order is None else order
    found = Selection.of(frames[order[0]], z[order[0]])
    for number in order[1:]:
        found.add(frames[number], z[number])
    return Relief.of(found, NOISE, **options)


def ramp(rows=40, cols=60, low=2.0, high=8.0):
    return np.tile(np.linspace(low, high, cols, dtype=np.float32), (rows, 1))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.6, 1.8), min_size=9, max_size=9),
    st.floats(0.0, 1.0),
    st.sampled_from([0.0, 1e5, -3e4]),
    st.booleans(),
)
def test_the_top_of_a_true_peak_is_found_between_uneven_stops(gaps, share, zero_um, downward):
    z = [float(value) + zero_um for value in np.cumsum(gaps)]
    centre = z[2] + share * (z[6] - z[2])
    order = list(range(9))[:: -1 if downward else 1]
    found = measured(peaks(np.full((12, 12), centre - zero_um), [p - zero_um for p in z]), z, order)
    # Half way between two frames the fixed-point tie can fall either way; the fit is the same from both.
    best = int(np.argmin(np.abs(np.array(z) - centre)))
    within = (z[best] - z[best - 1]) / 2 >= centre - z[best] >= -(z[best] - z[best - 1]) / 2
    assert within or best < 8
    np.testing.assert_allclose(found.depth_um, centre, atol=0.02 if abs(zero_um) < 1 else 0.03)
    assert (found.origin == best).mean() > 0.99 or abs(2 * centre - z[best] - z[best - 1]) < 1e-3
    assert set(np.unique(found.reason)) <= {Reason.OK, Reason.BORDER}


def test_a_slope_is_measured_and_trusted():
    z = [float(n) for n in range(11)]
    truth = ramp()
    found = measured(peaks(truth, z), z)
    assert np.abs(found.depth_um - truth).max() < 0.02
    assert (found.confidence > 0.9).all()
    assert (found.reason[4:-4, 4:-4] == Reason.OK).all()
    assert (found.reason[:4] == Reason.BORDER).all() and (found.reason[:, -4:] == Reason.BORDER).all()
    np.testing.assert_array_equal(found.origin, np.rint(truth - 1e-4).astype(int))
    assert found.known_percent == 100.0 and found.step_um == 1.0


def test_ends_of_the_stack_are_marked():
    z = [10.0 * n for n in range(7)]
    centre = np.full((30, 90), 30.0, np.float32)
    centre[:, :30], centre[:, 60:] = -8.0, 66.0
    found = measured(peaks(centre, z, width_um=15.0), z)
    assert (found.reason[:, 5:25] == Reason.EDGE).all() and (found.depth_um[:, 5:25] == 0).all()
    assert (found.reason[:, 65:85] == Reason.EDGE).all() and (found.depth_um[:, 65:85] == 60).all()
    assert (found.reason[5:-5, 40:50] == Reason.OK).all()


def test_a_late_frame_is_marked_whole_step():
    z = [float(n) for n in range(11)]
    truth = ramp()
    found = measured(peaks(truth, z), z, [n for n in range(11) if n != 5] + [5])
    late = found.origin == 5
    assert late.any()
    trusted = late & (found.reason < Reason.UNSURE)
    assert trusted.mean() > 0.9 * late.mean()
    assert (found.reason[trusted] == Reason.WHOLE_STEP).all()
    np.testing.assert_array_equal(found.depth_um[trusted], 5.0)
    assert (found.reason[5:-5, 5:20] == Reason.OK).all()


def test_noise_alone_is_flat():
    rng = np.random.default_rng(3)
    z = [float(n) for n in range(30)]
    frames = [cv2.blur(np.abs(rng.normal(0, 1.25, (80, 80))).astype(np.float32), (5, 5)) * NOISE for _ in z]
    found = measured(frames, z)
    assert (found.reason == Reason.FLAT).mean() > 0.99
    assert np.isnan(found.depth_um).mean() > 0.99 and np.isfinite(found.raw_um).all()
    assert np.median(found.confidence) < 0.1


def test_two_peaks_are_told_from_one():
    z = [float(n) for n in range(20)]
    one = peaks(np.full((30, 60), 4.0), z)
    other = peaks(np.full((30, 60), 15.0), z, height=57.0)
    frames = [
        a + np.where(np.arange(60) >= 30, b, 0).astype(np.float32) for a, b in zip(one, other, strict=True)
    ]
    found = measured(frames, z)
    assert (found.reason[5:-5, 5:25] == Reason.OK).all()
    assert (found.reason[5:-5, 35:55] >= Reason.UNSURE).all()
    assert (found.confidence[:, 35:] <= 0.5).all() and (found.confidence[5:-5, 5:25] > 0.99).all()


def test_neighbours_that_disagree_are_not_believed():
    z = [float(n) for n in range(20)]
    rng = np.random.default_rng(0)
    centre = np.full((40, 80), 10.0, np.float32)
    centre[:, 40:] = rng.integers(2, 18, (40, 40))
    found = measured(peaks(centre, z, height=5.0), z)
    assert (found.reason[5:-5, 5:30] == Reason.OK).all()
    assert (found.reason[5:-5, 50:75] >= Reason.UNSURE).all()
    # What was measured is still there.
    np.testing.assert_allclose(found.raw_um[5:-5, 50:75], centre[5:-5, 50:75], atol=0.05)


def test_saturated_is_said_first():
    z = [float(n) for n in range(9)]
    clipped = np.zeros((30, 30), bool)
    clipped[:, :10] = True
    found = measured(peaks(np.full((30, 30), 4.2), z), z, clipped=clipped)
    assert (found.reason[:, :10] == Reason.SATURATED).all() and np.isnan(found.depth_um[:, :10]).all()
    assert (found.reason[5:-5, 12:-5] == Reason.OK).all()


@pytest.mark.parametrize(("count", "known"), [(1, False), (2, True), (3, True)])
def test_few_frames(count, known):
    z = [float(n) for n in range(count)]
    found = measured(peaks(np.full((20, 20), count // 2), z, width_um=0.5), z)
    assert np.isfinite(found.depth_um).all() == known
    assert found.confidence.any() == known
    if not known:
        assert (found.reason == Reason.FLAT).all() and found.step_um == 0


@pytest.mark.parametrize("shape", [(39, 60), (40, 59), (33, 50)])
def test_the_image_may_be_smaller_than_the_padded_grid(shape):
    z = [float(n) for n in range(11)]
    truth = ramp(20, 32)
    found = measured(peaks(truth, z), z, shape=shape)
    rows, cols = (shape[0] + 1) // 2, (shape[1] + 1) // 2
    assert found.raw_um.shape == found.reason.shape == (rows, cols)
    for plane in (found.full_depth_um(), found.full_size(found.origin), found.full_size(found.reason)):
        assert plane.shape == shape
    np.testing.assert_array_equal(
        found.full_size(found.origin)[:, ::2], found.origin[np.arange(shape[0]) // 2]
    )
    assert (found.reason[rows - 1] == Reason.BORDER).all()


def test_full_depth_is_smooth_on_slopes_and_sharp_at_steps(monkeypatch):
    z = [float(n) for n in range(21)]
    truth = ramp(40, 80, 3.0, 6.0)
    truth[:, 40:] += 10
    found = measured(peaks(truth, z), z, shape=(80, 160))
    grid = truth
    full = found.full_depth_um(grid)
    wanted = (np.arange(160) - 0.5) / 2 * (3.0 / 79) + 3.0
    np.testing.assert_allclose(full[40, 2:79], wanted[2:79], atol=1e-4)
    np.testing.assert_allclose(full[40, 81:158], wanted[81:158] + 10, atol=1e-4)
    assert set(np.round(full[40, 79:81] - wanted[79:81])) <= {0.0, 10.0}
    monkeypatch.setattr(relief, "_BAND_PX", 4 * 80 * 3)
    np.testing.assert_array_equal(found.full_depth_um(grid), full)
    holed = grid.copy()
    holed[10:20, 10:20] = np.nan
    full = found.full_depth_um(holed)
    assert np.isnan(full[20:40, 20:40]).all() and np.isfinite(full).sum() == full.size - 400


def test_bands_give_what_the_whole_gives_and_stay_small(monkeypatch):
    z = [float(n) for n in range(9)]
    rng = np.random.default_rng(5)
    frames = [rng.uniform(0, 20, (64, 48)).astype(np.float32) for _ in z]
    whole = measured(frames, z)
    monkeypatch.setattr(relief, "_BAND_PX", 48 * 5)
    banded = measured(frames, z)
    np.testing.assert_array_equal(whole.raw_um, banded.raw_um)
    np.testing.assert_allclose(whole.confidence, banded.confidence, atol=1e-5)
    assert np.mean(whole.reason != banded.reason) < 1e-3


def test_temporaries_stay_small():
    found = Selection.of(np.full((1000, 1400), 9000, np.uint16), 0.0)
    for number in range(1, 4):
        found.add(np.full((1000, 1400), 9000 + number, np.uint16), float(number))
    tracemalloc.start()
    try:
        done = Relief.of(found, NOISE, shape=(2000, 2800))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.nbytes == 11 * 1_400_000
    assert peak_bytes - done.nbytes < 20e6


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"noise": 0.0}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"noise": 1.0, "shape": (41, 20)}, "twice"),
        ({"noise": 1.0, "clipped": np.zeros((3, 3), bool)}, "clipped"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, word):
    selection = Selection.of(np.zeros((20, 20), np.uint16), 0.0)
    with pytest.raises(FusionError, match=word):
        Relief.of(selection, **options)


def test_holes_take_the_depth_of_like_brightness():
    # Bright foreground at 9, dark ground at 1; the hole lies across their border, nearer to the foreground.
    depth = np.full((60, 80), 1.0, np.float32)
    depth[:, 40:] = 9.0
    luma = np.where(depth > 5, 200, 40).astype(np.uint8)
    known = np.ones(depth.shape, bool)
    known[20:40, 28:46] = False
    spoiled = np.where(known, depth, 5.0).astype(np.float32)
    np.testing.assert_array_equal(fill(spoiled, known, known, luma), depth)
    # By distance alone the foreground would run over.
    plain = fill(spoiled, known, known, np.zeros_like(luma))
    assert (plain[20:40, 30:50] != depth[20:40, 30:50]).any()


def test_single_sources_are_not_spread():
    depth = np.full((60, 60), 3.0, np.float32)
    sources = np.zeros(depth.shape, bool)
    sources[:20] = True
    sources[45, 45] = True
    depth[45, 45] = 50.0
    known = sources.copy()
    filled = fill(
        np.where(known, depth, -1).astype(np.float32), known, sources, np.full(depth.shape, 90, np.uint8)
    )
    assert filled[45, 45] == 50.0
    assert (np.delete(filled.ravel(), 45 * 60 + 45) == 3.0).all()


def test_large_maps_are_filled_at_half_size(monkeypatch):
    depth = ramp(41, 61)
    known = np.ones(depth.shape, bool)
    known[10:20, 15:35] = False
    guide = np.full(depth.shape, 80, np.uint8)
    fine = fill(depth, known, known, guide)
    monkeypatch.setattr("focusd.fusion.filling._LARGEST_PX", 100)
    coarse = fill(depth, known, known, guide)
    assert coarse.shape == depth.shape
    np.testing.assert_array_equal(coarse[known], depth[known])
    assert np.abs(coarse - fine).max() < 1.0


def test_nothing_known_is_left_as_it_is():
    depth, none = ramp(), np.zeros((40, 60), bool)
    np.testing.assert_array_equal(fill(depth, none, none, np.zeros((40, 60), np.uint8)), depth)


def test_a_relief_fills_its_holes():
    z = [float(n) for n in range(21)]
    rng = np.random.default_rng(0)
    centre = np.full((60, 60), 6.0, np.float32)
    centre[20:40, 20:40] = rng.integers(2, 18, (20, 20))
    height = np.where(centre == 6.0, 40.0, 1.0)
    found = measured(peaks(centre, z, height=height), z, shape=(120, 119))
    filled = found.filled(np.full((120, 119), 70, np.uint8))
    hole = found.confidence < 0.5
    assert hole.any() and (np.abs(filled[hole] - 6.0) < 0.05).mean() > 0.95
    sure = found.reason <= Reason.BORDER
    np.testing.assert_array_equal(filled[sure], found.depth_um[sure])


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from([1, 2]))
def test_a_part_of_a_relief_is_that_part_of_its_maps(data, scale):
    rows, cols = 30, 44
    z = [float(number) for number in range(10)]
    grid = (rows // scale, cols // scale)
    whole = measured(peaks(ramp(*grid), z), z, shape=(rows, cols))
    top, left = (scale * data.draw(st.integers(0, 8)) for _ in range(2))
    bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, cols))
    part = whole.cropped(slice(top, bottom), slice(left, right))
    assert (part.rows, part.cols) == (bottom - top, right - left)
    for name in ("origin", "reason", "confidence"):
        np.testing.assert_array_equal(
            part.full_size(getattr(part, name)),
            whole.full_size(getattr(whole, name))[top:bottom, left:right],
        )


@pytest.mark.parametrize("rows", [slice(1, 10), slice(0, 31), slice(6, 6)])
def test_a_part_that_is_none_is_refused(rows):
    z = [float(number) for number in range(10)]
    whole = measured(peaks(ramp(15, 22), z), z, shape=(30, 44))
    with pytest.raises(FusionError, match="multiple of 2"):
        whole.cropped(rows, slice(0, 44))
