"""Transforms, warping, what all frames cover, and tables of transforms."""

from __future__ import annotations

import json
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import FusionError
from focusd.pictures.planes import Planes
from focusd.register.crop import Coverage, NothingCovered, Rectangle, crop
from focusd.register.table import TransformRow, TransformTable, TransformTableInvalid
from focusd.register.transform import Transform, TransformInvalid
from focusd.register.warp import warp

SHAPE = (120, 170)

transforms = st.builds(
    lambda scale, turn, x, y: Transform.similarity(SHAPE, scale=scale, turn_rad=turn, shift_px=(x, y)),
    st.floats(0.95, 1.05),
    st.floats(-0.03, 0.03),
    st.floats(-9, 9),
    st.floats(-9, 9),
)


def waves(shape: tuple[int, int], x: float = 0.0, y: float = 0.0) -> np.ndarray[Any, Any]:
    """A picture that is known between its pixels too; (x, y) are added to its coordinates."""
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(float)
    return 128 + 50 * np.sin((cols + x) / 3.1) + 50 * np.cos((rows + y) / 2.7)


@given(transforms, transforms)
def test_a_transform_undone_is_the_identity_and_composing_is_doing_one_after_the_other(
    one: Transform, other: Transform
) -> None:
    points = np.array([[0.0, 0.0], [169.0, 3.0], [55.5, 119.0]])
    assert one.compose(one.inverse()).corner_shift_px(SHAPE) < 1e-9
    assert np.allclose(one.compose(other).at(points), one.at(other.at(points)))


@given(transforms)
def test_a_transform_survives_json_bit_for_bit(transform: Transform) -> None:
    again = Transform.of_json(json.loads(json.dumps(transform.as_json())))
    assert np.array_equal(again.matrix, transform.matrix)


@given(transforms)
def test_the_half_transform_says_of_colour_samples_what_the_whole_says_of_their_four_pixels(
    transform: Transform,
) -> None:
    samples = np.array([[0.0, 0.0], [84.0, 59.0], [10.0, 40.0]])
    # A colour sample lies in the middle of four luma samples.
    assert np.allclose(2 * transform.half().at(samples) + 0.5, transform.at(2 * samples + 0.5))


def test_a_similarity_tells_its_own_scale_turn_and_shift() -> None:
    transform = Transform.similarity(SHAPE, scale=1.02, turn_rad=0.01, shift_px=(3.0, -4.0))
    assert transform.scale == pytest.approx(1.02)
    assert transform.turn_rad == pytest.approx(0.01)
    assert transform.shift_px(SHAPE) == pytest.approx((3.0, -4.0))
    assert not transform.is_shift
    assert not transform.is_identity


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, math.nan], [0, 1, 0]],
        [[1, 0, 0], [0, 1, math.inf]],
        [[3, 0, 0], [0, 3, 0]],
        [[0.1, 0, 0], [0, 0.1, 0]],
        [[-1, 0, 0], [0, 1, 0]],
        [[1, 0, 2e5], [0, 1, 0]],
        [[1, 0], [0, 1]],
    ],
)
def test_what_no_camera_could_have_done_is_no_transform(matrix: list[list[float]]) -> None:
    with pytest.raises(TransformInvalid):
        Transform(np.array(matrix))


@pytest.mark.parametrize(
    "rows",
    [None, "x", [[1, 0, 0]], [[1, 0, 0], [0, 1]], [[True, 0, 0], [0, 1, 0]], [[10**400, 0, 0], [0, 1, 0]]],
)
def test_a_transform_is_not_read_from_anything_else(rows: object) -> None:
    with pytest.raises(TransformInvalid):
        Transform.of_json(rows)


