"""Flat fields and dark frames: what they take out of a frame, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from focusd.errors import FrameMismatch
from focusd.pictures.average import Average, Averaging, FlatUnusable, average_of, planes_of
from focusd.pictures.field import doubts
from focusd.pictures.grain import WHITE_NOISE, noise_between, noise_within, sizes, without_grain
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr, to_planes
from focusd.pictures.shading import Shading
from focusd_sim.sensor import Sensor

ROWS, COLS = 121, 161
UNITY = 8192


def falloff(lost: float = 0.4, shape: tuple[int, int] = (ROWS, COLS)) -> Any:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return 1 - lost * (y**2 + x**2) / 2


def photo(level: Any = 180.0, *, left: Any = None, sigma: float = 1.5, seed: int = 0) -> Any:
    """Grey picture of an even ground."""
    left = falloff() if left is None else left
    noise = np.random.default_rng(seed).normal(0, sigma, left.shape)
    return np.clip(np.rint(level * left + noise), 0, 255).astype(np.uint8)


def as_form(grey: Any, form: str) -> Any:
    match form:
        case "grey":
            return grey
        case "BGR":
            return np.dstack([grey] * 3)
        case "4:2:0":
            return to_planes(np.dstack([grey] * 3))
        case _:
            return grey.astype(np.uint16) * 257


def mean_of(*frames: Any) -> Average:
    averaging = Averaging()
    for frame in frames:
        averaging.add(frame)
    return averaging.result()


def flat_of(form: str = "grey", frames: int = 16, **how: Any) -> Average:
    return mean_of(*(as_form(photo(seed=100 + number, **how), form) for number in range(frames)))


def dark_of(form: str = "grey", frames: int = 4, level: float = 0.0, spots: Any = ()) -> Average:
    def one(number: int) -> Any:
        dark = photo(level, left=np.ones((ROWS, COLS)), sigma=0.7, seed=300 + number)
        for row, col, value in spots:
            dark[row, col] = value
        return as_form(dark, form)

    return mean_of(*(one(number) for number in range(frames)))


def brightness(frame: Any) -> Any:
    plane = frame.luma if isinstance(frame, Planes) else frame if frame.ndim == 2 else frame[..., 1]
    return plane.astype(np.float32)


def unevenness(frame: Any) -> float:
    even = cv2.GaussianBlur(brightness(frame), (0, 0), 6)
    return float((even.max() - even.min()) / even.mean())


@pytest.mark.parametrize("form", ["grey", "BGR", "4:2:0", "16 bits"])
def test_a_flat_evens_the_light_out_and_keeps_its_mean(form: str) -> None:
    frame = as_form(photo(seed=1), form)
    corrected = Shading.of(flat_of(form)).correct(frame)
    assert unevenness(frame) > 0.35
    assert unevenness(corrected) < 0.01
    assert brightness(corrected).mean() == pytest.approx(brightness(frame).mean(), rel=0.002)
    assert type(corrected) is type(frame)
    assert corrected.shape == frame.shape


@pytest.mark.parametrize("form", ["grey", "BGR", "4:2:0", "16 bits"])
@pytest.mark.parametrize("with_dark", [False, True])
def test_a_frame_comes_out_the_same_every_time_and_in_its_own_memory_too(form: str, with_dark: bool) -> None:
    dark = dark_of(form, level=6, spots=[(20, 30, 120)]) if with_dark else None
    shading = Shading.of(flat_of(form), dark)
    frame = as_form(photo(seed=2), form)
    before = [plane.copy() for plane in planes_of(frame)]
    first = [plane.copy() for plane in planes_of(shading.correct(frame))]
    assert all(np.array_equal(a, b) for a, b in zip(before, planes_of(frame), strict=True))
    again = Shading.of(flat_of(form), dark).correct(frame, frame)
    assert again is frame
    assert all(np.array_equal(a, b) for a, b in zip(first, planes_of(again), strict=True))


@pytest.mark.parametrize("form", ["BGR", "4:2:0"])
def test_memory_that_cannot_be_written_to_is_left_alone(form: str) -> None:
    shading, frame = Shading.of(flat_of(form)), as_form(photo(seed=2), form)
    expected = shading.correct(frame)
    for plane in planes_of(frame) if form == "4:2:0" else (frame,):
        plane.setflags(write=False)
    corrected = shading.correct(frame, frame)
    assert corrected is not frame
    for one, other in zip(planes_of(expected), planes_of(corrected), strict=True):
        assert np.array_equal(one, other)


@given(
    frame=arrays.arrays(np.uint8, (70, 24), elements=st.integers(0, 255)),
    lit=arrays.arrays(np.uint8, (70, 24), elements=st.integers(60, 240)),
)
def test_each_sample_is_the_frames_times_the_gain_to_the_nearest_level(frame: Any, lit: Any) -> None:
    shading = Shading.of(replace(average_of(lit), noise=((),), clipped=0.0))
    gain = shading.field.gains[0].astype(np.int64)
    exact = np.rint(frame.astype(np.int64) * gain / UNITY)  # a float of 64 bits holds it
    ramp = np.where(gain.min() < UNITY, 8 * frame.astype(np.int64) - 7 * 255, 0)
    # The ramp is drawn for strips of 64 rows in which some light is taken away.
    ramp[:64] = np.where(gain[:64].min() < UNITY, ramp[:64], 0)
    ramp[64:] = np.where(gain[64:].min() < UNITY, ramp[64:], 0)
    assert np.array_equal(shading.correct(frame), np.clip(np.maximum(exact, ramp), 0, 255))


@pytest.mark.parametrize("form", ["grey", "BGR", "16 bits"])
def test_white_stays_white_and_no_level_passes_another(form: str) -> None:
    flat = flat_of(form)
    shading = Shading.of(flat)
    assert shading.field.gains[0].min() < 0.9 * UNITY
    white = 65535 if form == "16 bits" else 255
    before = np.zeros((ROWS, COLS))
    for level in range(0, 256, 5):
        frame = as_form(np.full((ROWS, COLS), level, np.uint8), form)
        after = brightness(shading.correct(frame))
        assert np.all(after >= before)
        before = after
    assert np.all(before == white)


def test_a_blown_highlight_is_not_tinted_by_the_flats_own_colour() -> None:
    losses = [falloff(lost) for lost in (0.6, 0.4, 0.2)]
    flat = mean_of(
        *(
            to_planes(np.dstack([photo(left=left, seed=10 * n + i) for i, left in enumerate(losses)]))
            for n in range(8)
        )
    )
    shading = Shading.of(flat)
    assert shading.field.casts
    blown = Planes(
        np.full((ROWS, COLS), 255, np.uint8),
        *(np.full(((ROWS + 1) // 2, (COLS + 1) // 2), 128, np.uint8),) * 2,
    )
    corrected = shading.correct(blown)
    assert isinstance(corrected, Planes)
    assert np.all(corrected.luma == 255)
    assert np.all(corrected.blue == 128)
    assert np.all(corrected.red == 128)


def test_uneven_colour_of_the_light_is_taken_out_of_planes_as_well() -> None:
    def coloured(level: float, seed: int) -> Planes:
        losses = [falloff(lost) for lost in (0.5, 0.4, 0.3)]
        return to_planes(np.dstack([photo(level, left=left, seed=seed + i) for i, left in enumerate(losses)]))

    shading = Shading.of(mean_of(*(coloured(170, 10 * n) for n in range(16))))
    frame = coloured(120, 999)
    corrected = shading.correct(frame)
    assert isinstance(corrected, Planes)
    for before, after in ((frame.blue, corrected.blue), (frame.red, corrected.red)):
        spread_before, spread_after = (
            np.ptp(cv2.blur(each.astype(np.float32), (9, 9))) for each in (before, after)
        )
        assert spread_before > 6
        assert spread_after < 2.5


def test_an_even_flat_of_planes_has_no_colour_to_take_out() -> None:
    assert Shading.of(flat_of("4:2:0")).field.casts == ()


def test_dust_is_gone_and_the_flats_noise_is_not_added() -> None:
    dusty = falloff()
    for row, col in ((30, 40), (60, 100), (90, 20)):
        away = np.hypot(np.arange(ROWS)[:, None] - row, np.arange(COLS)[None, :] - col)
        dusty = dusty * (1 - 0.3 * np.clip(4.5 - away, 0, 1))
    shading = Shading.of(flat_of(left=dusty))
    # A picture without noise shows what the flat adds.
    frame = photo(left=dusty, sigma=0)
    corrected = brightness(shading.correct(frame))
    assert np.abs(corrected - np.median(corrected)).max() < 4
    added = float((corrected[45:55, 40:120] - corrected[45:55, 40:120].mean()).std())
    as_taken = photo(left=dusty, seed=4).astype(float)[45:55, 40:120]
    noise = 1.5
    assert added < 0.35 * noise  # rounding alone is 0.29
    assert as_taken.std() > noise


def test_noise_is_smoothed_away_and_edges_stay() -> None:
    rng = np.random.default_rng(5)
    truth = np.full((200, 240), 40000.0)
    truth[80:120, 90:150] = 32000
    noisy = np.rint(truth + rng.normal(0, 300, truth.shape)).astype(np.uint16)
    noise = tuple(300 * share for share in WHITE_NOISE[: sizes(truth.shape)])
    smooth = without_grain(noisy, noise).astype(float)
    far = np.ones(truth.shape, bool)
    far[72:128, 82:158] = False
    assert (smooth - truth)[far].std() < 0.1 * 300
    assert np.abs(smooth - truth)[85:115, 95:145].mean() < 0.5 * 300
    assert smooth[100, 86] - smooth[100, 93] > 7000


def test_white_noise_has_left_at_each_size_what_the_table_says() -> None:
    rng = np.random.default_rng(6)
    one, other = (np.rint(rng.normal(30000, 500, (600, 800))).astype(np.uint16) for _ in range(2))
    for found, share in zip(noise_between(one, other), WHITE_NOISE, strict=True):
        assert found == pytest.approx(500 * share, rel=0.1)
    assert noise_within(one, 1.0)[0] == pytest.approx(500 * WHITE_NOISE[0], rel=0.02)


def test_noise_of_8_bits_is_measured_below_a_level() -> None:
    one, other = (photo(seed=seed, sigma=0.8) for seed in (7, 8))
    expected = np.hypot(0.8, 12**-0.5) * WHITE_NOISE[0]
    assert noise_between(one, other)[0] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("form", ["grey", "BGR", "4:2:0", "16 bits"])
def test_hot_pixels_are_gone_at_edges_and_in_clusters_too(form: str) -> None:
    spots = [(0, 0, 200), (60, 80, 90), (60, 81, 255), (61, 80, 120), (ROWS - 1, COLS - 1, 60), (33, 7, 255)]
    shading = Shading.of(flat_of(form), dark_of(form, spots=spots))
    frame = photo(120, seed=9)
    for row, col, value in spots:
        frame[row, col] = min(255, int(frame[row, col]) + value)
    corrected = brightness(shading.correct(as_form(frame, form)))
    unit = 257 if form == "16 bits" else 1
    around = cv2.medianBlur(corrected, 5)
    for row, col, _ in spots:
        assert abs(float(corrected[row, col] - around[row, col])) < 8 * unit
    assert shading.hot_pixels >= len(spots)
    assert shading.hot_pixels <= 9 * len(spots)


def test_hot_pixels_are_gone_without_a_flat() -> None:
    shading = Shading.of(None, dark_of(spots=[(50, 50, 255)]))
    frame = photo(120, left=np.ones((ROWS, COLS)))
    frame[50, 50] = 255
    corrected = shading.correct(frame)
    assert abs(int(corrected[50, 50]) - 120) < 8
    corrected[50, 50] = frame[50, 50]
    # The rectified noise of the dark is a third of a level.
    assert np.abs(corrected.astype(int) - frame).max() <= 1


@pytest.mark.parametrize("form", ["grey", "16 bits"])
def test_the_level_of_the_dark_is_taken_off(form: str) -> None:
    pedestal = 12.0
    flat = flat_of(form, level=180 + pedestal / falloff())
    shading = Shading.of(flat, dark_of(form, level=pedestal))
    frame = as_form(photo(90 + pedestal / falloff(), seed=3), form)
    without = Shading.of(flat).correct(frame)
    corrected = shading.correct(frame)
    assert unevenness(corrected) < 0.012
    assert unevenness(without) > 0.02


def test_a_12_bit_cameras_frames_do_not_pass_their_white() -> None:
    def frame(level: float, seed: int) -> Any:
        noise = np.random.default_rng(seed).normal(0, 12, (ROWS, COLS))
        return np.clip(np.rint(level * falloff() + noise), 0, 4095).astype(np.uint16)

    shading = Shading.of(mean_of(*(frame(2600, seed) for seed in range(8))))
    bright = frame(4095, 50)
    bright[0, 0] = 4095
    corrected = shading.correct(bright)
    assert corrected.max() == 4095
    assert unevenness(shading.correct(frame(2000, 51))) < 0.01


def test_a_pixel_that_sees_no_light_takes_its_neighbours_place() -> None:
    left = falloff()
    left[40, 50] = 0.0
    shading = Shading.of(flat_of(left=left))
    corrected = shading.correct(photo(left=left, seed=5))
    assert shading.hot_pixels == 1
    assert abs(int(corrected[40, 50]) - int(np.median(corrected[37:44, 47:54]))) < 6


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (lambda: flat_of(level=270.0), "is white, at most 0.1%"),
        (lambda: flat_of(level=12.0), "of white in its middle, at least 10%"),
        (
            lambda: flat_of(left=np.where(np.arange(COLS) < 20, 0.01, 1.0) * np.ones((ROWS, 1))),
            "eighth of its mean",
        ),
    ],
)
def test_a_useless_flat_is_refused(flat: Any, message: str) -> None:
    with pytest.raises(FlatUnusable, match=message):
        Shading.of(flat())


def test_a_flat_clipped_in_one_colour_is_refused() -> None:
    frame = np.dstack([photo(255, left=np.ones((ROWS, COLS))), photo(120), photo(120)])
    with pytest.raises(FlatUnusable, match="is white"):
        Shading.of(mean_of(to_planes(frame)))


def test_a_clipped_16_bit_flat_is_refused_wherever_its_white_is() -> None:
    frame = np.minimum(as_form(photo(230), "16 bits") // 4, 13000).astype(np.uint16)
    with pytest.raises(FlatUnusable, match="is white"):
        Shading.of(mean_of(frame, frame))


def test_a_useless_dark_is_refused() -> None:
    with pytest.raises(FlatUnusable, match="cover the lens"):
        Shading.of(None, dark_of(level=120))
    rng = np.random.default_rng(0)
    spots = [(int(rng.integers(ROWS)), int(rng.integers(COLS)), 90) for _ in range(600)]
    with pytest.raises(FlatUnusable, match="no light comes in"):
        Shading.of(None, dark_of(spots=spots))
    with pytest.raises(FlatUnusable, match="neither"):
        Shading.of(None, None)


def test_frames_of_another_size_or_kind_are_refused_with_both_named() -> None:
    shading = Shading.of(flat_of())
    with pytest.raises(FrameMismatch, match=r"160 x 121 px.*161 x 121 px"):
        shading.correct(photo()[:, :-1])
    with pytest.raises(FrameMismatch, match=r"4:2:0.*grey"):
        shading.correct(as_form(photo(), "4:2:0"))
    with pytest.raises(FrameMismatch, match=r"16 bits.*8 bits"):
        shading.correct(as_form(photo(), "16 bits"))
    with pytest.raises(FrameMismatch, match="memory"):
        shading.correct(photo(), photo()[:, :-1])
    with pytest.raises(FrameMismatch, match="the flat is"):
        Shading.of(flat_of(), dark_of("4:2:0"))
    with pytest.raises(FrameMismatch, match="the first is"):
        mean_of(photo(), photo()[1:])
    with pytest.raises(FrameMismatch, match="no frames"):
        Averaging().result()


def test_a_flat_of_something_is_doubted_and_a_dusty_one_is_not() -> None:
    rng = np.random.default_rng(2)
    texture = 1 - 0.15 * rng.random((ROWS // 2 + 1, COLS // 2 + 1))
    texture = np.kron(texture, np.ones((2, 2)))[:ROWS, :COLS]
    assert "fine detail" in doubts(flat_of(left=falloff() * texture))[0]
    sensor = Sensor(dust=6, vignetting=0.4, read_noise=1.0, shot_noise=1.5)
    even = np.full((200, 300, 3), 190, np.uint8)
    dusty = mean_of(*(sensor.expose(even, frame=number, seed=3) for number in range(8)))
    assert doubts(dusty) == []


def test_light_that_changes_is_doubted() -> None:
    assert "changed by 1" in doubts(mean_of(photo(160, seed=1), photo(180, seed=2)))[0]


def test_what_the_correction_takes_in_memory_is_stated() -> None:
    pixels = ROWS * COLS
    assert Shading.of(flat_of("4:2:0")).nbytes == pytest.approx(2.5 * pixels, rel=0.02)
    assert Shading.of(flat_of("BGR")).nbytes == pytest.approx(6 * pixels, rel=0.02)


@pytest.mark.parametrize("form", ["BGR", "4:2:0"])
def test_encoded_samples_come_out_even_at_the_flats_level_and_nearly_elsewhere(form: str) -> None:
    """SRGB's curve, the light falling to 60 %: the figures of bench_shading."""

    def encoded(level: float, seed: int) -> Any:
        light = ((level / 255 + 0.055) / 1.055) ** 2.4 * falloff()
        return as_form(photo(255.0, left=1.055 * light ** (1 / 2.4) - 0.055, sigma=1.0, seed=seed), form)

    shading = Shading.of(mean_of(*(encoded(180, seed) for seed in range(16))))
    assert unevenness(shading.correct(encoded(180, 50))) < 0.015
    half = encoded(90, 51)
    assert unevenness(half) > 0.2
    assert unevenness(shading.correct(half)) < 0.05


