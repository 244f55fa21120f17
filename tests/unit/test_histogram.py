"""A histogram counts every pixel once, and its drawing shows what was cut off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from focusd.errors import FocusdError
from focusd.outputs.histogram import channels_of, drawn, write_histogram
from focusd.pictures.samples import to_planes

COLOURS = ("luma", "red", "green", "blue")


def ramp(dtype=np.uint8, white=255, rows=16):
    """Draw every value once in each row."""
    return np.tile(np.arange(white + 1, dtype=dtype), (rows, 1))


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.sampled_from([(5, 7), (1, 1), (4, 6, 3)]),
        elements=st.integers(0, 255),
    )
)
@settings(max_examples=40, deadline=None)
def test_every_pixel_is_counted_once_and_figures_are_those_of_numpy(frame):
    found = channels_of(frame, 255)
    assert tuple(channel.name for channel in found) == (COLOURS if frame.ndim == 3 else COLOURS[:1])
    for channel in found:
        assert channel.counts.sum() == frame.shape[0] * frame.shape[1]
        assert channel.shares().sum() == pytest.approx(1)
    planes = {"blue": 0, "green": 1, "red": 2} if frame.ndim == 3 else {"luma": ...}
    for channel in found:
        if channel.name in planes:
            values = frame[..., planes[channel.name]] if frame.ndim == 3 else frame
            assert channel.mean == pytest.approx(values.mean())
            for part in (1, 50, 99):
                assert channel.percentile(part) == np.percentile(values, part, method="inverted_cdf")
            assert channel.black_share == pytest.approx(np.mean(values <= 1))
            assert channel.blown_share == pytest.approx(np.mean(values >= 254))


def test_values_beyond_white_count_as_white():
    (channel,) = channels_of(np.array([[100, 1023, 4000]], np.uint16), 1023)
    assert channel.white == 1023
    assert channel.counts[1023] == 2


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_frames_of_16_bits_keep_their_levels(white):
    (channel,) = channels_of(ramp(np.uint16, white, rows=2), white)
    assert channel.mean == pytest.approx(white / 2)
    assert channel.percentile(50) == white // 2
    assert np.allclose(channel.shares(), 1 / 256)
    # A level of 255 from either end.
    assert channel.black_share == pytest.approx(1 / 255, abs=1 / white)
    assert channel.blown_share == channel.black_share


def test_a_frame_of_16_bits_shows_its_own_white():
    assert channels_of(np.array([[100, 3000]], np.uint16))[0].white == 4095


def test_planes_are_counted_as_their_picture():
    planes = to_planes(np.random.default_rng(1).integers(0, 256, (31, 44, 3)).astype(np.uint8))
    luma, *colours = channels_of(planes)
    assert np.array_equal(luma.counts, np.bincount(planes.luma.ravel(), minlength=256))
    assert [channel.name for channel in colours] == ["red", "green", "blue"]


def test_a_drawing_shows_more_where_there_is_more():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.integers(32, 96, 9000), rng.integers(160, 224, 1000)])
    canvas = drawn(channels_of(values.reshape(100, 100).astype(np.uint8)), "x")
    filled = np.all(canvas[60:405] == 205, axis=2)  # above the axis and its words
    # The middle of each: a quarter, an exact half and three quarters of the way along the axis.
    often, never, seldom = (int(filled[:, at - 20 : at + 20].sum()) for at in (310, 530, 750))
    assert often > seldom > never == 0


def test_shares_that_were_cut_off_are_written_in_red():
    def red(frame):
        canvas = drawn(channels_of(frame), "x").astype(int)
        return int(np.sum((canvas[..., 2] > 150) & (canvas[..., 0] < 60) & (canvas[..., 1] < 60)))

    good, blown = np.full((50, 50), 128, np.uint8), np.full((50, 50), 128, np.uint8)
    blown[:5] = 255
    assert red(good) == 0
    assert red(blown) > 20


def test_a_drawing_is_a_png_of_a_size_that_can_be_read(tmp_path):
    frame = np.random.default_rng(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    write_histogram(tmp_path / "h.png", channels_of(frame), "frame 1, 40 x 30 px")
    picture = cv2.imread(str(tmp_path / "h.png"))
    assert picture is not None
    assert picture.shape == (640, 1000, 3)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FocusdError, match="nowhere"):
        write_histogram(tmp_path / "nowhere" / "h.png", channels_of(ramp()), "x")