def test_the_identity_hands_back_the_very_frame() -> None:
    frame = np.zeros((8, 9, 3), np.uint8)
    assert warp(frame, Transform.identity()) is frame


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_shift_by_whole_pixels_keeps_every_value_and_lets_the_edge_go_on(dtype: Any) -> None:
    frame = np.random.default_rng(1).integers(0, 255, (21, 34, 3)).astype(dtype)
    moved = warp(frame, Transform(np.array([[1, 0, 3.0], [0, 1, -2.0]])))
    assert moved.dtype == dtype
    assert np.array_equal(moved[2:, :-3], frame[:-2, 3:])
    assert np.array_equal(moved[0, :-3], frame[0, 3:])
    assert np.array_equal(moved[5, -1], frame[3, -1])


@pytest.mark.parametrize(("dtype", "unit"), [(np.uint8, 1), (np.uint16, 200)])
@given(x=st.floats(-5, 5), y=st.floats(-5, 5))
@settings(max_examples=25)
def test_a_shift_between_pixels_shows_what_lies_there(dtype: Any, unit: int, x: float, y: float) -> None:
    frame = np.rint(waves((60, 70)) * unit).astype(dtype)
    moved = warp(frame, Transform(np.array([[1, 0, x], [0, 1, y]])))
    inner = slice(12, -12)
    assert np.abs(moved[inner, inner] / unit - waves((60, 70), x, y)[inner, inner]).max() < 1.6