def test_the_simulators_dust_and_hot_pixels_stay_where_they_are() -> None:
    sensor = Sensor(dust=5, hot_pixels=20)
    grey, black = np.full((80, 120, 3), 200, np.uint8), np.zeros((80, 120, 3), np.uint8)
    first, second = (sensor.expose(grey, frame=number, seed=1) for number in (0, 9))
    assert np.array_equal(first, second)
    assert np.count_nonzero(sensor.expose(black, frame=0, seed=1)) == 20
    assert (first.min(axis=2) < 185).sum() > 50
    assert not np.array_equal(first, sensor.expose(grey, frame=0, seed=2))


def test_planes_and_bgr_are_corrected_alike() -> None:
    frame = np.dstack([photo(100, seed=1), photo(150, seed=2), photo(130, seed=3)])
    flats = [np.dstack([photo(170, seed=10 * n + i) for i in range(3)]) for n in range(8)]
    as_bgr = Shading.of(mean_of(*flats)).correct(frame)
    as_planes = Shading.of(mean_of(*(to_planes(flat) for flat in flats))).correct(to_planes(frame))
    difference = cv2.blur(to_bgr(as_planes).astype(np.float32), (7, 7)) - cv2.blur(
        np.asarray(as_bgr).astype(np.float32), (7, 7)
    )
    assert np.abs(difference).max() < 2.5