def test_a_turned_and_scaled_frame_lies_where_it_should_in_each_kind() -> None:
    turn = Transform.similarity(SHAPE, scale=1.02, turn_rad=0.01, shift_px=(1.3, -0.6))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    there = turn.inverse().at(np.column_stack([x.ravel(), y.ravel()]))
    fx, fy = there[:, 0].reshape(SHAPE), there[:, 1].reshape(SHAPE)
    frame = np.rint(128 + 50 * np.sin(fx / 5) + 50 * np.cos(fy / 4)).astype(np.uint8)
    wanted = 128 + 50 * np.sin(x / 5) + 50 * np.cos(y / 4)
    inner = (slice(12, -12), slice(12, -12))
    assert np.abs(warp(frame, turn)[inner] - wanted[inner]).max() < 2.5
    # Planes: colour drawn at the middles of four pixels.
    colour = np.rint(cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)).astype(np.uint8)
    planes = warp(Planes(frame, colour, colour.copy()), turn)
    half = cv2.resize(wanted, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = (slice(6, -6), slice(6, -6))
    assert np.abs(planes.blue[small] - half[small]).max() < 5
    assert np.array_equal(planes.blue, planes.red)


@given(st.lists(transforms, min_size=1, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_pixel_of_the_rectangle_lies_in_every_frame(moves: list[Transform], even: bool) -> None:
    coverage = Coverage(SHAPE)
    for move in moves:
        coverage.add(move)
    rectangle = coverage.rectangle(even)
    corners = np.array(
        [
            [x, y]
            for x in (rectangle.left, rectangle.right - 1)
            for y in (rectangle.top, rectangle.bottom - 1)
        ],
        float,
    )
    for move in moves:
        there = move.at(corners)
        assert there.min() >= -0.51
        assert (there <= np.array([SHAPE[1], SHAPE[0]]) - 0.49).all()
    assert (coverage.mask()[rectangle.rows, rectangle.cols] == 255).all()
    if even:
        assert rectangle.top % 2 == rectangle.left % 2 == 0


def test_the_rectangle_is_as_large_as_shifts_allow() -> None:
    coverage = Coverage(SHAPE)
    for x, y in ((3.2, 0.0), (-4.0, 5.0), (0.0, -2.7)):
        coverage.add(Transform(np.array([[1, 0, x], [0, 1, y]])))
    assert coverage.rectangle() == Rectangle(3, 115, 4, 167)
    assert np.count_nonzero(coverage.mask()) == 112 * 163


def test_frames_that_lie_on_each_other_leave_the_picture_whole() -> None:
    coverage = Coverage(SHAPE)
    coverage.add(Transform.identity())
    picture = np.zeros(SHAPE, np.float32)
    assert crop(picture, coverage.rectangle()) is picture


def test_frames_with_nothing_in_common_are_refused() -> None:
    coverage = Coverage(SHAPE)
    coverage.add(Transform(np.array([[1, 0, 100.0], [0, 1, 0]])))
    coverage.add(Transform(np.array([[1, 0, -100.0], [0, 1, 0]])))
    with pytest.raises(NothingCovered):
        coverage.rectangle()
    assert not coverage.mask().any()


def test_what_is_covered_takes_no_more_memory_after_many_frames() -> None:
    coverage = Coverage(SHAPE)
    for n in range(400):
        coverage.add(Transform.similarity(SHAPE, turn_rad=0.0005 * n, scale=1 + 0.0003 * n))
    assert len(coverage._corners) <= 64
    assert coverage.rectangle().shape[0] > 40


def test_planes_are_cut_with_their_colour() -> None:
    planes = Planes(
        np.arange(35, dtype=np.uint8).reshape(5, 7), np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
    )
    cut = crop(planes, Rectangle(2, 5, 2, 7))
    assert cut.shape == (3, 5)
    assert cut.blue.shape == (2, 3)
    with pytest.raises(FusionError, match="even"):
        crop(planes, Rectangle(1, 5, 2, 7))


def table() -> TransformTable:
    rows = tuple(
        TransformRow(
            n,
            f"{n:03d}.jpg",
            10.0 * n,
            Transform.similarity(SHAPE, scale=1 + n / 1000, shift_px=(n / 3, 0.1)),
            0.05,
            (1.01, 0.99, 1.0) if n else None,
        )
        for n in range(3)
    )
    return TransformTable(SHAPE, rows, "similarity")


def test_a_table_read_back_lays_frames_on_the_very_same_place() -> None:
    kept = TransformTable.loads(table().dumps())
    assert kept.as_json() == table().as_json()
    for n in range(3):
        one, other = kept.of(n, SHAPE).transform, table().at(10.0 * n + 0.4, SHAPE, 0.5).transform
        assert one.away_px(other, SHAPE) == 0


def test_a_table_serves_only_frames_of_its_size_and_places() -> None:
    with pytest.raises(TransformTableInvalid, match="170 x 120 px"):
        table().of(0, (120, 171))
    with pytest.raises(TransformTableInvalid, match="no frame 3"):
        table().of(3, SHAPE)
    with pytest.raises(TransformTableInvalid, match=r"within 0\.5 um"):
        table().at(14.0, SHAPE, 0.5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("version", True),
        ("kind", "other"),
        ("rows", 0),
        ("rows", 1.5),
        ("cols", 10**9),
        ("model", 3),
        ("frames", []),
        ("frames", {}),
        ("more", 1),
    ],
)
def test_a_table_that_is_not_ours_is_refused(key: str, value: object) -> None:
    with pytest.raises(TransformTableInvalid):
        TransformTable.of_json({**table().as_json(), key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", -1),
        ("number", 1),
        ("number", "0"),
        ("name", 5),
        ("name", "x" * 300),
        ("z_um", math.inf),
        ("z_um", 10**400),
        ("z_um", None),
        ("transform", [[1, 0, 0], [0, 0, 0]]),
        ("residual_px", math.nan),
        ("gain", []),
        ("gain", [0.0]),
        ("gain", [1.0] * 5),
        ("gain", "1"),
    ],
)
def test_a_frame_of_a_table_that_is_out_of_range_is_refused(key: str, value: object) -> None:
    document = table().as_json()
    document["frames"][0][key] = value
    with pytest.raises(TransformTableInvalid):
        TransformTable.of_json(document)


@pytest.mark.parametrize("text", ["", "[]", "{", b"\xff\xfe", "[" * 100_000, " " * (16 * 2**20 + 1)])
def test_a_file_that_is_no_table_is_refused(text: str | bytes) -> None:
    with pytest.raises(TransformTableInvalid):
        TransformTable.loads(text)
